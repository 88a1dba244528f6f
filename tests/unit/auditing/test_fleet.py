"""Findings over the fleet: a whole one has none, and each way of being broken has its own, with the exact units."""

from typing import Any

import pytest

from cellwallet.auditing.fleet import (
    CellAudit,
    Finding,
    active_units,
    cell_findings,
    findings_of,
    fleet_totals,
    in_transit_findings,
    lasting,
    migrated_findings,
    ownership_findings,
    totals_findings,
    unit_faults,
)
from contract.directory import DirectoryCell, DirectoryDocument
from contract.fleet import CellUnits, UnitRun
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS

HALF = SLOTS // 2
Run = tuple[int, int, str, int]


def _units(cell: str, *runs: Run) -> CellUnits:
    return CellUnits(
        cell=cell,
        units=tuple(UnitRun(first=first, last=last, state=state, epoch=epoch) for first, last, state, epoch in runs),  # type: ignore[arg-type]
    )


def _directory(**other: Any) -> DirectoryDocument:
    fields: dict[str, Any] = {"slots": ((HALF, "cell-1"), (HALF, "cell-2")), **other}
    return DirectoryDocument(
        version=5,
        issued_at="2027-01-15T08:00:00Z",
        cells={name: DirectoryCell(api=(), state="active") for name in ("cell-1", "cell-2")},
        **fields,
    )


def _audit(cell: str, **other: Any) -> CellAudit:
    fields: dict[str, Any] = {"clean": True, "checked": {}, "duration_s": 0.1, **other}
    return CellAudit(cell=cell, **fields)


WHOLE = (_units("cell-1", (0, HALF - 1, "active", 1)), _units("cell-2", (HALF, SLOTS - 1, "active", 1)))


def test_a_whole_fleet_has_no_findings() -> None:
    assert ownership_findings(WHOLE, _directory()) == []
    assert ownership_findings(WHOLE, None) == []


@pytest.mark.parametrize(
    ("units", "directory", "expected"),
    [
        pytest.param(
            (WHOLE[0], _units("cell-2", (HALF - 2, SLOTS - 1, "active", 1))),
            None,
            [("ownership", f"units {HALF - 2}-{HALF - 1}", "cell-1@1 and cell-2@1")],
            id="two owners",
        ),
        pytest.param(
            (WHOLE[0], _units("cell-2", (HALF, SLOTS - 2, "active", 1))),
            None,
            [("ownership", f"unit {SLOTS - 1}", "none")],
            id="no owner",
        ),
        pytest.param(
            (WHOLE[0], _units("cell-2", (HALF, SLOTS - 2, "active", 1), (SLOTS - 1, SLOTS - 1, "fenced", 1))),
            _directory(),
            [("ownership", f"unit {SLOTS - 1}", "cell-2 fenced@1")],
            id="fenced and nobody knows of a move",
        ),
        pytest.param(
            (_units("cell-1", (0, HALF - 1, "active", 1), (HALF, HALF, "moved", 3)), WHOLE[1]),
            None,
            [("epoch", f"unit {HALF}", "cell-1 moved@3")],
            id="an owner of the past knows a higher epoch",
        ),
        pytest.param(
            WHOLE,
            _directory(slots=((HALF + 1, "cell-1"), (HALF - 1, "cell-2"))),
            [("directory", f"unit {HALF}", "cell-1@1")],
            id="the directory names another owner",
        ),
        pytest.param(
            WHOLE,
            _directory(epochs={7: 2}),
            [("epoch", "unit 7", "directory cell-1@2")],
            id="the directory has another epoch",
        ),
        pytest.param(
            WHOLE,
            _directory(
                isolated={"0190a0b0-0000-7000-8000-000000000001": ISOLATED_UNIT_FIRST},
                unit_cells={ISOLATED_UNIT_FIRST: "cell-2"},
            ),
            [("ownership", f"unit {ISOLATED_UNIT_FIRST}", "none")],
            id="an isolated unit that no cell knows",
        ),
        pytest.param(
            WHOLE,
            _directory(slots=()),
            [
                ("directory", f"units 0-{HALF - 1}", "no cell@1"),
                ("directory", f"units {HALF}-{SLOTS - 1}", "no cell@1"),
            ],
            id="an empty directory",
        ),
    ],
)
def test_a_broken_fleet_is_named_by_unit(
    units: tuple[CellUnits, ...], directory: DirectoryDocument | None, expected: list[tuple[str, str, str]]
) -> None:
    found = [(finding.check, finding.subject, finding.found) for finding in ownership_findings(units, directory)]
    assert found == expected


def test_an_isolated_unit_that_its_wallet_has_left_needs_no_owner() -> None:
    left = (ISOLATED_UNIT_FIRST, ISOLATED_UNIT_FIRST, "moved", 3)
    units = (_units("cell-1", (0, HALF - 1, "active", 1), left), _units("cell-2", (HALF, SLOTS - 1, "active", 1), left))
    assert ownership_findings(units, _directory()) == []
    listed = {"0190a0b0-0000-7000-8000-000000000001": ISOLATED_UNIT_FIRST}
    (finding,) = ownership_findings(
        units, _directory(isolated=listed, unit_cells={ISOLATED_UNIT_FIRST: "cell-1"}, epochs={ISOLATED_UNIT_FIRST: 3})
    )
    assert finding.check == "ownership", "as long as the directory names it, somebody must serve it"


