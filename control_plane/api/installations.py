"""`POST /v1/cells/{cell_id}/install`: a cell's processes brought to the cluster, or changed in all but their version.

The objects are what the chart cell-app renders. What was ordered is in the audit trail before anything is applied; the
order itself is kept nowhere: the same one again goes on where the last one ended.
"""

from typing import Annotated, Any, Literal, assert_never

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from contract.ids import CellId
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import CellPath
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, problem
from control_plane.api.reasons import PlatformReason
from control_plane.api.release_reasons import ReleaseProblem
from control_plane.fleet.model import Unreachable
from control_plane.installations.checking import installation_of
from control_plane.installations.model import Contested, Installation, InstallationRefused, Installed, RunsAnother
from control_plane.releaser.substrate import NoSubstrate, NotTaken, Substrate
from control_plane.store.cells import shown_cell
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.rollouts import open_rollout

installation_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])

OBJECTS_MAX = 64
"""Of nine zones the chart makes about twenty."""


class InstallationBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    objects: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=OBJECTS_MAX)]
    """What `helm template` makes of the chart cell-app."""
    dry_run: bool = False
    """Ask the cluster what would become of it, and change nothing."""


class ObjectAnswer(BaseModel):
    kind: str
    name: str
    change: Literal["created", "changed", "unchanged"]


class InstallationAnswer(BaseModel):
    cell: str
    image: str
    dry_run: bool
    objects: list[ObjectAnswer]


@installation_routes.post(
    "/v1/cells/{cell_id}/install",
    response_model=None,
    responses=described(InstallationAnswer, 400, 401, 403, 409, 422, 503),
)
@open_to(Scope.FLEET_MANAGE)
async def install_cell(request: Request, cell_id: CellPath, wanted: InstallationBody) -> InstallationAnswer | Response:
    """By server-side apply: nobody else's field is overruled, and a cell that is there keeps its version."""
    substrate: Substrate = request.app.state.substrate
    if isinstance(substrate, NoSubstrate):
        reason = ReleaseProblem.INSTALLATION_MUST_BE_POSSIBLE_HERE
        return problem(request, Refusal(reason=reason, detail=NoSubstrate.WHY))
    installation = installation_of(CellId(cell_id), wanted.objects)
    if isinstance(installation, InstallationRefused):
        return problem(request, Refusal(reason=ReleaseProblem(installation.reason), detail=installation.detail))
    refusal = await _ordered(request, installation, is_dry_run=wanted.dry_run)
    if refusal is not None:
        return problem(request, refusal)
    outcome = await substrate.install(installation, is_dry_run=wanted.dry_run)
    if not isinstance(outcome, Installed):
        return problem(request, _refusal_of(outcome))
    return InstallationAnswer(
        cell=cell_id,
        image=installation.image,
        dry_run=wanted.dry_run,
        objects=[ObjectAnswer(kind=one.kind, name=one.name, change=one.change) for one in outcome.objects],
    )


async def _ordered(request: Request, installation: Installation, *, is_dry_run: bool) -> Refusal | None:
    """Recorded, unless something stands against it."""
    async with parts_of(request).database.transaction() as connection:
        await lock_fleet(connection)
        cell = await shown_cell(connection, installation.cell)
        if cell is not None and cell.cell.state == "retired":
            detail = f"cell {installation.cell} has been retired; its id is not used again"
            return Refusal(reason=PlatformReason.CELL_MUST_NOT_BE_RETIRED, detail=detail)
        rollout = await open_rollout(connection)
        if rollout is not None:
            detail = f"rollout {rollout.id} is open: what it changes must not be changed by others"
            return Refusal(reason=ReleaseProblem.ANOTHER_ROLLOUT_MUST_HAVE_ENDED, detail=detail)
        if not is_dry_run:
            await record_change(
                connection,
                actor=caller_of(request).subject,
                subject=f"cell:{installation.cell}",
                before=None,
                after={"installed": installation.image, "replicas": dict(installation.replicas)},
                request_id=str(request.state.request_id),
            )
    return None


def _refusal_of(outcome: Contested | RunsAnother | NotTaken | Unreachable) -> Refusal:
    match outcome:
        case Contested():
            return Refusal(reason=ReleaseProblem.FIELDS_MUST_HAVE_ONE_OWNER, detail=outcome.detail)
        case RunsAnother():
            detail = f"it runs {', '.join(outcome.images)}; cellwallet rollouts start brings another version"
            return Refusal(reason=ReleaseProblem.IMAGE_MUST_BE_THE_ONE_THAT_RUNS, detail=detail)
        case NotTaken():
            return Refusal(reason=ReleaseProblem.CLUSTER_MUST_ACCEPT, detail=outcome.detail)
        case Unreachable():
            return Refusal(reason=ReleaseProblem.CLUSTER_MUST_ANSWER, detail=outcome.detail)
        case _:
            assert_never(outcome)
