"""`GET /v1/quarantines`: which cells serve nobody because they were restored; asked of the cells themselves, now."""

import asyncio

from fastapi import APIRouter, Request

from contract.quarantine import QuarantineNow
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, open_to
from control_plane.api.bodies import QuarantineAnswer, QuarantinesAnswer
from control_plane.api.parts import parts_of
from control_plane.fleet.model import Cell, Unreachable
from control_plane.store.fleet import load

quarantine_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])


@quarantine_routes.get("/v1/quarantines", responses=described(QuarantinesAnswer, 400, 401, 403, 503))
@open_to(Scope.FLEET_READ)
async def list_quarantines(request: Request) -> QuarantinesAnswer:
    """Every cell that is not retired; one that does not answer is shown as that, and not as open."""
    parts = parts_of(request)
    async with parts.database.snapshot() as connection:
        cells = [cell for cell in (await load(connection)).fleet.cells if cell.state != "retired"]
    told = await asyncio.gather(*map(parts.cells.quarantine, cells))
    return QuarantinesAnswer(cells=[_shown(cell, said) for cell, said in zip(cells, told, strict=True)])


def _shown(cell: Cell, said: QuarantineNow | Unreachable) -> QuarantineAnswer:
    if isinstance(said, Unreachable):
        return QuarantineAnswer(cell=cell.id, is_quarantined=None, detail=said.detail)
    if not said.is_quarantined:
        return QuarantineAnswer(cell=cell.id, is_quarantined=False)
    return QuarantineAnswer(
        cell=cell.id,
        is_quarantined=True,
        cause=said.cause,
        detail=said.detail,
        began_at=said.began_at,
        is_adjudicated=said.adjudication is not None,
        missing=0 if said.adjudication is None else len(said.adjudication.of("missing")),
        contradicted=0 if said.adjudication is None else len(said.adjudication.of("contradicted")),
    )
