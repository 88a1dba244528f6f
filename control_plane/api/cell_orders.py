"""`POST /v1/cells/{id}/activate | drain | retire`: what operators order of a cell's life.

An order is recorded and answered at once; the units follow by moves. The same order again changes nothing.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.fleet import CellAnswer
from contract.ids import CellId
from contract.load import Remains
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import CellPath
from control_plane.api.cells import answer_of
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, cell_must_exist, problem
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.intents import CellOrder, OrderRefused, ordered_state
from control_plane.fleet.model import Cell, Unreachable
from control_plane.store.cells import shown_cell
from control_plane.store.fleet import load
from control_plane.store.intents import order_cell_state
from control_plane.store.locks import lock_fleet

cell_order_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])

ANSWERS = described(CellAnswer, 400, 401, 403, 404, 409, 503)


@cell_order_routes.post("/v1/cells/{cell_id}/activate", response_model=None, responses=ANSWERS)
@open_to(Scope.FLEET_MANAGE)
async def activate_cell(request: Request, cell_id: CellPath) -> CellAnswer | Response:
    """Give a ready, empty or draining cell its share of units."""
    return await _ordered(request, CellId(cell_id), "activate")


@cell_order_routes.post("/v1/cells/{cell_id}/drain", response_model=None, responses=ANSWERS)
@open_to(Scope.FLEET_MANAGE)
async def drain_cell(request: Request, cell_id: CellPath) -> CellAnswer | Response:
    """Move every unit of the cell away; it is empty when the last one has left."""
    return await _ordered(request, CellId(cell_id), "drain")


@cell_order_routes.post("/v1/cells/{cell_id}/retire", response_model=None, responses=ANSWERS)
@open_to(Scope.FLEET_MANAGE)
async def retire_cell(request: Request, cell_id: CellPath) -> CellAnswer | Response:
    """End the life of an empty cell; its id is never used again. The cell itself is asked what it still has.

    What its system accounts hold at the end is kept in the audit trail, for the books of the fleet.
    """
    return await _ordered(request, CellId(cell_id), "retire")


async def _ordered(request: Request, cell_id: CellId, order: CellOrder) -> CellAnswer | Response:
    parts = parts_of(request)
    async with parts.database.snapshot() as connection:
        fleet = (await load(connection)).fleet
    cell = next((one for one in fleet.cells if one.id == cell_id), None)
    if cell is None:
        return problem(request, cell_must_exist(cell_id))
    following = ordered_state(order, cell, fleet)
    if isinstance(following, OrderRefused):
        return problem(request, Refusal(reason=PlatformReason(following.reason), detail=following.detail))
    closing: dict[str, Any] = {}
    if order == "retire" and following != cell.state:
        told = await parts.cells.remains(cell)
        if isinstance(told, Unreachable):
            return problem(request, _must_answer(cell, told))
        refusal = _refusal_of_remains(cell, told)
        if refusal is not None:
            return problem(request, refusal)
        closing = {"accounts": told.accounts}
    async with parts.database.transaction() as connection:
        await lock_fleet(connection)
        is_done = following == cell.state or await order_cell_state(
            connection,
            cell_id,
            seen=cell.state,
            following=following,
            actor=caller_of(request).subject,
            request_id=request.state.request_id,
            facts=closing,
        )
        shown = await shown_cell(connection, cell_id)
    if not is_done or shown is None:
        detail = f"cell {cell_id} is not {cell.state} any more; look again"
        return problem(request, Refusal(reason=PlatformReason.CELL_MUST_NOT_HAVE_CHANGED, detail=detail))
    return answer_of(shown)


def _must_answer(cell: Cell, silent: Unreachable) -> Refusal:
    detail = f"only cell {cell.id} itself knows what it still has: {silent.detail}"
    return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=detail)


def _refusal_of_remains(cell: Cell, told: Remains) -> Refusal | None:
    facts = told.model_dump(exclude={"accounts"})
    if told.units:
        detail = f"cell {cell.id} says that it has {told.units} units"
        return Refusal(reason=PlatformReason.CELL_MUST_OWN_NO_UNIT, detail=detail, facts=facts)
    if told.open_transfers or told.open_groups:
        detail = f"{told.open_transfers} transfers and {told.open_groups} groups of cell {cell.id} are open"
        return Refusal(reason=PlatformReason.TRANSFERS_MUST_BE_SETTLED, detail=detail, facts=facts)
    if told.unpublished_events or told.undelivered_events:
        detail = (
            f"{told.unpublished_events} events of cell {cell.id} are not told yet, "
            f"{told.undelivered_events} are on their way to webhooks"
        )
        return Refusal(reason=PlatformReason.EVENTS_MUST_BE_PUBLISHED, detail=detail, facts=facts)
    return None
