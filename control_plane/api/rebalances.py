"""`POST /v1/rebalances`: relieve cells that carry too much; or, as a dry run, tell what that would move and why."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import (
    PlannedMoveAnswer,
    RebalanceAnswer,
    RebalanceBody,
    ShareAnswer,
    WaitingAnswer,
)
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, problem, scope_must_allow
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.rebalancing import CellShare, Rebalancing
from control_plane.store.documents import newest_directory
from control_plane.store.intents import order_rebalance

rebalance_routes = APIRouter(route_class=ScopedRoute, tags=["moves"])


@rebalance_routes.post(
    "/v1/rebalances", response_model=None, responses=described(RebalanceAnswer, 400, 401, 403, 409, 503)
)
@open_to(Scope.FLEET_MANAGE, Scope.FLEET_READ)
async def rebalance(request: Request, wanted: RebalanceBody) -> RebalanceAnswer | Response:
    """Answers with the plan of this moment; an order is followed until nothing is left of it."""
    parts, caller = parts_of(request), caller_of(request)
    if not wanted.dry_run and not caller.may(Scope.FLEET_MANAGE):
        return problem(request, scope_must_allow(Scope.FLEET_MANAGE))
    async with parts.database.transaction() as connection:
        if await newest_directory(connection) is None:
            detail = "the first cells have not all confirmed their units yet"
            return problem(request, Refusal(reason=PlatformReason.DIRECTORY_MUST_BE_PUBLISHED, detail=detail))
    plan = await parts.rebalancer.planned(relief="ordered")
    if wanted.dry_run:
        return answer_of(plan, rebalance_id=None)
    async with parts.database.transaction() as connection:
        order = await order_rebalance(connection, actor=caller.subject, request_id=request.state.request_id)
    return answer_of(plan, rebalance_id=order.id)


def answer_of(plan: Rebalancing, *, rebalance_id: str | None) -> RebalanceAnswer:
    return RebalanceAnswer(
        rebalance_id=rebalance_id,
        dimension=plan.dimension,
        moves=[
            PlannedMoveAnswer(
                from_cell=move.from_cell,
                to_cell=move.to_cell,
                cause=move.cause,
                units=list(move.units),
                wallet_id=move.wallet_id,
                weight=move.weight,
            )
            for move in plan.moves
        ],
        waiting=[WaitingAnswer(reason=one.reason, subject=one.subject, detail=one.detail) for one in plan.waiting],
        before=_shares(plan.before),
        after=_shares(plan.after),
    )


def _shares(shares: tuple[CellShare, ...]) -> list[ShareAnswer]:
    return [ShareAnswer(cell=one.cell, units=one.units, slots=one.slots, score=one.score) for one in shares]
