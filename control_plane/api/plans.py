"""`GET /v1/plan`: what this process last planned, and why it does not do more."""

from fastapi import APIRouter, Request

from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, open_to
from control_plane.api.bodies import PlanAnswer, WaitingAnswer
from control_plane.api.parts import parts_of
from control_plane.fleet.instants import instant_text

plan_routes = APIRouter(route_class=ScopedRoute, tags=["plan"])


@plan_routes.get("/v1/plan", response_model=None, responses=described(PlanAnswer, 400, 401, 403))
@open_to(Scope.FLEET_READ)
async def show_plan(request: Request) -> PlanAnswer:
    parts = parts_of(request)
    planned = parts.reconciler.planned
    if planned is None:
        return PlanAnswer(planned_at=None, actions=[], waiting=[])
    return PlanAnswer(
        planned_at=instant_text(planned.at),
        actions=[type(action).__name__ for action in planned.plan.actions],
        waiting=[
            WaitingAnswer(reason=waiting.reason, subject=waiting.subject, detail=waiting.detail)
            for waiting in (*planned.plan.waiting, *parts.rebalancer.waiting)
        ],
    )
