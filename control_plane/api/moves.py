"""`/v1/moves`, and the isolation of wallets: orders are recorded and answered at once, the mover carries them out."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from contract.ids import CellId, WalletId
from contract.scopes import Scope
from control_plane.api.answers import described, refused
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import WalletPath
from control_plane.api.move_answers import answer_of, refusal_of, step_answer_of, unit_answer_of, whole_answer_of
from control_plane.api.move_bodies import (
    UNIT_MAX,
    IsolationAnswer,
    MoveAnswer,
    MoveBody,
    MovedUnitsAnswer,
    MovePath,
    MovesAnswer,
    MoveStepsAnswer,
    WholeMoveAnswer,
)
from control_plane.api.move_reasons import MoveProblem
from control_plane.api.parts import parts_of
from control_plane.api.places import CURSOR_PATTERN, cursor_of, place_of
from control_plane.api.problems import Refusal, problem
from control_plane.mover.desk import Caller, MoveDesk, Outcome
from control_plane.moves.isolating import Isolation
from control_plane.moves.model import MoveRecord, UnitResult
from control_plane.moves.ordering import MoveOrder, MoveRefused
from control_plane.moves.portions import is_beyond_cancelling
from control_plane.moves.reasons import StopReason
from control_plane.store.move_pages import counts_of, head_of, latest_moves, steps_of, units_of
from control_plane.store.moves import move_of, order_move, stop_move

move_routes = APIRouter(route_class=ScopedRoute, tags=["moves"])

STEPS_SHOWN = 20
CANCEL_ATTEMPTS_MAX = 20
"""A move that goes on while it is being cancelled is looked at again."""

IsOpen = Annotated[bool | None, Query(alias="open", description="Only moves that have (not) ended.")]
PageLimit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before.")]
NumberCursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next_cursor` of the page before.")]
UnitState = Annotated[UnitResult | None, Query(description="Only units of which this became.")]


@move_routes.get("/v1/moves", response_model=None, responses=described(MovesAnswer, 400, 401, 403, 503))
@open_to(Scope.FLEET_READ)
async def list_moves(
    request: Request, is_open: IsOpen = None, limit: PageLimit = 50, cursor: Cursor = None
) -> MovesAnswer:
    """Newest first."""
    async with parts_of(request).database.transaction() as connection:
        page = await latest_moves(connection, below=place_of(cursor), limit=limit + 1, are_open=is_open)
        shown = page[:limit]
        counts = await counts_of(connection, [move.id for move in shown])
    return MovesAnswer(
        moves=[answer_of(move, counts[move.id]) for move in shown],
        next_cursor=cursor_of(shown[-1].ordered_at, shown[-1].id) if len(page) > limit else None,
    )


@move_routes.post(
    "/v1/moves",
    response_model=None,
    status_code=202,
    responses={202: {"model": MoveAnswer}, **refused(400, 401, 403, 404, 409, 503)},
)
@open_to(Scope.FLEET_MANAGE)
async def start_move(request: Request, wanted: MoveBody) -> MoveAnswer | Response:
    """A move is recorded and begins within moments; with a `move_id` the same order may be sent again."""
    units = wanted.named_units()
    move_id = wanted.move_id or str(uuid.uuid4())
    if wanted.wallet_id is not None:
        isolation = await desk_of(request).isolate(WalletId(wanted.wallet_id), _caller(request))
        if not isinstance(isolation, Isolation):
            return problem(request, refusal_of(isolation))
        units = (isolation.unit,)
    order = MoveOrder(
        move_id=move_id,
        units=units,
        to_cell=CellId(wanted.to_cell),
        wallet_id=wanted.wallet_id,
        target_load_per_s=await desk_of(request).load_per_s(CellId(wanted.to_cell)),
        actor=caller_of(request).subject,
        request_id=request.state.request_id,
    )
    async with parts_of(request).database.transaction() as connection:
        outcome = await order_move(connection, order)
    if isinstance(outcome, MoveRefused):
        return problem(request, refusal_of(outcome))
    return answer_of(outcome)


@move_routes.get(
    "/v1/moves/{move_id}", response_model=None, responses=described(WholeMoveAnswer, 400, 401, 403, 404, 503)
)
@open_to(Scope.FLEET_READ)
async def show_move(request: Request, move_id: MovePath) -> WholeMoveAnswer | Response:
    """How far it is: as small for thousands of units as for one, so that it may be asked again and again."""
    async with parts_of(request).database.transaction() as connection:
        move = await head_of(connection, move_id)
        if move is None:
            return problem(request, _move_must_exist(move_id))
        counts = await counts_of(connection, [move_id])
        steps = await steps_of(connection, move_id, limit=STEPS_SHOWN)
    return whole_answer_of(move, counts[move_id], [step for _, step in reversed(steps)])


@move_routes.get(
    "/v1/moves/{move_id}/units", response_model=None, responses=described(MovedUnitsAnswer, 400, 401, 403, 404, 503)
)
@open_to(Scope.FLEET_READ)
async def list_moved_units(
    request: Request,
    move_id: MovePath,
    state: UnitState = None,
    limit: PageLimit = 50,
    cursor: NumberCursor = None,
) -> MovedUnitsAnswer | Response:
    """What became of each unit, in ascending order."""
    async with parts_of(request).database.transaction() as connection:
        if await head_of(connection, move_id) is None:
            return problem(request, _move_must_exist(move_id))
        above = -1 if cursor is None else min(int(cursor), UNIT_MAX)
        page = await units_of(connection, move_id, above=above, limit=limit + 1, result=state)
    return MovedUnitsAnswer(
        units=[unit_answer_of(unit) for unit in page[:limit]],
        next_cursor=str(page[limit - 1].unit) if len(page) > limit else None,
    )


@move_routes.get(
    "/v1/moves/{move_id}/steps", response_model=None, responses=described(MoveStepsAnswer, 400, 401, 403, 404, 503)
)
@open_to(Scope.FLEET_READ)
async def list_move_steps(
    request: Request, move_id: MovePath, limit: PageLimit = 50, cursor: NumberCursor = None
) -> MoveStepsAnswer | Response:
    """What the mover did and how long it took, the latest first."""
    async with parts_of(request).database.transaction() as connection:
        if await head_of(connection, move_id) is None:
            return problem(request, _move_must_exist(move_id))
        page = await steps_of(connection, move_id, limit=limit + 1, below=None if cursor is None else int(cursor))
    return MoveStepsAnswer(
        steps=[step_answer_of(step) for _, step in page[:limit]],
        next_cursor=str(page[limit - 1][0]) if len(page) > limit else None,
    )


@move_routes.post(
    "/v1/moves/{move_id}/cancel", response_model=None, responses=described(MoveAnswer, 400, 401, 403, 404, 409, 503)
)
@open_to(Scope.FLEET_MANAGE)
async def cancel_move(request: Request, move_id: MovePath) -> MoveAnswer | Response:
    """What has been granted stays with the target; everything else stays with the source, as if never asked for."""
    for _ in range(CANCEL_ATTEMPTS_MAX):
        async with parts_of(request).database.transaction() as connection:
            move = await move_of(connection, move_id)
            if move is None:
                return problem(request, _move_must_exist(move_id))
            if move.stop == "cancelled":
                return answer_of(move)
            refusal = _cancel_refusal(move)
            if refusal is not None:
                return problem(request, refusal)
            is_stopped = await stop_move(
                connection,
                move,
                reason=StopReason.OPERATOR_MUST_NOT_HAVE_CANCELLED,
                detail=f"cancelled by {caller_of(request).subject}",
                actor=caller_of(request).subject,
                request_id=request.state.request_id,
            )
        if is_stopped:
            break
    async with parts_of(request).database.transaction() as connection:
        move = await move_of(connection, move_id)
    return answer_of(move) if move else problem(request, _move_must_exist(move_id))


@move_routes.post(
    "/v1/wallets/{wallet_id}/isolate",
    response_model=None,
    responses=described(IsolationAnswer, 400, 401, 403, 404, 409, 503),
)
@open_to(Scope.FLEET_MANAGE)
async def isolate_wallet(request: Request, wallet_id: WalletPath) -> IsolationAnswer | Response:
    """The wallet gets a unit of its own in the cell where it is, without a pause. Again, it changes nothing."""
    return _isolation_answer(request, await desk_of(request).isolate(WalletId(wallet_id), _caller(request)))


@move_routes.post(
    "/v1/wallets/{wallet_id}/rejoin",
    response_model=None,
    responses=described(IsolationAnswer, 400, 401, 403, 404, 409, 503),
)
@open_to(Scope.FLEET_MANAGE)
async def rejoin_wallet(request: Request, wallet_id: WalletPath) -> IsolationAnswer | Response:
    """The wallet goes back into its slot, if that is in the same cell; the same order again changes nothing."""
    return _isolation_answer(request, await desk_of(request).rejoin(WalletId(wallet_id), _caller(request)))


def desk_of(request: Request) -> MoveDesk:
    desk: MoveDesk = request.app.state.move_desk
    return desk


def _caller(request: Request) -> Caller:
    return Caller(actor=caller_of(request).subject, request_id=request.state.request_id)


def _isolation_answer(request: Request, outcome: Outcome) -> IsolationAnswer | Response:
    if not isinstance(outcome, Isolation):
        return problem(request, refusal_of(outcome))
    return IsolationAnswer(
        wallet_id=outcome.wallet_id, unit=outcome.unit, cell=outcome.cell, epoch=outcome.epoch, state=outcome.state
    )


def _cancel_refusal(move: MoveRecord) -> Refusal | None:
    if not move.is_open or move.stop is not None:
        detail = f"move {move.id} is {move.state}" if move.stop is None else f"move {move.id} was {move.stop}"
        return Refusal(reason=MoveProblem.MOVE_MUST_NOT_HAVE_ENDED, detail=detail, facts={"state": move.state})
    if is_beyond_cancelling(move):
        detail = f"the last units of move {move.id} belong to {move.to_cell}, or are about to; move them back instead"
        return Refusal(reason=MoveProblem.MOVE_MUST_BE_BEFORE_ITS_GRANT, detail=detail, facts={"state": move.state})
    return None


def _move_must_exist(move_id: str) -> Refusal:
    return Refusal(reason=MoveProblem.MOVE_MUST_EXIST, detail=f"no move {move_id} was ever ordered")
