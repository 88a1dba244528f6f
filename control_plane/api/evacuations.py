"""`/v1/evacuations`: zones that are to be left, each order with an end. They are recorded and answered at once."""

import uuid
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from contract.scopes import Scope
from control_plane.api.answers import described, refused
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.parts import parts_of
from control_plane.api.places import CURSOR_PATTERN, cursor_of, place_of
from control_plane.api.problems import Refusal, problem
from control_plane.api.release_reasons import ReleaseProblem
from control_plane.api.rollout_answers import evacuation_answer_of
from control_plane.api.rollout_bodies import EvacuationAnswer, EvacuationBody, EvacuationPath, EvacuationsAnswer
from control_plane.evacuations.model import EvacuationOrder, EvacuationRefused
from control_plane.store.evacuations import end_evacuation, evacuation_of, latest_evacuations, order_evacuation

evacuation_routes = APIRouter(route_class=ScopedRoute, tags=["evacuations"])

PageLimit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before.")]


@evacuation_routes.get(
    "/v1/evacuations", response_model=None, responses=described(EvacuationsAnswer, 400, 401, 403, 503)
)
@open_to(Scope.FLEET_READ)
async def list_evacuations(request: Request, limit: PageLimit = 50, cursor: Cursor = None) -> EvacuationsAnswer:
    """Newest first."""
    async with parts_of(request).database.transaction() as connection:
        page = await latest_evacuations(connection, below=place_of(cursor), limit=limit + 1)
    shown = page[:limit]
    return EvacuationsAnswer(
        evacuations=[evacuation_answer_of(one) for one in shown],
        next_cursor=cursor_of(shown[-1].ordered_at, shown[-1].id) if len(page) > limit else None,
    )


@evacuation_routes.post(
    "/v1/evacuations",
    response_model=None,
    status_code=202,
    responses={202: {"model": EvacuationAnswer}, **refused(400, 401, 403, 404, 409, 503)},
)
@open_to(Scope.FLEET_MANAGE)
async def start_evacuation(request: Request, wanted: EvacuationBody) -> EvacuationAnswer | Response:
    """Routers send nothing to the zone any more, primaries are switched over, nothing new is placed there."""
    order = EvacuationOrder(
        evacuation_id=wanted.evacuation_id or str(uuid.uuid4()),
        kind=wanted.kind,
        zone=wanted.zone,
        lasts=timedelta(seconds=wanted.lasts_s),
        actor=caller_of(request).subject,
        request_id=str(request.state.request_id),
    )
    async with parts_of(request).database.transaction() as connection:
        outcome = await order_evacuation(connection, order)
    if isinstance(outcome, EvacuationRefused):
        refusal = Refusal(reason=ReleaseProblem(outcome.reason), detail=outcome.detail, facts=outcome.facts)
        return problem(request, refusal)
    return evacuation_answer_of(outcome)


@evacuation_routes.get(
    "/v1/evacuations/{evacuation_id}",
    response_model=None,
    responses=described(EvacuationAnswer, 400, 401, 403, 404, 503),
)
@open_to(Scope.FLEET_READ)
async def show_evacuation(request: Request, evacuation_id: EvacuationPath) -> EvacuationAnswer | Response:
    async with parts_of(request).database.transaction() as connection:
        evacuation = await evacuation_of(connection, evacuation_id)
    if evacuation is None:
        return problem(request, _must_exist(evacuation_id))
    return evacuation_answer_of(evacuation)


@evacuation_routes.post(
    "/v1/evacuations/{evacuation_id}/end",
    response_model=None,
    responses=described(EvacuationAnswer, 400, 401, 403, 404, 503),
)
@open_to(Scope.FLEET_MANAGE)
async def end(request: Request, evacuation_id: EvacuationPath) -> EvacuationAnswer | Response:
    """Traffic returns to the zone. Primaries stay where they are: bringing them home is an order of its own."""
    named = {"actor": caller_of(request).subject, "request_id": str(request.state.request_id)}
    async with parts_of(request).database.transaction() as connection:
        evacuation = await evacuation_of(connection, evacuation_id)
        if evacuation is None:
            return problem(request, _must_exist(evacuation_id))
        await end_evacuation(connection, evacuation, **named)
        following = await evacuation_of(connection, evacuation_id)
    return evacuation_answer_of(following or evacuation)


def _must_exist(evacuation_id: str) -> Refusal:
    detail = f"no evacuation {evacuation_id} was ever ordered"
    return Refusal(reason=ReleaseProblem.EVACUATION_MUST_EXIST, detail=detail)
