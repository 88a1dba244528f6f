"""`/v1/cells`: registration, what is known of each cell, its configuration, its key."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.fleet import CellAnswer
from contract.ids import CellId
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import (
    CellPath,
    CellsAnswer,
    RegistrationBody,
    SignedConfiguration,
    Wait,
)
from control_plane.api.conditional import newest
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, cell_must_exist, problem
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.instants import instant_text
from control_plane.store.cells import ShownCell, forget_key, is_known, register, shown_cell, shown_cells
from control_plane.store.documents import SignedText, newest_configuration
from control_plane.tokens import Caller

cell_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])


@cell_routes.get("/v1/cells", response_model=None, responses=described(CellsAnswer, 400, 401, 403, 503))
@open_to(Scope.FLEET_READ)
async def list_cells(request: Request) -> CellsAnswer:
    async with parts_of(request).database.transaction() as connection:
        return CellsAnswer(cells=[answer_of(shown) for shown in await shown_cells(connection)])


@cell_routes.post("/v1/cells", response_model=None, responses=described(CellAnswer, 400, 401, 403, 409, 503))
@open_to(Scope.CELL_JOIN)
async def register_cell(request: Request, registration: RegistrationBody) -> CellAnswer | Response:
    """A sign of life of one API process; the first one of a cell makes the cell known."""
    key = registration.public_key
    is_own_key = key is None or key.kid == f"cell:{registration.id}"
    if not is_own_key or not _is_cell(caller_of(request), registration.id):
        return problem(request, _not_this_cell(registration.id))
    async with parts_of(request).database.transaction() as connection:
        outcome = await register(connection, registration)
        shown = await shown_cell(connection, CellId(registration.id))
    if outcome == "retired":
        detail = f"cell {registration.id} has been retired; its id is not used again"
        return problem(request, Refusal(reason=PlatformReason.CELL_MUST_NOT_BE_RETIRED, detail=detail))
    if outcome == "other_key":
        detail = f"cell {registration.id} is known by another public key; an operator must forget that one first"
        return problem(request, Refusal(reason=PlatformReason.CELL_MUST_KEEP_ITS_KEY, detail=detail))
    return answer_of(shown) if shown else problem(request, cell_must_exist(registration.id))


@cell_routes.get("/v1/cells/{cell_id}", response_model=None, responses=described(CellAnswer, 400, 401, 403, 404, 503))
@open_to(Scope.FLEET_READ)
async def show_cell(request: Request, cell_id: CellPath) -> CellAnswer | Response:
    async with parts_of(request).database.transaction() as connection:
        shown = await shown_cell(connection, CellId(cell_id))
    return answer_of(shown) if shown else problem(request, cell_must_exist(cell_id))


@cell_routes.get(
    "/v1/cells/{cell_id}/configuration",
    responses=described(SignedConfiguration, 400, 401, 403, 404, 503, unchanged=True),
)
@open_to(Scope.FLEET_MANAGE, Scope.CELL_JOIN)
async def read_configuration(request: Request, cell_id: CellPath, wait: Wait = 0) -> Response:
    """The newest configuration of the cell, signed; for the cell itself and for operators who may change it.

    It holds the secrets of webhooks: whoever only reads the fleet, routers above all, must not be able to sign.
    """
    caller = caller_of(request)
    if not caller.may(Scope.FLEET_MANAGE) and not _is_cell(caller, cell_id):
        return problem(request, _not_this_cell(cell_id))
    parts, cell = parts_of(request), CellId(cell_id)

    async def read(known: tuple[int, ...]) -> SignedText | None:
        async with parts.database.transaction() as connection:
            return await newest_configuration(connection, cell, known=known)

    async with parts.database.transaction() as connection:
        if not await is_known(connection, cell):
            return problem(request, cell_must_exist(cell_id))
    answer = await newest(request, parts.watch, read, lambda look: look.configurations.get(cell_id), wait_s=wait)
    detail = f"the configuration of {cell_id} is made within moments of its registration"
    return answer or problem(request, Refusal(reason=PlatformReason.CONFIGURATION_MUST_BE_PUBLISHED, detail=detail))


@cell_routes.delete(
    "/v1/cells/{cell_id}/public_key",
    response_model=None,
    responses=described(CellAnswer, 400, 401, 403, 404, 503),
)
@open_to(Scope.FLEET_MANAGE)
async def forget_cell_key(request: Request, cell_id: CellPath) -> CellAnswer | Response:
    """The next key that the cell shows becomes its own: how a lost or stolen key is replaced."""
    async with parts_of(request).database.transaction() as connection:
        await forget_key(
            connection, CellId(cell_id), actor=caller_of(request).subject, request_id=request.state.request_id
        )
        shown = await shown_cell(connection, CellId(cell_id))
    return answer_of(shown) if shown else problem(request, cell_must_exist(cell_id))


def answer_of(shown: ShownCell) -> CellAnswer:
    cell = shown.cell
    newest_instance = max(cell.instances, key=lambda instance: instance.first_seen_at, default=None)
    seen_at = max((instance.seen_at for instance in cell.instances), default=None)
    return CellAnswer(
        id=cell.id,
        state=cell.state,
        home_zone=cell.home_zone,
        api=tuple(instance.api for instance in cell.instances),
        admin_urls=tuple(instance.admin_url for instance in cell.instances),
        schema_revision=newest_instance.schema_revision if newest_instance else "",
        software_version=newest_instance.software_version if newest_instance else "",
        units=shown.units,
        last_seen_at=instant_text(seen_at) if seen_at else None,
        capacity_per_s=cell.capacity_per_s,
        public_key=cell.public_key,
        is_filling=shown.is_filling,
    )


def _is_cell(caller: Caller, cell_id: str) -> bool:
    """Only a token that this control plane signed speaks for a cell: no operator and no vendor can."""
    return caller.signer == "control_plane" and caller.may(Scope.CELL_JOIN) and caller.subject == f"cell:{cell_id}"


def _not_this_cell(cell_id: str) -> Refusal:
    detail = f"only a join token and a key (kid) of cell:{cell_id} speak for it"
    return Refusal(reason=PlatformReason.TOKEN_MUST_NAME_THIS_CELL, detail=detail)
