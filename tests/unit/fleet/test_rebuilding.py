"""Who owns what, told by the cells alone: the highest epoch that a grant leads to, or nothing at all."""

import pytest
from fleet_world import owned

from contract.fleet import CellUnits, UnitRun
from contract.ids import CellId, WalletId
from contract.load import IsolatedWallets
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, slot_of
from control_plane.fleet.model import OwnedRun
from control_plane.fleet.rebuilding import Rebuilt, rebuilt

ISOLATED = ISOLATED_UNIT_FIRST + 3
Pairs = tuple[tuple[str, int], ...]


def cell(name: str, *runs: tuple[int, int, str, int]) -> CellUnits:
    return CellUnits(
        cell=name, units=tuple(UnitRun(first=one, last=last, state=state, epoch=at) for one, last, state, at in runs)
    )


def told(*cells: CellUnits) -> dict[CellId, CellUnits]:
    return {CellId(one.cell): one for one in cells}


def test_a_fleet_that_never_moved_is_rebuilt_as_it_is() -> None:
    found = rebuilt(told(owned("a", (0, 8191)), owned("b", (8192, SLOTS - 1))), {}, ())
    assert isinstance(found, Rebuilt)
    assert [(run.first, run.last, run.cell, run.epoch) for run in found.runs] == [
        (0, 8191, "a", 1),
        (8192, SLOTS - 1, "b", 1),
    ]
    assert (found.changed, found.superseded, found.is_large_change) == (0, (), False)


def test_what_moved_is_where_it_came_to_and_fenced_units_are_where_they_were() -> None:
    a = cell("a", (0, 99, "moved", 2), (100, 199, "fenced", 1), (200, SLOTS - 1, "active", 1))
    found = rebuilt(told(a, cell("b", (0, 99, "active", 2), (100, 199, "staging", 2))), {}, ())
    assert isinstance(found, Rebuilt)
    assert [(run.first, run.last, run.cell, run.epoch) for run in found.runs] == [
        (0, 99, "b", 2),
        (100, SLOTS - 1, "a", 1),
    ]


def test_a_grant_makes_the_staged_target_the_owner() -> None:
    a = cell("a", (0, 0, "granted", 2), (1, SLOTS - 1, "active", 1))
    found = rebuilt(told(a, cell("b", (0, 0, "staged", 2))), {}, ())
    assert isinstance(found, Rebuilt)
    assert (found.runs[0].cell, found.runs[0].epoch) == ("b", 2)


def test_a_cell_restored_to_before_its_grant_is_superseded() -> None:
    """`a` was restored and claims epoch 1; `c` gave the unit on at epoch 3, which leads to `b`."""
    a = cell("a", (0, SLOTS - 1, "active", 1))
    found = rebuilt(told(a, cell("b", (0, 0, "active", 3)), cell("c", (0, 0, "moved", 3))), {}, ())
    assert isinstance(found, Rebuilt)
    assert found.runs[0].cell == "b"
    assert found.superseded == (("a", 0),)


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ((owned("a", (0, SLOTS - 1)), owned("b", (5, 6))), "a and b both own it at epoch 1"),
        ((owned("a", (0, 99)),), "nobody owns it"),
        (
            (cell("a", (0, 0, "moved", 2), (1, SLOTS - 1, "active", 1)),),
            "given away at epoch 2, and nobody says that it came",
        ),
        (
            (owned("a", (0, SLOTS - 1)), cell("b", (0, 0, "active", 2))),
            "a and b own it, and no grant leads to the higher epoch",
        ),
        (
            (cell("a", (0, SLOTS - 1, "active", 1)), cell("b", (0, 0, "moved", 4))),
            "given away at epoch 4, and nobody says that it came",
        ),
    ],
)
def test_claims_that_cannot_be_told_apart_rebuild_nothing(cells: tuple[CellUnits, ...], fault: str) -> None:
    found = rebuilt(told(*cells), {}, ())
    assert not isinstance(found, Rebuilt)
    assert fault in {one.fault for one in found}


def test_an_epoch_below_the_published_one_rebuilds_nothing() -> None:
    recorded = [OwnedRun(first=0, last=SLOTS - 1, cell=CellId("a"), epoch=2)]
    found = rebuilt(told(owned("a", (0, SLOTS - 1))), {}, recorded)
    assert not isinstance(found, Rebuilt)
    assert found[0].fault == "a owns at a lower epoch than was published"


