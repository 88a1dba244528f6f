"""Which units a restored cell has lost for good, and from whose retained rows each can be served again.

The directory still names that cell, the cell itself does not know the unit, and exactly one other cell says that it
gave it there at the very epoch. What does not fit is left to a person, with a word why. Asks nobody: told what all say.
"""

from collections.abc import Mapping
from typing import Final

from contract.fleet import CellUnits, UnitStateName
from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST
from contract.values import value
from control_plane.fleet.model import Cell, Fleet

Claim = tuple[UnitStateName, int]
"""What a cell says of a unit: its state and epoch."""

_OWNING: Final = frozenset({"active", "fenced"})
_COMING: Final = frozenset({"staging", "staged"})
_SERVES: Final = frozenset({"active", "draining"})
"""Cells that may have units."""


@value
class LostUnit:
    unit: int
    epoch: int
    """At which it came to the cell that lost it."""
    giver: CellId


@value
class LeftUnit:
    unit: int
    epoch: int
    why: str


@value
class Losses:
    lost: tuple[LostUnit, ...] = ()
    left: tuple[LeftUnit, ...] = ()
    """Neither had by the cell nor to be had from another."""


def losses_of(
    lost_by: CellId, fleet: Fleet, told: Mapping[CellId, CellUnits], *, moving: frozenset[int] = frozenset()
) -> Losses:
    """`told` is the word of every cell that is not retired; `moving` are the units of open moves."""
    claims = {cell: _by_unit(units) for cell, units in told.items()}
    cells = {cell.id: cell for cell in fleet.cells}
    lost: list[LostUnit] = []
    left: list[LeftUnit] = []
    for run in fleet.runs_of(lost_by):
        for unit in range(run.first, run.last + 1):
            if _has(claims[lost_by].get(unit), run.epoch):
                continue
            others = {cell: found[unit] for cell, found in claims.items() if cell != lost_by and unit in found}
            giver = "it is in a move" if unit in moving else _giver(unit, run.epoch, others, cells)
            if isinstance(giver, Cell):
                lost.append(LostUnit(unit=unit, epoch=run.epoch, giver=giver.id))
            else:
                left.append(LeftUnit(unit=unit, epoch=run.epoch, why=giver))
    return Losses(lost=tuple(lost), left=tuple(left))


def _has(claim: Claim | None, epoch: int) -> bool:
    """It has the unit, had it and is giving it away, or is about to get it."""
    return claim is not None and claim[0] != "moved" and claim[1] >= epoch


def _giver(unit: int, epoch: int, others: Mapping[CellId, Claim], cells: Mapping[CellId, Cell]) -> Cell | str:
    """Or why there is none."""
    givers = [cell for cell, claim in others.items() if claim == ("moved", epoch) or _is_revived(claim, epoch)]
    if not givers and unit >= ISOLATED_UNIT_FIRST:
        return "no other cell has had it: its wallet was isolated there since"
    if len(givers) != 1:
        return f"{len(givers)} cells say that they gave it"
    rival = next((cell for cell, claim in others.items() if cell not in givers and _has(claim, epoch)), None)
    if rival is not None:
        return f"cell {rival} says that it has it"
    cell = cells[givers[0]]
    if cell.state not in _SERVES:
        return f"cell {cell.id}, which gave it, is {cell.state}; activate it first"
    return cell


def _is_revived(claim: Claim, epoch: int) -> bool:
    """An earlier order has reached the giver, and the directory does not say so yet."""
    return claim[0] in _OWNING and claim[1] == epoch + 1


def _by_unit(told: CellUnits) -> dict[int, Claim]:
    return {unit: (run.state, run.epoch) for run in told.units for unit in range(run.first, run.last + 1)}
