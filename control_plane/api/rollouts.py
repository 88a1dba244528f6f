"""`/v1/rollouts`: releases that go through the cells in waves. Orders are recorded and answered at once."""

import asyncio
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from contract.ids import CellId
from contract.scopes import Scope
from control_plane.api.answers import described, refused
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.parts import parts_of
from control_plane.api.places import CURSOR_PATTERN, cursor_of, place_of
from control_plane.api.problems import Refusal, problem, scope_must_allow
from control_plane.api.release_reasons import ReleaseProblem
from control_plane.api.rollout_answers import answer_of, planned_answer_of, whole_answer_of, window_answer_of
from control_plane.api.rollout_bodies import (
    RolloutAnswer,
    RolloutBody,
    RolloutPath,
    RolloutsAnswer,
    WholeRolloutAnswer,
    WindowsAnswer,
)
from control_plane.releaser.substrate import NoSubstrate, Substrate
from control_plane.rollouts.model import BakePolicy, CellSeen, Release
from control_plane.rollouts.planning import UPDATED_STATES, RolloutOrder, RolloutRefused
from control_plane.rollouts.reasons import RolloutReason
from control_plane.rollouts.states import RolloutStop
from control_plane.store.cells import cells_in_order
from control_plane.store.rollout_pages import rollout_steps_of, windows_of
from control_plane.store.rollouts import (
    latest_rollouts,
    order_rollout,
    order_stop,
    pause_rollout,
    planned_rollout,
    rollout_of,
)

rollout_routes = APIRouter(route_class=ScopedRoute, tags=["rollouts"])

STEPS_SHOWN = 20

