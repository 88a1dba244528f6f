"""A run passes only if it was fast, without failures, and every cent is where it was said to be."""

import pytest

from loadtests.journeys.account import Account
from loadtests.journeys.slo import Row, Slo, verdict

GOOD = Row(name="debit [cell-1]", cells=("cell-1",), requests=1_000, failures=0, p99_ms=20)
SLOW = Row(name="debit [cell-2]", cells=("cell-2",), requests=1_000, failures=0, p99_ms=2_000)
FAILING = Row(name="debit [cell-2]", cells=("cell-2",), requests=1_000, failures=900, p99_ms=20)


@pytest.mark.parametrize(
    ("rows", "lost_cell", "contradictions", "count"),
    [
        ([GOOD], None, [], 0),
        ([], None, [], 1),
        ([GOOD, SLOW], None, [], 1),
        ([GOOD, FAILING], None, [], 1),
        ([GOOD, SLOW, FAILING], "cell-2", [], 0),
        ([GOOD, SLOW], "cell-1", [], 1),
        ([GOOD], "cell-1", ["a wallet states another sum"], 2),
    ],
)
def test_what_must_hold_is_named(rows: list[Row], lost_cell: str | None, contradictions: list[str], count: int) -> None:
    assert len(verdict(rows, Slo(), lost_cell=lost_cell, contradictions=contradictions)) == count


def test_an_account_follows_answers_and_contradicts_what_does_not() -> None:
    account = Account()
    account.open("w")
    account.posted("w", {"delta": 100, "held_delta": 0, "balance": 100, "held": 0})
    account.posted("w", {"delta": 0, "held_delta": 30, "balance": 100, "held": 30})
    account.received("w", 5)
    account.stated("w", {"balance": 105, "held": 30})
    assert account.contradictions == []
    account.posted("w", {"delta": -1, "held_delta": 0, "balance": 105, "held": 30})
    assert account.contradictions == ["wallet w states balance and held (105, 30) instead of (104, 30)"]
