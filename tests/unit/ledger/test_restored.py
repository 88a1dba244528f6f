"""A restored database is recognised, whatever it says of itself; a restart or a promotion is not taken for one."""

from dataclasses import replace

import pytest

from cell.ledger.model import Instant
from cell.ledger.restored import OUTAGE_MAX_US, Era, Found, Seen, doubt, is_news, suspicion

FIRST, SECOND = Era(system_identifier="7", timeline=1), Era(system_identifier="7", timeline=2)
OTHER = Era(system_identifier="8", timeline=1)


def found(era: Era = FIRST, *recorded: Era, ticks: int = 10, opened_at: int | None = None) -> Found:
    return Found(
        era=era,
        recorded=frozenset(recorded or {FIRST}),
        ticks=ticks,
        now_us=Instant(1_000),
        opened_at_us=None if opened_at is None else Instant(opened_at),
    )


def seen(era: Era = FIRST, *, ticks: int = 10, at: int = 500) -> Seen:
    return Seen(era=era, ticks=ticks, seen_at_us=Instant(at))


ORDINARY = {
    "a first start": (found(), None),
    "a restart": (found(), seen()),
    "others went on meanwhile": (found(ticks=11), seen()),
    "a promotion that was recorded": (found(SECOND, FIRST, SECOND), seen(ticks=10)),
    "a restored cell that was opened since": (found(ticks=3, opened_at=501), seen(ticks=10)),
    "one that was opened on another timeline": (found(SECOND, FIRST, SECOND, ticks=3, opened_at=501), seen(OTHER)),
}

RESTORED = {
    "a timeline that nobody recorded": (found(SECOND), None, "timeline_must_be_recorded"),
    "another cluster with these files": (found(OTHER), seen(), "timeline_must_be_recorded"),
    "one commit less than was seen": (found(ticks=9), seen(), "history_must_not_go_back"),
    "to before a promotion, and long enough ago": (found(ticks=99), seen(SECOND), "history_must_not_go_back"),
    "an unknown timeline that lacks something": (found(SECOND, FIRST, ticks=9), seen(), "history_must_not_go_back"),
    "once more, after it was opened": (found(ticks=9, opened_at=499), seen(), "history_must_not_go_back"),
    "at the instant of the opening": (found(ticks=9, opened_at=500), seen(), "history_must_not_go_back"),
    "opened once, and an unknown timeline now": (found(SECOND, opened_at=999), seen(), "timeline_must_be_recorded"),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_what_is_ordinary_is_not_suspected(case: str) -> None:
    assert suspicion(*ORDINARY[case]) is None


@pytest.mark.parametrize("case", RESTORED)
def test_what_was_restored_is_suspected(case: str) -> None:
    now, before, cause = RESTORED[case]
    found_out = suspicion(now, before)
    assert found_out is not None
    assert found_out.cause == cause


def test_a_loss_is_news_where_a_timeline_alone_has_closed_the_cell() -> None:
    lost, unknown = suspicion(found(SECOND, FIRST, ticks=9), seen()), suspicion(found(SECOND, FIRST), None)
    assert lost is not None
    assert unknown is not None
    for cause, news in {
        None: (True, True),
        "timeline_must_be_recorded": (True, False),
        "history_must_not_go_back": (False, False),
        "restored": (False, False),
        "ordered": (False, False),
    }.items():
        now = replace(found(), closed_by=cause)
        assert (is_news(lost, now), is_news(unknown, now)) == news


PROMOTED = found(SECOND, FIRST, ticks=10)

DOUBTED = {
    "nobody remembers": (PROMOTED, None, "nobody here remembers"),
    "another system": (PROMOTED, seen(OTHER), "this is another one"),
    "one commit less than was seen": (PROMOTED, seen(ticks=11), "it lacks what was committed"),
    "from before another promotion": (found(Era(system_identifier="7", timeline=3), FIRST), seen(SECOND), "go on"),
    "an older timeline": (found(FIRST, SECOND), seen(SECOND), "go on"),
    "a memory of yesterday": (PROMOTED, seen(at=500 - 86_400 * 1_000_000), "older than any promotion"),
    "a memory a little too old": (PROMOTED, seen(at=1_000 - OUTAGE_MAX_US - 1), "older than any promotion"),
}


def test_what_goes_on_from_what_was_seen_is_a_promotion() -> None:
    for memory in (seen(), seen(ticks=9), seen(at=1_000 - OUTAGE_MAX_US)):
        assert doubt(PROMOTED, memory, noticed_at_us=Instant(1_000)) is None


@pytest.mark.parametrize("case", DOUBTED)
def test_what_may_be_a_restore_is_not_taken_for_a_promotion(case: str) -> None:
    now, before, why = DOUBTED[case]
    told = doubt(now, before, noticed_at_us=Instant(1_000))
    assert told is not None
    assert why in told
