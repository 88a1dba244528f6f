"""`/v1/cells/{id}/capacity`: what a cell was certified for; it holds itself to it as soon as it hears of it."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.certificate import CapacityCertificate
from contract.fleet import CellAnswer
from contract.ids import CellId
from contract.scopes import Scope
from control_plane.api import bodies
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import CapacityAnswer, CellPath
from control_plane.api.cells import answer_of
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, cell_must_exist, problem
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.instants import instant_text
from control_plane.store.capacity import Capacity, capacity_of, put_capacity
from control_plane.store.cells import shown_cell

capacity_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])


@capacity_routes.get(
    "/v1/cells/{cell_id}/capacity", response_model=None, responses=described(CapacityAnswer, 400, 401, 403, 404, 503)
)
@open_to(Scope.FLEET_READ)
async def read_capacity(request: Request, cell_id: CellPath) -> CapacityAnswer | Response:
    """What is in force, with the certificate that it rests on."""
    async with parts_of(request).database.transaction() as connection:
        capacity = await capacity_of(connection, CellId(cell_id))
    if capacity is None:
        return problem(request, cell_must_exist(cell_id))
    return CapacityAnswer(
        capacity_per_s=capacity.capacity_per_s,
        certificate=capacity.certificate,
        uploaded_at=instant_text(capacity.uploaded_at) if capacity.uploaded_at else None,
    )


@capacity_routes.put(
    "/v1/cells/{cell_id}/capacity", response_model=None, responses=described(CellAnswer, 400, 401, 403, 404, 409, 503)
)
@open_to(Scope.FLEET_MANAGE)
async def put_cell_capacity(request: Request, cell_id: CellPath, wanted: bodies.Capacity) -> CellAnswer | Response:
    """A certificate of this cell in the version that it runs; or `{"capacity_per_s": number or null}`, by hand."""
    cell = CellId(cell_id)
    async with parts_of(request).database.transaction() as connection:
        shown = await shown_cell(connection, cell)
        if shown is None:
            return problem(request, cell_must_exist(cell_id))
        refusal = _refusal_of(wanted, answer_of(shown)) if isinstance(wanted, CapacityCertificate) else None
        if refusal is not None:
            return problem(request, refusal)
        named = {"actor": caller_of(request).subject, "request_id": request.state.request_id}
        await put_capacity(connection, cell, _capacity(wanted), **named)
        shown = await shown_cell(connection, cell)
    return answer_of(shown) if shown else problem(request, cell_must_exist(cell_id))


def _capacity(wanted: bodies.Capacity) -> Capacity:
    if isinstance(wanted, CapacityCertificate):
        return Capacity(capacity_per_s=wanted.limit_per_s, certificate=wanted)
    return Capacity(capacity_per_s=wanted.capacity_per_s)


def _refusal_of(certificate: CapacityCertificate, cell: CellAnswer) -> Refusal | None:
    subject = certificate.subject
    if (subject.kind, subject.id) != ("cell", cell.id):
        return Refusal(
            reason=PlatformReason.CERTIFICATE_MUST_NAME_THIS_CELL,
            detail=f"the certificate is of {subject.kind} {subject.id}, and not of cell {cell.id}",
        )
    if subject.software_version != cell.software_version:
        return Refusal(
            reason=PlatformReason.CERTIFICATE_MUST_BE_OF_THIS_VERSION,
            detail=f"the certificate is of version {subject.software_version}; the cell runs {cell.software_version}",
        )
    flaw = certificate.flaw()
    if flaw is not None:
        return Refusal(reason=PlatformReason.CERTIFICATE_MUST_BE_SOUND, detail=flaw)
    return None
