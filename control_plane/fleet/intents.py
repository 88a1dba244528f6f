"""What operators have ordered of cells and units, and what became of earlier moves: what a picture is made of.

`ordered_state` is the ladder of checks of an order about a cell; whoever retires one also asks the cell itself.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from contract.directory import CellState
from contract.ids import CellId
from contract.load import CellLoad
from contract.values import value
from control_plane.fleet.lifecycle import CellEvent, state_after
from control_plane.fleet.model import Cell, Fleet
from control_plane.fleet.placing import NO_LOAD, Held, Holder, HotWallet, Picture, Role, UnitLoad
from control_plane.fleet.reasons import WaitReason
from control_plane.fleet.rebalancing import REST
from control_plane.moves.model import MoveRecord

CellOrder = Literal["activate", "drain", "retire"]
EVENTS: Mapping[CellOrder, CellEvent] = {
    "activate": CellEvent.ACTIVATION_ORDERED,
    "drain": CellEvent.DRAIN_ORDERED,
    "retire": CellEvent.RETIREMENT_ORDERED,
}
_REACHED: Mapping[CellOrder, frozenset[CellState]] = {
    "activate": frozenset({"active"}),
    "drain": frozenset({"draining", "empty", "retired"}),
    "retire": frozenset({"retired"}),
}
"""Where an order has nothing left to do."""

FIRST_PAUSE = timedelta(seconds=5)
PAUSE_MAX = timedelta(minutes=10)
"""Between a failed move of a unit and the next one: it doubles with each."""


class CellOrderReason(StrEnum):
    CELL_MUST_NOT_BE_RETIRED = "cell_must_not_be_retired"
    DIRECTORY_MUST_BE_PUBLISHED = "directory_must_be_published"
    CELL_MUST_BE_READY = "cell_must_be_ready"
    EVACUATION_MUST_HAVE_ENDED = "evacuation_must_have_ended"
    ANOTHER_CELL_MUST_BE_ACTIVE = "another_cell_must_be_active"
    CELL_MUST_BE_EMPTY = "cell_must_be_empty"


@value
class OrderRefused:
    reason: CellOrderReason
    detail: str


@value
class Failure:
    """What became of the last moves of a unit, none of which brought it away."""

    count: int
    last_at: datetime
    state: str
    reason: str


@value
class Intents:
    """What the control plane's database says of moving units."""

    filling: frozenset[CellId] = frozenset()
    ceilings: Mapping[CellId, float]
    open_moves: tuple[MoveRecord, ...] = ()
    failures: Mapping[int, Failure]
    moved_at: Mapping[int, datetime]
    """Units that changed their cell lately."""
    relief_ordered_at: datetime | None = None
    """An operator ordered relief, and it has not ended."""


def ordered_state(order: CellOrder, cell: Cell, fleet: Fleet) -> CellState | OrderRefused:
    """The state that the order leads to; the present one when it has nothing to do."""
    if cell.state in _REACHED[order]:
        return cell.state
    units = sum(run.last - run.first + 1 for run in fleet.runs_of(cell.id))
    if cell.state == "retired":
        return _refused(CellOrderReason.CELL_MUST_NOT_BE_RETIRED, f"cell {cell.id} has been retired for good")
    if fleet.directory is None and order != "retire":
        detail = "the first cells have not all confirmed their units yet"
        return _refused(CellOrderReason.DIRECTORY_MUST_BE_PUBLISHED, detail)
    if cell.state == "registered" or (cell.state == "ready" and units):
        detail = f"cell {cell.id} is {cell.state} and has not passed its preflight, or is just getting its first units"
        return _refused(CellOrderReason.CELL_MUST_BE_READY, detail)
    if order in {"drain", "retire"} and fleet.evacuated_zones:
        detail = f"zone {', '.join(sorted(fleet.evacuated_zones))} is evacuated: nothing is taken away meanwhile"
        return _refused(CellOrderReason.EVACUATION_MUST_HAVE_ENDED, detail)
    if order == "drain" and not _others_active(cell, fleet):
        detail = f"cell {cell.id} is the last active one: its units have nowhere to go; add or activate another cell"
        return _refused(CellOrderReason.ANOTHER_CELL_MUST_BE_ACTIVE, detail)
    following = state_after(cell.state, EVENTS[order])
    if following is None or (order == "retire" and units):
        detail = f"cell {cell.id} is {cell.state} and has {units} units; drain it first"
        return _refused(CellOrderReason.CELL_MUST_BE_EMPTY, detail)
    return following


