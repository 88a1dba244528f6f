"""The sum of a replay."""

from cellwallet.replaying.posting import AccountOutcome, Difference
from cellwallet.replaying.report import summed_up


def _difference(line: int, movement_id: str | None = "m") -> Difference:
    return Difference(account="7", line=line, movement_id=movement_id, what="balance", expected="1", found="2")


def _outcome(*, posted: int = 0, already_there: int = 0, differences: tuple[Difference, ...] = ()) -> AccountOutcome:
    return AccountOutcome(
        account="7",
        movements=posted + already_there,
        posted=posted,
        already_there=already_there,
        differences=differences,
    )


def test_a_first_run_and_a_second() -> None:
    first = summed_up([_outcome(posted=3), _outcome(posted=1, already_there=2)], file="f", duration_s=2)
    assert (first.movements, first.posted, first.already_there, first.rate_per_s) == (6, 4, 2, 3)
    assert first.is_exact
    assert not first.changed_nothing
    second = summed_up([_outcome(already_there=6)], file="f", duration_s=2)
    assert second.changed_nothing


def test_differences_stand_in_the_order_of_the_file_and_spoil_it() -> None:
    outcomes = [
        _outcome(posted=2, differences=(_difference(9), _difference(9, None))),
        _outcome(posted=1, differences=(_difference(4),)),
    ]
    report = summed_up(outcomes, file="f", duration_s=0)
    assert [(one.line, one.movement_id) for one in report.differences] == [(4, "m"), (9, "m"), (9, None)]
    document = report.document()
    assert (document["exact"], document["difference_count"], document["rate_per_s"]) == (False, 3, 0)
    assert document["differences"][0]["expected"] == "1"
