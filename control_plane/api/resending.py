"""`POST /v1/cells/{id}/resend`: what other cells had sent to a restored cell is asked of it again, page by page.

Who asks goes on with the `after` of the last page, sender by sender; nothing is kept here but that it was ordered.
"""

from datetime import datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.ids import CellId
from contract.resending import ResendOrder, Resent
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import CellPath, ResendBody
from control_plane.api.move_reasons import MoveProblem
from control_plane.api.parts import Parts, parts_of
from control_plane.api.problems import Refusal, cell_must_exist, problem
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.instants import instant_text
from control_plane.fleet.model import Cell, Unreachable
from control_plane.store.changes import record_change
from control_plane.store.fleet import load

EARLIER = timedelta(minutes=10)
"""Than the last entry of the restored cell: clocks differ, and what was sent before may have arrived after it."""

resending_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])


@resending_routes.post(
    "/v1/cells/{cell_id}/resend", response_model=None, responses=described(Resent, 400, 401, 403, 404, 409, 503)
)
@open_to(Scope.FLEET_MANAGE)
async def resend_transfers(request: Request, cell_id: CellPath, wanted: ResendBody) -> Resent | Response:
    """One page of the transfers that `from_cell` has sent and that were settled, asked again of their receivers."""
    parts = parts_of(request)
    async with parts.database.snapshot() as connection:
        cells = {cell.id: cell for cell in (await load(connection)).fleet.cells if cell.state != "retired"}
    unknown = next((name for name in (cell_id, wanted.from_cell) if name not in cells), None)
    if unknown is not None:
        return problem(request, cell_must_exist(unknown))
    sender = cells[CellId(wanted.from_cell)]
    since = wanted.since or await _restored_to(parts, cells[CellId(cell_id)])
    if isinstance(since, Refusal):
        return problem(request, since)
    if wanted.after is None:
        async with parts.database.transaction() as connection:
            await record_change(
                connection,
                actor=caller_of(request).subject,
                subject=f"cell:{cell_id}",
                before=None,
                after={"resend": {"from_cell": sender.id, "since": since}},
                request_id=request.state.request_id,
            )
    answer = await parts.cells.resend(sender, ResendOrder(since=since, after=wanted.after))
    if isinstance(answer, Resent):
        return answer
    reason = PlatformReason.CELL_MUST_ANSWER if isinstance(answer, Unreachable) else MoveProblem.CELL_MUST_ACCEPT
    return problem(request, Refusal(reason=reason, detail=f"cell {sender.id}: {answer.detail}"))


async def _restored_to(parts: Parts, cell: Cell) -> str | Refusal:
    """The instant from which on the cell has lost what it did, and some more."""
    told = await parts.cells.quarantine(cell)
    if isinstance(told, Unreachable):
        return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=f"cell {cell.id}: {told.detail}")
    if told.is_quarantined:
        detail = f"cell {cell.id} takes nothing in before it is opened"
        return Refusal(reason=PlatformReason.CELL_MUST_NOT_BE_QUARANTINED, detail=detail)
    newest = told.adjudication.newest_entry_at if told.adjudication else None
    if newest is None:
        detail = f"cell {cell.id} was never restored, or nobody knows to when: say `since`"
        return Refusal(reason=PlatformReason.RESTORE_MUST_BE_KNOWN, detail=detail)
    return instant_text(datetime.fromisoformat(newest) - EARLIER)
