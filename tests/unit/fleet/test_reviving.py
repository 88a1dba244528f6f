"""What a restored cell has lost, and who can serve it again: one giver at that very epoch, and nobody else."""

import pytest
from fleet_world import cell, fleet_of

from contract.fleet import CellUnits, UnitRun
from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST
from control_plane.fleet.model import Fleet, OwnedRun
from control_plane.fleet.reviving import Losses, losses_of

LOSER = CellId("b")
Run = tuple[int, int, str, int]


def said(name: str, *runs: Run) -> CellUnits:
    units = (UnitRun(first=first, last=last, state=state, epoch=epoch) for first, last, state, epoch in runs)
    return CellUnits(cell=name, units=tuple(units))


def world(*, giver_state: str = "active", first: int = 10, last: int = 12) -> Fleet:
    """Units of `b` at epoch 2 by the directory; everything else is of `a`."""
    return fleet_of(
        [cell("a", giver_state), cell("b", "active"), cell("c", "active")],
        OwnedRun(first=0, last=9, cell=CellId("a")),
        OwnedRun(first=first, last=last, cell=LOSER, epoch=2),
    )


def losses(*told: CellUnits, fleet: Fleet | None = None, moving: frozenset[int] = frozenset()) -> Losses:
    known = {CellId(name): said(name) for name in ("a", "b", "c")} | {CellId(one.cell): one for one in told}
    return losses_of(LOSER, fleet or world(), known, moving=moving)


def test_units_that_one_cell_gave_there_are_lost_and_can_be_revived() -> None:
    found = losses(said("a", (0, 9, "active", 1), (10, 12, "moved", 2)))
    assert [(one.unit, one.epoch, one.giver) for one in found.lost] == [(10, 2, "a"), (11, 2, "a"), (12, 2, "a")]
    assert found.left == ()


@pytest.mark.parametrize("state", ["active", "fenced", "granted", "staging", "staged"])
def test_what_the_cell_has_is_not_lost(state: str) -> None:
    found = losses(said("a", (10, 12, "moved", 2)), said("b", (10, 12, state, 2)))
    assert found == Losses()


def test_what_it_once_had_and_gave_away_before_is_lost() -> None:
    found = losses(said("a", (10, 12, "moved", 2)), said("b", (10, 12, "moved", 3)))
    assert len(found.lost) == 3


def test_an_order_that_was_killed_half_way_is_finished() -> None:
    """The giver has the unit back, and the directory does not know."""
    found = losses(said("a", (10, 12, "active", 3)))
    assert [one.giver for one in found.lost] == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([said("a", (10, 12, "moved", 3))], "0 cells say that they gave it"),
        ([said("a", (10, 12, "moved", 2)), said("c", (10, 12, "moved", 2))], "2 cells say that they gave it"),
        ([said("a", (10, 12, "moved", 2)), said("c", (10, 12, "active", 4))], "cell c says that it has it"),
        ([said("a", (10, 12, "moved", 2)), said("c", (10, 12, "staged", 3))], "cell c says that it has it"),
        ([said("a", (10, 12, "granted", 2))], "0 cells say that they gave it"),
    ],
)
def test_what_does_not_fit_is_left_to_a_person(told: list[CellUnits], why: str) -> None:
    found = losses(*told)
    assert found.lost == ()
    assert {one.why for one in found.left} == {why}


def test_a_unit_in_a_move_is_left_alone() -> None:
    found = losses(said("a", (10, 12, "moved", 2)), moving=frozenset({11}))
    assert [one.unit for one in found.lost] == [10, 12]
    assert [(one.unit, one.why) for one in found.left] == [(11, "it is in a move")]


def test_a_giver_that_may_have_no_units_must_be_activated_first() -> None:
    found = losses(said("a", (10, 12, "moved", 2)), fleet=world(giver_state="empty"))
    assert {one.why for one in found.left} == {"cell a, which gave it, is empty; activate it first"}


def test_a_unit_that_was_born_there_is_in_no_other_cell() -> None:
    unit = ISOLATED_UNIT_FIRST + 4
    found = losses(fleet=world(first=unit, last=unit))
    assert [one.why for one in found.left] == ["no other cell has had it: its wallet was isolated there since"]