W = "225c4a2f-a5da-57f1-bda4-432f023bc362"
AWAY = cell("a", (0, SLOTS - 1, "active", 1), (ISOLATED, ISOLATED, "moved", 2))
HERE = cell("b", (ISOLATED, ISOLATED, "active", 2))


def wallets(**cells: IsolatedWallets) -> dict[CellId, IsolatedWallets]:
    return {CellId(name): of for name, of in cells.items()}


def names(name: str, *, has: Pairs = (), exiles: Pairs = ()) -> IsolatedWallets:
    return IsolatedWallets(cell=name, wallets=has, exiles=exiles)


def test_isolated_wallets_come_back_with_their_units() -> None:
    said = wallets(a=names("a", exiles=((W, ISOLATED),)), b=names("b", has=((W, ISOLATED),)))
    found = rebuilt(told(AWAY, HERE), said, ())
    assert isinstance(found, Rebuilt)
    assert (found.runs[-1].cell, found.isolated, found.left) == ("b", {W: ISOLATED}, ())


@pytest.mark.parametrize(
    ("cells", "said", "fault"),
    [
        # The cell that has the wallet is not there: it owns no slot, so nobody else would miss it.
        (
            (AWAY,),
            wallets(a=names("a", exiles=((W, ISOLATED),))),
            "a wallet has left its slot for it, and no cell has that wallet",
        ),
        ((owned("a", (0, SLOTS - 1)),), wallets(a=names("a", has=((W, ISOLATED),))), "nobody owns the unit"),
        # A cell that was restored to before its wallet went back to its slot.
        (
            (AWAY, HERE),
            wallets(a=names("a"), b=names("b", has=((W, ISOLATED),))),
            "the owner of its wallet's slot knows nothing of it",
        ),
        # One wallet, two units: the owner of the slot knows which.
        (
            (AWAY, cell("b", (ISOLATED, ISOLATED + 1, "active", 2))),
            wallets(a=names("a", exiles=((W, ISOLATED),)), b=names("b", has=((W, ISOLATED), (W, ISOLATED + 1)))),
            "the owner of its wallet's slot knows nothing of it",
        ),
    ],
)
def test_a_wallet_that_is_nowhere_or_twice_rebuilds_nothing(
    cells: tuple[CellUnits, ...], said: dict[CellId, IsolatedWallets], fault: str
) -> None:
    found = rebuilt(told(*cells), said, ())
    assert not isinstance(found, Rebuilt)
    assert [one.fault for one in found if one.fault.startswith(fault)], found


def test_who_lost_the_slot_may_remember_a_wallet_that_is_back() -> None:
    slot = slot_of(WalletId(W))
    a = cell("a", (0, slot - 1, "active", 1), (slot, slot, "moved", 2), (slot + 1, SLOTS - 1, "active", 1))
    b = cell("b", (slot, slot, "active", 2), (ISOLATED, ISOLATED, "moved", 3))
    found = rebuilt(told(a, b), wallets(a=names("a", exiles=((W, ISOLATED),)), b=names("b")), ())
    assert isinstance(found, Rebuilt)
    assert (found.isolated, found.left) == ({}, (ISOLATED,)), "and its number stays taken"


def test_an_isolated_unit_without_a_wallet_is_nobodys() -> None:
    a = cell("a", (0, SLOTS - 1, "active", 1), (ISOLATED, ISOLATED, "moved", 2))
    found = rebuilt(told(a), {}, ())
    assert isinstance(found, Rebuilt)
    assert found.runs[-1].last == SLOTS - 1


def test_a_change_of_more_than_a_twentieth_is_large() -> None:
    recorded = [OwnedRun(first=0, last=SLOTS - 1, cell=CellId("a"))]
    for count, is_large in ((SLOTS // 20, False), (SLOTS // 20 + 1, True)):
        a = cell("a", (0, count - 1, "moved", 2), (count, SLOTS - 1, "active", 1))
        found = rebuilt(told(a, cell("b", (0, count - 1, "active", 2))), {}, recorded)
        assert isinstance(found, Rebuilt)
        assert (found.changed, found.is_large_change) == (count, is_large)