def picture_of(fleet: Fleet, intents: Intents, loads: Mapping[CellId, CellLoad], now: datetime) -> Picture:
    """As it will be when all open moves have ended; what is in one of them does not move again."""
    bound = {
        unit.unit: move
        for move in intents.open_moves
        for unit in move.units
        if unit.result in {"waiting", "in_hand", "moved"}
    }
    units: dict[CellId, list[int]] = {cell.id: [] for cell in fleet.cells}
    for run in fleet.runs:
        for unit in range(run.first, run.last + 1):
            units[bound[unit].to_cell if unit in bound else run.cell].append(unit)
    told = {unit.unit: (load, unit) for load in loads.values() for unit in load.units}
    return Picture(
        holders=tuple(
            Holder(
                cell=cell.id,
                role=_role(cell),
                units=tuple(units[cell.id]),
                is_filling=cell.id in intents.filling and cell.state == "active",
                limit_per_s=cell.capacity_per_s,
                ceiling=intents.ceilings.get(cell.id, 1.0),
                is_known=cell.id in loads,
            )
            for cell in fleet.cells
            if cell.state != "retired"
        ),
        loads={
            number: UnitLoad(wallets=unit.wallets, entries=unit.entries, rate_per_s=unit.commands / load.window_s)
            for number, (load, unit) in told.items()
        },
        hot_wallets=_hot_wallets(loads.values()),
        held_back=_held_back(intents, bound, now),
        resting=_resting(intents, now),
        isolated=len(fleet.isolated),
    )


def busy_cells(intents: Intents) -> Iterable[CellId]:
    """Each cell once for every open move that it takes part in."""
    return (cell for move in intents.open_moves for cell in (move.from_cell, move.to_cell))


def load_per_s(picture: Picture, cell: CellId) -> float:
    holder = next(one for one in picture.holders if one.cell == cell)
    return sum(picture.loads.get(unit, NO_LOAD).rate_per_s for unit in holder.units)


def pause_after(failures: int) -> timedelta:
    """How long a unit rests after so many moves that failed."""
    return min(PAUSE_MAX, FIRST_PAUSE * float(2 ** min(failures - 1, 10)))


def _role(cell: Cell) -> Role:
    return "takes" if cell.state == "active" else "gives" if cell.state == "draining" else "keeps"


def _others_active(cell: Cell, fleet: Fleet) -> bool:
    return any(other.state == "active" and other.id != cell.id for other in fleet.cells)


def _hot_wallets(loads: Iterable[CellLoad]) -> tuple[HotWallet, ...]:
    found = [
        HotWallet(wallet_id=wallet.wallet_id, unit=wallet.unit, rate_per_s=wallet.commands / load.window_s)
        for load in loads
        for wallet in load.hot_wallets
    ]
    return tuple(sorted(found, key=lambda one: (-one.rate_per_s, one.wallet_id)))


def _resting(intents: Intents, now: datetime) -> dict[int, Held]:
    """What an ordered rebalancing has moved, so that it comes to an end; otherwise what moved within a day."""
    since, until = now - REST, "a day has passed"
    if intents.relief_ordered_at is not None:
        since, until = intents.relief_ordered_at, "this rebalancing has ended"
    return {
        unit: Held(reason=WaitReason.MOVED_UNIT_MUST_REST, detail=f"unit {unit} has moved; not before {until}")
        for unit, at in intents.moved_at.items()
        if at > since
    }


def _held_back(intents: Intents, bound: Mapping[int, MoveRecord], now: datetime) -> dict[int, Held]:
    held: dict[int, Held] = {}
    for unit, failure in intents.failures.items():
        rest = pause_after(failure.count)
        facts = f"unit {unit}: its last move was {failure.state}, {failure.reason}"
        if failure.state == "quarantined":
            detail = f"{facts}; an operator must look and move it"
            held[unit] = Held(reason=WaitReason.FAILED_MOVE_MUST_REST, detail=detail)
        elif now - failure.last_at < rest:
            detail = f"{facts}; again {rest.total_seconds():.0f} s after that, failures so far: {failure.count}"
            held[unit] = Held(reason=WaitReason.FAILED_MOVE_MUST_REST, detail=detail)
    for unit, move in bound.items():
        detail = f"unit {unit} is in move {move.id}"
        held[unit] = Held(reason=WaitReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, detail=detail)
    return held


def _refused(reason: CellOrderReason, detail: str) -> OrderRefused:
    return OrderRefused(reason=reason, detail=detail)
