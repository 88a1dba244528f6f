"""Results: a finding is told of the case that it belongs to, and an interrupted run keeps what it has."""

from pathlib import Path

from crash_matrix.pairs import CASES, name_of
from crash_matrix.results import Result, attributed, keep, kept, missing
from crash_matrix.table import BROKEN, RunFacts, cases_in, complete, rendered
from history.model import Asked, Attempt, Finding, History

FACTS = RunFacts(seed=1, machine="a machine", restored_backup="tests/system/moves/test_restored_backup.py")


def result(name: str, *, began_s: float = 0.0, findings: tuple[str, ...] = ()) -> Result:
    return Result(
        name=name,
        ended="done",
        recovered_by=("watchdog", "next mover"),
        recovery_s=1.5,
        seed=1,
        began_s=began_s,
        ended_s=began_s + 1,
        at="2026-01-01",
        findings=findings,
    )


def sent(transaction_id: str, *at_s: float) -> list[Attempt]:
    asked = Asked(wallet_id="w", transaction_id=transaction_id, kind="credit", amount=1)
    return [Attempt(asked=asked, began_s=one, ended_s=one, answer=None) for one in at_s]


def test_a_finding_belongs_to_the_case_under_which_its_command_was_last_sent() -> None:
    first, second = result("first", began_s=0), result("second", began_s=1)
    history = History(sent("early", 0.5) + sent("late", 0.5, 1.5) + sent("between", 9.0))
    findings = [Finding(check="lost", wallet_id="w", transaction_id=name, detail="") for name in ("early", "late")]
    told = {one.name: one.findings for one in attributed([first, second], findings, history)}
    assert [len(of) for of in told.values()] == [1, 1]
    assert "id early" in told["first"][0]


def test_a_finding_of_nobody_is_told_of_all() -> None:
    results = [result("first", began_s=0), result("second", began_s=1)]
    finding = Finding(check="unbalanced", wallet_id="", detail="EUR")
    told = attributed(results, [finding], History())
    assert [one.is_clean for one in told] == [False, False]
    assert all("in this case or another" in one.findings[0] for one in told)


def test_what_is_known_is_kept_and_the_rest_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "results"
    assert kept(file) == {}
    keep(file, [result("one", findings=("bad",)), result("two")])
    keep(file, [result("one")])
    assert kept(file) == {"one": result("one"), "two": result("two")}
    names = [name_of(case) for case in CASES[1:]]
    assert missing(names) == [CASES[0]]


def test_the_page_tells_of_every_case_and_is_read_back() -> None:
    results = {name_of(case): result(name_of(case)) for case in CASES}
    assert complete(results)
    text = rendered(results, FACTS)
    assert cases_in(text) == list(results)
    assert BROKEN not in text
    assert "| C14 | a cell restored from a backup: `tests/system" in text


def test_the_page_says_what_is_broken() -> None:
    results = {name_of(case): result(name_of(case), findings=("two owners | lost",)) for case in CASES}
    text = rendered(results, FACTS)
    assert f"**{BROKEN}**: two owners / lost" in text
    assert cases_in(text) == list(results)
