"""`POST /v1/cells/{id}/adjudicate | open`: a restored cell learns what it gave away, and serves again when it may.

Collects what is known outside of the cell and hands it over; the cell judges, writes, audits itself and refuses.
"""

import asyncio
import json

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.fleet import CellUnits
from contract.ids import CellId
from contract.moves import Grant
from contract.quarantine import Adjudication, DirectoryRun, Evidence, Opened, OpenOrder
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import CellPath, OpenBody
from control_plane.api.parts import Parts, parts_of
from control_plane.api.problems import Refusal, cell_must_exist, problem
from control_plane.api.reasons import PlatformReason
from control_plane.cell_admin import RefusedByCell
from control_plane.fleet.model import Cell, Fleet, Unreachable
from control_plane.store.fleet import load
from control_plane.store.grants import newest_grants

adjudication_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])


@adjudication_routes.post(
    "/v1/cells/{cell_id}/adjudicate",
    response_model=None,
    responses=described(Adjudication, 400, 401, 403, 404, 409, 503),
)
@open_to(Scope.FLEET_MANAGE)
async def adjudicate_cell(request: Request, cell_id: CellPath) -> Adjudication | Response:
    """Hold every unit of a cell in quarantine against directory, grants and all other cells; may be repeated."""
    parts = parts_of(request)
    found = await adjudicated(parts, CellId(cell_id))
    return problem(request, found) if isinstance(found, Refusal) else found


@adjudication_routes.post(
    "/v1/cells/{cell_id}/open", response_model=None, responses=described(Opened, 400, 401, 403, 404, 409, 503)
)
@open_to(Scope.FLEET_MANAGE)
async def open_cell(request: Request, cell_id: CellPath, wanted: OpenBody) -> Opened | Response:
    """Adjudicate once more, audit the cell in full, and let it serve again."""
    parts = parts_of(request)
    judged = await adjudicated(parts, CellId(cell_id))
    if isinstance(judged, Refusal):
        return problem(request, judged)
    cell = _cell_of(await _fleet(parts), CellId(cell_id))
    if cell is None:
        return problem(request, cell_must_exist(cell_id))
    order = OpenOrder(opener=caller_of(request).subject[:200], without_missing=wanted.without_missing)
    opened = await parts.cells.open_again(cell, order)
    return opened if isinstance(opened, Opened) else problem(request, _refusal(cell, opened))


async def adjudicated(parts: Parts, cell_id: CellId) -> Adjudication | Refusal:
    fleet = await _fleet(parts)
    cell = _cell_of(fleet, cell_id)
    if cell is None:
        return cell_must_exist(cell_id)
    peers = [one for one in fleet.cells if one.id != cell_id and one.state != "retired"]
    told = await asyncio.gather(*(parts.cells.units(one) for one in peers))
    silent = next(((one, said) for one, said in zip(peers, told, strict=True) if isinstance(said, Unreachable)), None)
    if silent is not None:
        detail = f"cell {silent[0].id} may own units of {cell_id} and does not answer: {silent[1].detail}"
        return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=detail)
    own = await parts.cells.units(cell)
    if isinstance(own, Unreachable):
        return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=f"cell {cell_id}: {own.detail}")
    async with parts.database.snapshot() as connection:
        grants = await newest_grants(connection, cell_id)
    evidence = Evidence(
        directory=tuple(
            DirectoryRun(first=run.first, last=run.last, cell=run.cell, epoch=run.epoch) for run in fleet.runs
        ),
        peers=tuple(said for said in told if isinstance(said, CellUnits)),
        grants=_beyond(own, grants),
        isolated=tuple(sorted(fleet.isolated.items())),
    )
    judged = await parts.cells.adjudicate(cell, evidence)
    return judged if isinstance(judged, Adjudication) else _refusal(cell, judged)


def _beyond(own: CellUnits, grants: tuple[Grant, ...]) -> tuple[Grant, ...]:
    """Those of which the cell may not know."""
    epochs = {unit: run.epoch for run in own.units for unit in range(run.first, run.last + 1)}
    return tuple(grant for grant in grants if grant.epoch >= epochs.get(grant.unit, 0))


async def _fleet(parts: Parts) -> Fleet:
    async with parts.database.snapshot() as connection:
        return (await load(connection)).fleet


def _cell_of(fleet: Fleet, cell_id: CellId) -> Cell | None:
    return next((one for one in fleet.cells if one.id == cell_id), None)


def _refusal(cell: Cell, answer: RefusedByCell | Unreachable) -> Refusal:
    """The cell's own reason, where it is one that is known here."""
    if isinstance(answer, Unreachable):
        return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=f"cell {cell.id}: {answer.detail}")
    try:
        told = json.loads(answer.detail)
        return Refusal(reason=PlatformReason(told["reason"]), detail=f"cell {cell.id}: {told['detail']}")
    except (ValueError, KeyError, TypeError):
        return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=f"cell {cell.id}: {answer.detail}")
