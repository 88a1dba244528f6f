"""The admin API, on a port of its own: units, status and audit for the control plane and for operators; metrics."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from cell.api.errors import ProblemRaised, answer_problems, conflict
from cell.api.event_order_routes import event_order_routes
from cell.api.load_routes import load_routes
from cell.api.move_routes import Remember, answer_move_refusals, cells_or, move_routes, nothing_to_remember
from cell.api.quarantine_routes import answer_quarantine, restore_routes
from cell.api.responses import AsgiApp, Identified, Responder, authorization_in, request_id_in
from cell.api.tokens import Principal, TokenVerifier, scope_problem
from cell.background.checkpoints import Checkpoints
from cell.cell_tokens import CellTokenVerifier
from cell.closed import ClosedCell
from cell.event_order import EventOrder
from cell.moves import Moves
from cell.ports import StoreLostError
from cell.resending import Resending
from cell.store.audit import AuditFailed, audit
from cell.store.checkpoint_pages import LeafMustBeWholeError
from cell.store.duty_lock import DutyLock, DutyLockLostError
from cell.store.restored import anybody
from cell.store.unit_load import UnitLoads
from cell.store.units import UnitsMustBeTheFirstError, UnitStore
from contract.checkpoints import CheckpointMustHoldError
from contract.fleet import CellUnits, FirstUnits
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope
from contract.signing import PublicKeys


class AuditRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    full: bool = False
    """Fold every log again and recompute every hash, instead of comparing sums and ends."""


def admin_application(
    *,
    cell_id: str,
    database_url: str,
    tokens: TokenVerifier,
    units: UnitStore,
    loads: UnitLoads,
    checkpoints: Checkpoints,
    checkpoint_keys: PublicKeys,
    responder: Responder,
    status: Callable[[], dict[str, Any]],
    metrics_text: Callable[[], bytes],
    moves: Moves,
    event_order: EventOrder,
    cells: CellTokenVerifier,
    resending: Resending | None = None,
    closed: ClosedCell | None = None,
    remember: Remember = nothing_to_remember,
) -> AsgiApp:
    app = FastAPI(title=f"cell {cell_id}: admin", openapi_url=None, redirect_slashes=False)
    answer_problems(app, responder)
    router = APIRouter(prefix="/admin")

    may_manage = _may(tokens, Scope.FLEET_MANAGE)
    reads, manages = Depends(_may(tokens, Scope.FLEET_READ)), Depends(may_manage)

    @router.get("/units", dependencies=[reads])
    async def list_units() -> CellUnits:
        return await units.read()

    @router.put("/units/first", response_model=CellUnits, dependencies=[manages])
    async def adopt_first_units(first: FirstUnits, request: Request) -> CellUnits | Response:
        try:
            return await units.adopt_first(first)
        except UnitsMustBeTheFirstError as error:
            return conflict("units_must_be_the_first", str(error), request_id=request_id_in(request.scope))

    @router.get("/status", dependencies=[reads])
    async def show_status() -> dict[str, Any]:
        return status()

    @router.post("/audit", dependencies=[reads])
    async def run_audit(wanted: AuditRequest) -> Response:
        try:
            async with _the_only_audit(database_url):
                report = await audit(database_url, cell=cell_id, is_full=wanted.full, checkpoint_keys=checkpoint_keys)
        except (AuditFailed, DutyLockLostError) as error:
            raise ProblemRaised(_not_audited(error)) from error
        answer = asdict(report)
        answer["clean"] = report.is_clean
        return Response(json.dumps(answer), media_type="application/json")  # sums may be beyond 64 bits

    @router.post("/checkpoints", dependencies=[manages])
    async def take_checkpoint(request: Request) -> Response:
        try:
            checkpoint = await checkpoints.take()
        except (CheckpointMustHoldError, LeafMustBeWholeError) as error:
            # Nothing is signed on top of what does not hold: a person must look, and the audit says where.
            return conflict("ledger_must_be_whole", str(error), request_id=request_id_in(request.scope))
        return Response(orjson.dumps(checkpoint.document), media_type="application/json")

    reads_grants = Depends(cells_or(cells, _may(tokens, Scope.FLEET_READ)))
    for routes in (
        router,
        _open_routes(metrics_text),
        load_routes(loads, reads=reads),
        event_order_routes(event_order, asks=reads_grants, reads=reads, manages=manages),
        *move_routes(moves, manages=manages, reads_grants=reads_grants, remember=remember),
        *restore_routes(moves, resending, closed, cell_id=cell_id, reads=reads, may_manage=may_manage),
    ):
        app.include_router(routes)
    answer_quarantine(app)
    answer_move_refusals(app, responder)
    answer_lost_database(app, responder)
    return Identified(app, cell_id=cell_id)


def _open_routes(metrics_text: Callable[[], bytes]) -> APIRouter:
    """For whoever reaches the port."""
    router = APIRouter()

    @router.get("/metrics")
    async def show_metrics() -> Response:
        return Response(metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/healthz")
    async def show_health() -> dict[str, str]:
        return {"status": "alive"}

    return router


def _may(tokens: TokenVerifier, scope: Scope) -> Callable[[Request], Principal]:
    def check(request: Request) -> Principal:
        principal = tokens.verify(authorization_in(request.scope["headers"]), time.time())
        if isinstance(principal, Problem):
            raise ProblemRaised(principal)
        problem = scope_problem(principal, scope)
        if problem is not None:
            raise ProblemRaised(problem)
        return principal

    return check


@asynccontextmanager
async def _the_only_audit(database_url: str) -> AsyncIterator[None]:
    """One audit at a time in the whole cell: it reads everything, and two would slow money twice."""
    lock = DutyLock(database_url, name="audit", admit=anybody)
    try:
        if not await lock.hold():
            raise ProblemRaised(_AUDITING)
        yield
    finally:
        await lock.let_go()


_AUDITING = Problem(
    reason=Reason.CELL_MUST_HAVE_CAPACITY, detail="Another audit of this cell is running.", facts={"retry_after_s": 5}
)


def _not_audited(error: Exception) -> Problem:
    """An audit needs more of its database than money does: its room on the disk, for one."""
    why = " ".join(str(error).split()) or type(error).__name__
    detail = f"The database did not let the audit finish: {why}"
    return Problem(reason=Reason.CELL_MUST_BE_REACHABLE, detail=detail)


def answer_lost_database(app: FastAPI, responder: Responder) -> None:
    async def on_lost(request: Request, error: Exception) -> Response:
        del error
        problem = Problem(
            reason=Reason.CELL_MUST_BE_REACHABLE, detail="The cell's database cannot be reached; please try again."
        )
        return responder.problem_response(problem, request_id=request_id_in(request.scope))

    app.add_exception_handler(StoreLostError, on_lost)
