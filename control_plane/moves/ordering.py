"""May this move be ordered? A ladder of checks over what is recorded; refusals are values, as everywhere."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from contract.directory import CellState
from contract.ids import CellId
from contract.values import value
from control_plane.moves.model import MovePurpose

SOURCE_STATES: frozenset[CellState] = frozenset({"active", "draining"})


class OrderReason(StrEnum):
    """Why a move was not ordered, in order of precedence."""

    MOVE_EXISTS_WITH_DIFFERENT_UNITS = "move_exists_with_different_units"
    MOVE_EXISTS_WITH_DIFFERENT_TARGET = "move_exists_with_different_target"
    DIRECTORY_MUST_BE_PUBLISHED = "directory_must_be_published"
    CELL_MUST_EXIST = "cell_must_exist"
    UNIT_MUST_HAVE_AN_OWNER = "unit_must_have_an_owner"
    TARGET_CELL_MUST_BE_ACTIVE = "target_cell_must_be_active"
    UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE = "unit_must_not_be_in_another_move"
    UNITS_MUST_BE_IN_ONE_CELL = "units_must_be_in_one_cell"
    TARGET_CELL_MUST_BE_ANOTHER = "target_cell_must_be_another"
    SOURCE_CELL_MUST_BE_SERVING = "source_cell_must_be_serving"
    TARGET_CELL_MUST_HAVE_ROOM = "target_cell_must_have_room"


@value
class MoveOrder:
    """What somebody wants moved. `move_id` is the order's own id: given again, it is the same order."""

    move_id: str
    units: tuple[int, ...]
    """At least one; in any order, without doubles."""
    to_cell: CellId
    purpose: MovePurpose = "order"
    wallet_id: str | None = None
    target_load_per_s: float | None = None
    """What the target carries now, where somebody has measured it."""
    actor: str
    request_id: str


@value
class MoveRefused:
    reason: OrderReason
    detail: str
    facts: Mapping[str, Any] | None = None


@value
class UnitPlace:
    """A unit as the directory has it, and the open move that it is in."""

    unit: int
    cell: CellId
    epoch: int
    move_id: str | None = None


@value
class OrderView:
    """What is recorded about everything that the order names."""

    is_published: bool
    cells: Mapping[CellId, CellState]
    ceiling_per_s: float | None
    """Up to where units are placed in the target; None = nobody has said what it can carry."""
    places: Mapping[int, UnitPlace]
    isolating: frozenset[int]
    """Slots that a wallet is just leaving or coming back to."""


def refusal_of(order: MoveOrder, view: OrderView) -> MoveRefused | None:
    if not view.is_published:
        return _refused(OrderReason.DIRECTORY_MUST_BE_PUBLISHED, "the first cells have not all confirmed their units")
    if order.to_cell not in view.cells:
        return _refused(OrderReason.CELL_MUST_EXIST, f"no cell {order.to_cell} has ever registered")
    unowned = [unit for unit in order.units if unit not in view.places]
    if unowned:
        detail = f"nobody owns {_some(unowned)}"
        return _refused(OrderReason.UNIT_MUST_HAVE_AN_OWNER, detail, unit=unowned[0])
    state = view.cells[order.to_cell]
    if state != "active":
        return _refused(OrderReason.TARGET_CELL_MUST_BE_ACTIVE, f"cell {order.to_cell} is {state}", state=state)
    places = [view.places[unit] for unit in order.units]
    taken = next((place for place in places if place.move_id is not None), None)
    if taken is not None:
        detail = f"unit {taken.unit} is in move {taken.move_id}"
        return _refused(
            OrderReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, detail, unit=taken.unit, move_id=str(taken.move_id)
        )
    isolating = sorted(view.isolating.intersection(order.units))
    if isolating:
        detail = f"a wallet is just leaving {_some(isolating)} or coming back"
        return _refused(OrderReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, detail, unit=isolating[0])
    sources = sorted({place.cell for place in places})
    if len(sources) > 1:
        detail = f"they are in {', '.join(sources)}; order one move for each"
        return _refused(OrderReason.UNITS_MUST_BE_IN_ONE_CELL, detail)
    return _refusal_of_cells(order, view, sources[0])


def _refusal_of_cells(order: MoveOrder, view: OrderView, source: CellId) -> MoveRefused | None:
    if source == order.to_cell:
        return _refused(OrderReason.TARGET_CELL_MUST_BE_ANOTHER, f"{_some(order.units)} is in {source} already")
    if view.cells[source] not in SOURCE_STATES:
        detail = f"cell {source} is {view.cells[source]}"
        return _refused(OrderReason.SOURCE_CELL_MUST_BE_SERVING, detail)
    if is_full(ceiling_per_s=view.ceiling_per_s, load_per_s=order.target_load_per_s):
        detail = (
            f"cell {order.to_cell} carries {order.target_load_per_s:.0f} commands per second; units are placed there "
            f"up to {view.ceiling_per_s:.0f}"
        )
        return _refused(OrderReason.TARGET_CELL_MUST_HAVE_ROOM, detail)
    return None


def is_full(*, ceiling_per_s: float | None, load_per_s: float | None) -> bool:
    """A cell without a capacity, or whose load nobody has measured, is not known to be full."""
    return ceiling_per_s is not None and load_per_s is not None and load_per_s >= ceiling_per_s


def _refused(reason: OrderReason, detail: str, **facts: str | int) -> MoveRefused:
    return MoveRefused(reason=reason, detail=detail, facts=facts or None)


def _some(units: tuple[int, ...] | list[int]) -> str:
    if len(units) == 1:
        return f"unit {units[0]}"
    return f"{len(units)} units, the first is {min(units)},"
