"""What a cell may take besides: its limit, its rate, and what is told when one of them is not known."""

from typing import Any

import pytest

from cellwallet.commands import status
from cellwallet.local.health import TAKEN, CellHealth, CellLimit, _rate

CERTIFIED, BY_HAND, UNBOUND = (
    CellLimit(per_s=1_000.0, is_certified=True),
    CellLimit(per_s=50.0, is_certified=False),
    CellLimit(per_s=None, is_certified=False),
)


def health(limit: CellLimit | None, taken_per_s: float | None) -> CellHealth:
    return CellHealth(
        id="cell-1",
        home_zone="zone-a",
        ready=2,
        processes=2,
        accepted=0,
        refused=0,
        queued=0,
        configuration_version=1,
        taken_per_s=taken_per_s,
        limit=limit,
    )


@pytest.mark.parametrize(
    ("limit", "taken_per_s", "headroom_per_s", "shown"),
    [
        (CERTIFIED, 250.0, 750, ("1,000 certified", "750 (75%)")),
        (CERTIFIED, 1_100.0, 0, ("1,000 certified", "0 (0%)")),
        (BY_HAND, 0.0, 50, ("50 by hand", "50 (100%)")),
        (CERTIFIED, None, None, ("1,000 certified", "")),
        (UNBOUND, 250.0, None, ("none", "")),
        (None, 250.0, None, ("?", "")),
    ],
)
def test_the_headroom_is_what_the_limit_leaves(
    limit: CellLimit | None, taken_per_s: float | None, headroom_per_s: float | None, shown: tuple[str, str]
) -> None:
    cell = health(limit, taken_per_s)
    assert cell.document()["headroom_per_s"] == headroom_per_s
    assert (status._limit(cell), status._headroom(cell)) == shown


def test_machines_are_told_limit_and_rate() -> None:
    document = health(CERTIFIED, 250.0).document()
    assert (document["limit"], document["taken_per_s"]) == ({"per_s": 1_000.0, "is_certified": True}, 250.0)


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        ([{TAKEN: 10}, {TAKEN: 0}], [{TAKEN: 30}, {TAKEN: 10}], 15.0),
        ([{TAKEN: 10}], [{TAKEN: 10}], 0.0),
        ([{TAKEN: 10}], [{TAKEN: 3}], None),
        ([{TAKEN: 10}, {}], [{TAKEN: 30}, {TAKEN: 10}], None),
        ([{TAKEN: 10}], [{}], None),
        ([], [], None),
    ],
    ids=["both processes", "idle", "started meanwhile", "silent before", "silent after", "no process"],
)
def test_a_rate_is_known_only_when_every_process_told_twice(before: Any, after: Any, rate: float | None) -> None:
    assert _rate(before, after, 2.0) == rate


def standby(**told: Any) -> dict[str, Any]:
    return {
        "cell": "cell-1",
        "primary": "first",
        "primary_zone": "b",
        "standby_zone": "c",
        "phase": "synchronous",
        "is_protected": True,
        "is_streaming": True,
        "lag_bytes": 0,
        "lag_s": 0.004,
        "promotions": 2,
        "pause_s": None,
        "why": "",
        "trouble": "",
        **told,
    }


def test_what_is_not_protected_is_told_with_its_reason() -> None:
    unprotected = standby(phase="alone", is_protected=False, is_streaming=False, why="a standby is made [anew]")
    table = status._standbys_table([standby(), unprotected])
    cells = [list(column.cells) for column in table.columns]
    assert cells[1] == ["first, zone b", "first, zone b"]
    assert cells[3] == ["yes", "[bold red]NO[/]"]
    assert cells[4] == ["0 bytes, 4 ms", ""]
    assert cells[6] == ["", r"a standby is made \[anew]"]
