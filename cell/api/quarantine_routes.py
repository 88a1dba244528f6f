"""Quarantine on the admin port: bodies of contract/quarantine.py in, refusals as problem documents out. No rule."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import Response

from cell.api.errors import conflict
from cell.api.responses import request_id_in
from cell.api.tokens import Principal
from cell.closed import ClosedCell, OpeningRefusedError
from cell.moves import Moves
from cell.resending import Resending
from cell.store.restored import InQuarantineError
from cell.store.restored_units import CellMustBeQuarantinedError
from contract.moves import MoveReason
from contract.quarantine import (
    Adjudication,
    Evidence,
    Opened,
    OpenOrder,
    PromotionRecorded,
    QuarantineNow,
    QuarantineOrder,
    Revived,
    ReviveOrder,
)
from contract.resending import ResendOrder, Resent


def restore_routes(
    moves: Moves,
    resending: Resending | None,
    closed: ClosedCell | None,
    *,
    cell_id: str,
    reads: Any,
    may_manage: Any,
) -> list[APIRouter]:
    """Of a cell that was restored, and of those that had given units or sent transfers to one."""
    manages = Depends(may_manage)
    return [
        _revival(moves, cell_id, manages),
        *([] if resending is None else [_resending(resending, manages)]),
        *([] if closed is None else [_quarantine(closed, reads, may_manage)]),
    ]


def _quarantine(cell: ClosedCell, reads: Any, may_manage: Any) -> APIRouter:
    """`reads` lets in whoever may read the fleet, `may_manage` whoever may change it, and tells who that is."""
    router = APIRouter(prefix="/admin/quarantine")

    @router.get("", dependencies=[reads])
    async def show() -> QuarantineNow:
        return await cell.now()

    @router.post("", dependencies=[Depends(may_manage)])
    async def close(order: QuarantineOrder) -> QuarantineNow:
        return await cell.quarantine(order.detail)

    @router.post("/adjudicate", dependencies=[Depends(may_manage)])
    async def adjudicate(evidence: Evidence) -> Adjudication:
        return await cell.adjudicate(evidence)

    @router.post("/open")
    async def open_again(order: OpenOrder, principal: Annotated[Principal, Depends(may_manage)]) -> Opened:
        return await cell.open(opener=order.opener or principal.vendor_id, without_missing=order.without_missing)

    @router.post("/promotion", dependencies=[Depends(may_manage)])
    async def record_promotion() -> PromotionRecorded:
        return await cell.record_promotion()

    return router


def _revival(moves: Moves, cell_id: str, manages: Any) -> APIRouter:
    """Of a cell that is open: it gave units to one that has lost them."""
    router = APIRouter(prefix="/admin", dependencies=[manages])

    @router.post("/revive")
    async def revive(order: ReviveOrder) -> Revived:
        return Revived(cell=cell_id, units=(await moves.revival.revive(order)).units)

    return router


def _resending(resending: Resending, manages: Any) -> APIRouter:
    """Of a cell that is open: another one has lost what this one sent to it."""
    router = APIRouter(prefix="/admin/transfers", dependencies=[manages])

    @router.post("/resend")
    async def resend(order: ResendOrder) -> Resent:
        return await resending.resend(order)

    return router


def answer_quarantine(app: FastAPI) -> None:
    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, OpeningRefusedError)  # noqa: S101 - as registered
        return conflict(error.reason, error.detail, request_id=request_id_in(request.scope), facts=error.facts)

    async def on_open(request: Request, error: Exception) -> Response:
        del error
        return conflict("cell_must_be_quarantined", "The cell is open.", request_id=request_id_in(request.scope))

    async def on_closed(request: Request, error: Exception) -> Response:
        reason = MoveReason.CELL_MUST_NOT_BE_QUARANTINED.value
        return conflict(reason, f"{error}".strip(), request_id=request_id_in(request.scope))

    app.add_exception_handler(OpeningRefusedError, on_refused)
    app.add_exception_handler(CellMustBeQuarantinedError, on_open)
    app.add_exception_handler(InQuarantineError, on_closed)
