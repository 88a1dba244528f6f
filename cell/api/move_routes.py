"""The steps of moves on the admin port: bodies of contract/moves.py in, refusals as problem documents out.

No rule stands here. Rows pass as bytes, bounded and unread.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI, Path, Query, Request
from starlette.responses import Response

from cell.api.errors import ProblemRaised, conflict
from cell.api.responses import Responder, authorization_in, request_id_in
from cell.cell_tokens import CellTokenVerifier
from cell.moves import Moves
from cell.store.moves.isolation import WalletMustExistError
from cell.store.moves.parcels import ParcelBrokenError
from cell.store.moves.sessions import MoveRefusedError
from contract.ids import UUID_PATTERN, WalletId
from contract.moves import (
    Cleaned,
    FenceOrder,
    Fences,
    Grant,
    GrantOrder,
    Grants,
    IsolateOrder,
    MoveReason,
    Part,
    Positions,
    RejoinOrder,
    RowsTaken,
    RowsWanted,
    StagedUnits,
    StageOrder,
    Surveys,
    UnitList,
    UnitsNow,
)
from contract.problems import Problem
from contract.reasons import Reason
from contract.slots import ISOLATED_UNIT_FIRST, Unit

ROWS_BYTES_MAX: Final = 256 * 1024 * 1024
"""One part of a unit: the state of one is whole or refused."""
ROWS: Final = "X-Rows"

Remember = Callable[[], Awaitable[None]]
"""Keeps outside of the database that it has come so far (cell/quarantine.py)."""

MoveId = Annotated[str, Path(pattern=UUID_PATTERN)]
UnitNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]


async def nothing_to_remember() -> None:
    """Where nobody could look at it afterwards."""


def move_routes(
    moves: Moves, *, manages: Any, reads_grants: Any, remember: Remember = nothing_to_remember
) -> list[APIRouter]:
    """`manages` and `reads_grants` are dependencies that let through who may."""
    return [
        _outgoing(moves, remember, [manages]),
        _incoming(moves, [manages]),
        _within(moves, [manages]),
        _grants(moves, [reads_grants]),
    ]


def _outgoing(moves: Moves, remember: Remember, dependencies: list[Any]) -> APIRouter:
    router = APIRouter(prefix="/admin/outgoing/{move_id}", dependencies=dependencies)

    @router.post("/survey")
    async def survey(move_id: MoveId, wanted: UnitList) -> Surveys:
        del move_id
        return await moves.departures.survey(wanted.units)

    @router.post("/rows")
    async def give_rows(move_id: MoveId, wanted: RowsWanted) -> Response:
        del move_id
        if wanted.part == "entries":
            parcel = await moves.departures.entries(wanted.unit, wanted.positions, rows_max=wanted.rows_max)
        else:
            parcel = await moves.departures.state(wanted.unit, wanted.open_sagas)
        return Response(parcel.content, media_type="application/octet-stream", headers={ROWS: str(parcel.rows)})

    @router.post("/versions")
    async def tell_versions(move_id: MoveId, wanted: UnitList) -> Positions:
        del move_id
        return await moves.departures.positions(_the_one(wanted))

    @router.post("/fence")
    async def fence(move_id: MoveId, order: FenceOrder) -> Fences:
        return await moves.source.fence(order, move_id=move_id)

    @router.post("/unfence")
    async def unfence(move_id: MoveId, wanted: UnitList) -> UnitsNow:
        return await moves.source.unfence(wanted.units, move_id=move_id)

    @router.post("/grant")
    async def grant(move_id: MoveId, order: GrantOrder) -> Grants:
        granted = await moves.source.grant(order, move_id=move_id)
        await remember()
        return granted

    @router.post("/tombstone")
    async def tombstone(move_id: MoveId, wanted: UnitList) -> UnitsNow:
        return await moves.source.tombstone(wanted.units, move_id=move_id)

    @router.post("/clean")
    async def clean(move_id: MoveId, wanted: UnitList) -> Cleaned:
        cleaned = await moves.deletion.clean(wanted.units, move_id=move_id)
        await moves.crash_points.reach("move.cleaned")
        return cleaned

    return router


def _incoming(moves: Moves, dependencies: list[Any]) -> APIRouter:
    router = APIRouter(prefix="/admin/incoming/{move_id}", dependencies=dependencies)

    @router.post("/stage")
    async def stage(move_id: MoveId, order: StageOrder) -> UnitsNow:
        for url in order.source_admin_urls:
            if not url.startswith(("http://", "https://")):
                raise ProblemRaised(_malformed("/source_admin_urls", "must be http or https URLs"))
        return await moves.target.stage(order, move_id=move_id)

    @router.post("/positions")
    async def tell_positions(move_id: MoveId, wanted: UnitList) -> Positions:
        return await moves.arrivals.positions(_the_one(wanted), move_id=move_id)

    @router.put("/rows")
    async def take_rows(
        move_id: MoveId,
        request: Request,
        unit: Annotated[int, Query(ge=0, le=2**31 - 1)],
        part: Annotated[Part, Query()],
    ) -> RowsTaken:
        taken = await moves.arrivals.take(unit, await _body_of(request), part=part, move_id=move_id)
        await moves.crash_points.reach("move.rows_taken")
        return taken

    @router.post("/seal")
    async def seal(move_id: MoveId, fences: Fences) -> StagedUnits:
        return await moves.target.seal(fences, move_id=move_id)

    @router.post("/activate")
    async def activate(move_id: MoveId, grants: Grants) -> UnitsNow:
        return await moves.activate(grants, move_id=move_id)

    @router.post("/discard")
    async def discard(move_id: MoveId, wanted: UnitList) -> UnitsNow:
        return await moves.discard(wanted.units, move_id=move_id)

    return router


def _within(moves: Moves, dependencies: list[Any]) -> APIRouter:
    router = APIRouter(prefix="/admin", dependencies=dependencies)

    @router.post("/isolate")
    async def isolate(order: IsolateOrder) -> UnitsNow:
        return await moves.isolation.isolate(WalletId(order.wallet_id), _isolated(order.unit))

    @router.post("/rejoin")
    async def rejoin(order: RejoinOrder) -> UnitsNow:
        return await moves.isolation.rejoin(WalletId(order.wallet_id), _isolated(order.unit))

    return router


def _grants(moves: Moves, dependencies: list[Any]) -> APIRouter:
    router = APIRouter(prefix="/admin", dependencies=dependencies)

    @router.get("/grants/{unit}", response_model=Grant)
    async def tell_grant(unit: UnitNumber, request: Request) -> Grant | Response:
        grant, row = await moves.source.grant_of(unit)
        if grant is not None:
            return grant
        return conflict(
            MoveReason.UNIT_MUST_BE_GRANTED.value,
            f"No grant of unit {unit} stands here.",
            request_id=request_id_in(request.scope),
            status=404,
            facts={"state": row.state, "epoch": row.epoch or None, "fence_no": row.fence_no},
        )

    return router


def answer_move_refusals(app: FastAPI, responder: Responder) -> None:
    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, MoveRefusedError)  # noqa: S101 - as registered
        return conflict(error.reason.value, error.detail, request_id=request_id_in(request.scope))

    async def on_broken(request: Request, error: Exception) -> Response:
        return responder.problem_response(_malformed("", str(error)), request_id=request_id_in(request.scope))

    async def on_absent(request: Request, error: Exception) -> Response:
        problem = Problem(reason=Reason.WALLET_MUST_EXIST, detail=f"There is no wallet {error}.")
        return responder.problem_response(problem, request_id=request_id_in(request.scope))

    app.add_exception_handler(MoveRefusedError, on_refused)
    app.add_exception_handler(ParcelBrokenError, on_broken)
    app.add_exception_handler(WalletMustExistError, on_absent)


def cells_or(verifier: CellTokenVerifier, others: Callable[[Request], object]) -> Callable[[Request], object]:
    """Lets through a cell of the fleet with its own token, and whom `others` let through."""

    def check(request: Request) -> object:
        peer = verifier.verify(authorization_in(request.scope["headers"]), time.time())
        return others(request) if isinstance(peer, Problem) else peer

    return check


async def _body_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > ROWS_BYTES_MAX:
            raise ProblemRaised(Problem(reason=Reason.BODY_MUST_FIT, detail="The rows are too many for one body."))
    return bytes(body)


def _the_one(wanted: UnitList) -> int:
    if len(wanted.units) != 1:
        raise ProblemRaised(_malformed("/units", "must name one unit"))
    return wanted.units[0]


def _isolated(unit: int) -> Unit:
    if unit < ISOLATED_UNIT_FIRST:
        raise ProblemRaised(_malformed("/unit", f"must be {ISOLATED_UNIT_FIRST} or above"))
    return Unit(unit)


def _malformed(pointer: str, message: str) -> Problem:
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"{pointer or 'The body'}: {message}.",
        facts={"errors": [{"pointer": pointer, "message": message}]},
    )
