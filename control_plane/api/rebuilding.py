"""`POST /v1/directory/rebuild`: who owns what, asked of the cells themselves; all of it is taken over, or nothing."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.directory import CHANGE_SHARE_MAX
from contract.fleet import CellUnits
from contract.ids import CellId
from contract.load import IsolatedWallets
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import RebuildAnswer, RebuildBody
from control_plane.api.parts import Parts, parts_of
from control_plane.api.problems import Refusal, problem
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.model import Cell, Fleet, Unreachable
from control_plane.fleet.publish import Allowance, Publication, next_publication
from control_plane.fleet.rebuilding import Rebuilt, rebuilt
from control_plane.store.documents import publish_directory
from control_plane.store.fleet import load
from control_plane.store.locks import lock_fleet
from control_plane.store.moves import open_moves
from control_plane.store.rebuilding import put_rebuilt

rebuild_routes = APIRouter(route_class=ScopedRoute, tags=["directory"])


@rebuild_routes.post(
    "/v1/directory/rebuild", response_model=None, responses=described(RebuildAnswer, 400, 401, 403, 409, 503)
)
@open_to(Scope.FLEET_MANAGE)
async def rebuild_directory(request: Request, wanted: RebuildBody) -> RebuildAnswer | Response:
    """Every registered cell must answer, and every slot have exactly one owner at a proven epoch."""
    parts = parts_of(request)
    async with parts.database.snapshot() as connection:
        fleet = (await load(connection)).fleet
        is_moving = bool(await open_moves(connection))
    if is_moving:
        detail = "units are on their way; cancel the moves, or wait until they have ended"
        return problem(request, Refusal(reason=PlatformReason.MOVES_MUST_HAVE_ENDED, detail=detail))
    found = await _found(parts, fleet)
    if isinstance(found, Refusal):
        return problem(request, found)
    refusal = _refusal_of_change(found, wanted)
    if refusal is not None:
        return problem(request, refusal)
    if not wanted.dry_run:
        await _put(parts, found, actor=caller_of(request).subject, request_id=request.state.request_id)
    return RebuildAnswer(
        units=sum(run.last - run.first + 1 for run in found.runs),
        changed=found.changed,
        cells=sorted({run.cell for run in found.runs}),
        isolated=len(found.isolated),
        superseded=[f"{cell}: unit {unit}" for cell, unit in found.superseded[:20]],
    )


async def _found(parts: Parts, fleet: Fleet) -> Rebuilt | Refusal:
    cells = [cell for cell in fleet.cells if cell.state != "retired"]
    if not cells:
        return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail="no cell has registered yet")
    told: dict[CellId, CellUnits] = {}
    isolated: dict[CellId, IsolatedWallets] = {}
    for cell, (units, wallets) in zip(cells, await asyncio.gather(*(_asked(parts, one) for one in cells)), strict=True):
        if isinstance(units, Unreachable) or isinstance(wallets, Unreachable):
            silent = units if isinstance(units, Unreachable) else wallets
            detail = f"cell {cell.id} may own units and does not answer: {getattr(silent, 'detail', '')}"
            return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=detail)
        told[cell.id] = units
        isolated[cell.id] = wallets
    found = rebuilt(told, isolated, fleet.runs)
    if isinstance(found, Rebuilt):
        return found
    detail = "; ".join(one.text for one in found)
    facts = {"disagreements": [{"fault": one.fault, "units": list(one.units[:100])} for one in found[:20]]}
    return Refusal(reason=PlatformReason.CLAIMS_MUST_AGREE, detail=detail[:2_000], facts=facts)


async def _put(parts: Parts, found: Rebuilt, *, actor: str, request_id: str) -> None:
    """A large change is published here and now, as one that is meant; anything else follows as ever."""
    async with parts.database.transaction() as connection:
        await lock_fleet(connection)
        await put_rebuilt(connection, found, actor=actor, request_id=request_id)
        if not found.is_large_change:
            return
        loaded = await load(connection)
        publication = next_publication(loaded.fleet, loaded.now, allowance=Allowance(reassigned=True))
        if isinstance(publication, Publication):
            await publish_directory(connection, publication, parts.reconciler.signed(publication))


async def _asked(parts: Parts, cell: Cell) -> tuple[CellUnits | Unreachable, IsolatedWallets | Unreachable]:
    return await parts.cells.units(cell), await parts.cells.isolated(cell)


def _refusal_of_change(found: Rebuilt, wanted: RebuildBody) -> Refusal | None:
    if not found.is_large_change or wanted.allow_large_change:
        return None
    detail = (
        f"{found.changed} of {found.recorded} units would change their cell, {CHANGE_SHARE_MAX:.0%} may; "
        "look at the cells first, then say allow_large_change"
    )
    return Refusal(reason=PlatformReason.CHANGE_MUST_BE_ALLOWED, detail=detail, facts={"changed": found.changed})