def test_a_unit_in_transition_may_be_without_an_active_owner() -> None:
    units = (WHOLE[0], _units("cell-2", (HALF, SLOTS - 2, "active", 1), (SLOTS - 1, SLOTS - 1, "fenced", 1)))
    assert ownership_findings(units, _directory(moving=(SLOTS - 1,))) == []


def test_a_unit_in_transition_never_has_two_active_owners() -> None:
    units = (_units("cell-1", (0, HALF - 1, "active", 1), (SLOTS - 1, SLOTS - 1, "active", 2)), WHOLE[1])
    (finding,) = ownership_findings(units, _directory(moving=(SLOTS - 1,)))
    assert finding.subject == f"unit {SLOTS - 1}"


def test_what_is_wrong_in_two_looks_lasts_however_it_shows() -> None:
    """Cells answer in any order, and a fault may spread meanwhile: neither may make it look like a move."""
    two = _units("cell-2", (HALF - 1, SLOTS - 1, "active", 1))
    spread = _units("cell-2", (HALF - 2, SLOTS - 1, "active", 2))
    first, second = unit_faults((WHOLE[0], two), None), unit_faults((spread, WHOLE[0]), None)
    assert [finding.subject for finding in findings_of(lasting(first, second))] == [f"unit {HALF - 1}"]
    assert unit_faults((WHOLE[0], two), None) == unit_faults((two, WHOLE[0]), None)
    assert lasting(first, unit_faults(WHOLE, None)) == {}


def test_units_of_a_silent_cell_are_not_judged() -> None:
    assert ownership_findings(WHOLE[:1], _directory(), silent_cells=frozenset({"cell-2"})) == []
    assert len(ownership_findings(WHOLE[:1], _directory())) == 1


def test_an_agreed_later_epoch_is_fine() -> None:
    units = (
        _units("cell-1", (0, 0, "moved", 2), (1, HALF - 1, "active", 1)),
        _units("cell-2", (0, 0, "active", 2), (HALF, SLOTS - 1, "active", 1)),
    )
    directory = _directory(slots=((1, "cell-2"), (HALF - 1, "cell-1"), (HALF, "cell-2")), epochs={0: 2})
    assert ownership_findings(units, directory) == []
    assert [active_units(cell) for cell in units] == [HALF - 1, HALF + 1]


def test_money_sums_to_zero_in_each_cell() -> None:
    whole = _audit("cell-1", totals={"EUR": {"wallets": 900, "accounts": {"clearing:shop": -900}}})
    minted = _audit(
        "cell-2", totals={"EUR": {"wallets": 901, "accounts": {"clearing:shop": -900}}, "CZK": {"wallets": 0}}
    )
    assert totals_findings([whole, minted]) == [
        Finding(check="totals", cell="cell-2", subject="EUR", expected="0", found="1")
    ]
    assert [
        (total.currency, total.wallets, total.accounts, total.total) for total in fleet_totals([whole, minted])
    ] == [
        ("CZK", 0, 0, 0),
        ("EUR", 1801, -1800, 1),
    ]


def test_what_moved_out_of_one_cell_moved_into_another() -> None:
    out = _audit("cell-1", totals={"EUR": {"wallets": 0, "accounts": {"migrated": 70, "clearing:shop": -70}}})
    into = _audit("cell-2", totals={"EUR": {"wallets": 70, "accounts": {"migrated": -70}}})
    assert migrated_findings([out, into]) == []
    assert [finding.found for finding in migrated_findings([out])] == ["70"]


@pytest.mark.parametrize(
    ("sent", "received", "is_open", "found"),
    [
        (0, 0, 0, []),
        (70, 70, 0, []),
        (70, 0, 70, []),
        (70, 70, 70, []),
        (70, 0, 69, ["70"]),
        (70, 69, 0, ["1"]),
        (0, 1, 0, ["-1"]),
        (0, 10, 10, []),  # the creditors of a group have followed, its debtors have not
    ],
)
def test_what_left_one_cell_is_in_another_or_on_its_way(
    sent: int, received: int, is_open: int, found: list[str]
) -> None:
    out = _audit("cell-1", totals={"EUR": {"wallets": -sent, "accounts": {"in_transit": sent}, "on_its_way": is_open}})
    into = _audit("cell-2", totals={"EUR": {"wallets": received, "accounts": {"in_transit": -received}}})
    assert [finding.found for finding in in_transit_findings([out, into])] == found


def test_a_cells_findings_are_passed_on_exactly() -> None:
    audit = _audit(
        "cell-1",
        clean=False,
        findings=[{"invariant": "L6", "wallet_id": "w", "seq": 4, "field": "hash", "expected": "aa", "found": "bb"}],
    )
    assert cell_findings(audit) == [
        Finding(check="L6", cell="cell-1", subject="wallet w, entry 4, field hash", expected="aa", found="bb")
    ]


@pytest.mark.parametrize(("found", "told"), [([7, None, "active"], '[7, null, "active"]'), (7, "7"), (None, "null")])
def test_whatever_a_cell_found_is_told(found: object, told: str) -> None:
    audit = _audit("cell-1", clean=False, findings=[{"invariant": "L9", "field": "row", "found": found}])
    assert [finding.found for finding in cell_findings(audit)] == [told]


def test_an_unclean_verdict_without_a_finding_is_one() -> None:
    assert len(cell_findings(_audit("cell-1", clean=False))) == 1
    assert cell_findings(_audit("cell-1")) == []