PageLimit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before.")]
NumberCursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next_cursor` of the page before.")]
ANSWERS = described(RolloutAnswer, 400, 401, 403, 404, 409, 503)


@rollout_routes.get("/v1/rollouts", response_model=None, responses=described(RolloutsAnswer, 400, 401, 403, 503))
@open_to(Scope.FLEET_READ)
async def list_rollouts(request: Request, limit: PageLimit = 50, cursor: Cursor = None) -> RolloutsAnswer:
    """Newest first."""
    async with parts_of(request).database.transaction() as connection:
        page = await latest_rollouts(connection, below=place_of(cursor), limit=limit + 1)
    shown = page[:limit]
    return RolloutsAnswer(
        rollouts=[answer_of(one) for one in shown],
        next_cursor=cursor_of(shown[-1].ordered_at, shown[-1].id) if len(page) > limit else None,
    )


@rollout_routes.post(
    "/v1/rollouts",
    response_model=None,
    status_code=202,
    responses={202: {"model": RolloutAnswer}, **refused(400, 401, 403, 409, 503)},
)
@open_to(Scope.FLEET_MANAGE, Scope.FLEET_READ)
async def start_rollout(request: Request, wanted: RolloutBody) -> RolloutAnswer | Response:
    """One is open at a time; what every cell runs is recorded before anything is changed. A dry run orders nothing."""
    caller, database = caller_of(request), parts_of(request).database
    if not wanted.dry_run and not caller.may(Scope.FLEET_MANAGE):
        return problem(request, scope_must_allow(Scope.FLEET_MANAGE))
    order = _order(wanted, actor=caller.subject, request_id=str(request.state.request_id))
    if isinstance(_substrate_of(request), NoSubstrate):
        reason = ReleaseProblem.ROLLOUT_MUST_BE_POSSIBLE_HERE
        return problem(request, Refusal(reason=reason, detail=NoSubstrate.WHY))
    seen = await _seen(request, order.release.image)
    async with database.transaction() as connection:
        if wanted.dry_run:
            plan = await planned_rollout(connection, order, seen)
            if isinstance(plan, RolloutRefused):
                return problem(request, _refusal_of(plan))
            return planned_answer_of(order, plan)
        outcome = await order_rollout(connection, order, seen)
    return problem(request, _refusal_of(outcome)) if isinstance(outcome, RolloutRefused) else answer_of(outcome)


@rollout_routes.get(
    "/v1/rollouts/{rollout_id}",
    response_model=None,
    responses=described(WholeRolloutAnswer, 400, 401, 403, 404, 503),
)
@open_to(Scope.FLEET_READ)
async def show_rollout(request: Request, rollout_id: RolloutPath) -> WholeRolloutAnswer | Response:
    """How far it is, what it waits for, and what was done last."""
    async with parts_of(request).database.transaction() as connection:
        rollout = await rollout_of(connection, rollout_id)
        steps = await rollout_steps_of(connection, rollout_id, below=None, limit=STEPS_SHOWN)
    if rollout is None:
        return problem(request, _rollout_must_exist(rollout_id))
    return whole_answer_of(rollout, list(reversed(steps)))


@rollout_routes.get(
    "/v1/rollouts/{rollout_id}/windows",
    response_model=None,
    responses=described(WindowsAnswer, 400, 401, 403, 404, 503),
)
@open_to(Scope.FLEET_READ)
async def list_windows(
    request: Request, rollout_id: RolloutPath, limit: PageLimit = 50, cursor: NumberCursor = None
) -> WindowsAnswer | Response:
    """Every judgement with what was asked and the numbers, the latest first."""
    async with parts_of(request).database.transaction() as connection:
        if await rollout_of(connection, rollout_id) is None:
            return problem(request, _rollout_must_exist(rollout_id))
        below = None if cursor is None else int(cursor)
        page = await windows_of(connection, rollout_id, below=below, limit=limit + 1)
    return WindowsAnswer(
        windows=[window_answer_of(one) for one in page[:limit]],
        next_cursor=str(page[limit - 1].id) if len(page) > limit else None,
    )


@rollout_routes.post("/v1/rollouts/{rollout_id}/pause", response_model=None, responses=ANSWERS)
@open_to(Scope.FLEET_MANAGE)
async def pause(request: Request, rollout_id: RolloutPath) -> RolloutAnswer | Response:
    """Nothing further is changed; what is being replaced comes to its end, and what is watched is watched on."""
    return await _paused(request, rollout_id, is_paused=True)


@rollout_routes.post("/v1/rollouts/{rollout_id}/resume", response_model=None, responses=ANSWERS)
@open_to(Scope.FLEET_MANAGE)
async def resume(request: Request, rollout_id: RolloutPath) -> RolloutAnswer | Response:
    return await _paused(request, rollout_id, is_paused=False)


@rollout_routes.post("/v1/rollouts/{rollout_id}/cancel", response_model=None, responses=ANSWERS)
@open_to(Scope.FLEET_MANAGE)
async def cancel(request: Request, rollout_id: RolloutPath) -> RolloutAnswer | Response:
    """The wave in hand goes back to what it ran; waves that were judged good stay."""
    return await _stopped(request, rollout_id, "cancelled")


@rollout_routes.post("/v1/rollouts/{rollout_id}/roll_back", response_model=None, responses=ANSWERS)
@open_to(Scope.FLEET_MANAGE)
async def roll_back(request: Request, rollout_id: RolloutPath) -> RolloutAnswer | Response:
    """Every cell goes back to what it ran, the last wave first."""
    return await _stopped(request, rollout_id, "rolled_back")


async def _paused(request: Request, rollout_id: str, *, is_paused: bool) -> RolloutAnswer | Response:
    named = {"actor": caller_of(request).subject, "request_id": str(request.state.request_id)}
    async with parts_of(request).database.transaction() as connection:
        rollout = await rollout_of(connection, rollout_id)
        if rollout is None:
            return problem(request, _rollout_must_exist(rollout_id))
        if not await pause_rollout(connection, rollout, is_paused=is_paused, **named):
            return problem(request, _must_not_have_ended(rollout_id, rollout.stop or rollout.state))
        following = await rollout_of(connection, rollout_id)
    return answer_of(following or rollout)


async def _stopped(request: Request, rollout_id: str, kind: RolloutStop) -> RolloutAnswer | Response:
    """The same again changes nothing."""
    caller = caller_of(request).subject
    reasons = {
        "cancelled": RolloutReason.OPERATOR_MUST_NOT_HAVE_CANCELLED,
        "rolled_back": RolloutReason.OPERATOR_MUST_NOT_HAVE_ROLLED_BACK,
    }
    async with parts_of(request).database.transaction() as connection:
        rollout = await rollout_of(connection, rollout_id)
        if rollout is None:
            return problem(request, _rollout_must_exist(rollout_id))
        is_stopped = rollout.stop == kind or await order_stop(
            connection,
            rollout,
            kind,
            reason=reasons[kind],
            detail=f"{kind.replace('_', ' ')} by {caller}",
            actor=caller,
            request_id=str(request.state.request_id),
        )
        following = await rollout_of(connection, rollout_id)
    if not is_stopped:
        return problem(request, _must_not_have_ended(rollout_id, rollout.stop or rollout.state))
    return answer_of(following or rollout)


def _order(wanted: RolloutBody, *, actor: str, request_id: str) -> RolloutOrder:
    return RolloutOrder(
        rollout_id=wanted.rollout_id or str(uuid.uuid4()),
        release=Release(**wanted.release.model_dump()),
        policy=BakePolicy(**wanted.judged_by.model_dump()),
        canary=None if wanted.canary is None else CellId(wanted.canary),
        sandbox=None if wanted.sandbox is None else CellId(wanted.sandbox),
        certificate=wanted.certificate,
        is_certificate_waived=wanted.without_certificate,
        actor=actor,
        request_id=request_id,
    )


async def _seen(request: Request, image: str) -> dict[CellId, CellSeen | str]:
    """What every cell runs, or why that is not known."""
    async with parts_of(request).database.transaction() as connection:
        cells = [cell.id for cell in await cells_in_order(connection) if cell.state in UPDATED_STATES]
    answers = await asyncio.gather(*(_substrate_of(request).look(cell, image) for cell in cells))
    return {
        cell: answer if isinstance(answer, CellSeen) else answer.detail
        for cell, answer in zip(cells, answers, strict=True)
    }


def _substrate_of(request: Request) -> Substrate:
    substrate: Substrate = request.app.state.substrate
    return substrate


def _refusal_of(refused_order: RolloutRefused) -> Refusal:
    return Refusal(reason=ReleaseProblem(refused_order.reason), detail=refused_order.detail, facts=refused_order.facts)


def _rollout_must_exist(rollout_id: str) -> Refusal:
    return Refusal(reason=ReleaseProblem.ROLLOUT_MUST_EXIST, detail=f"no rollout {rollout_id} was ever ordered")


def _must_not_have_ended(rollout_id: str, how: str) -> Refusal:
    detail = f"rollout {rollout_id} is {how.replace('_', ' ')}"
    return Refusal(reason=ReleaseProblem.ROLLOUT_MUST_NOT_HAVE_ENDED, detail=detail, facts={"state": how})
