"""What cells ask of each other: to take in a transfer, to prepare and end a leg of a group, to tell a decision.

Cells speak with tokens of their own (cell/cell_tokens.py); no vendor's token opens these routes, and they are no part
of the vendors' OpenAPI document.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from cell.api.body import read_body
from cell.api.commands_of import context_text
from cell.api.errors import ProblemRaised, validation_problem
from cell.api.responses import deadline_ms_of, request_id_in
from cell.api.translate import instant_text, refusal_of
from cell.cell_tokens import CellTokenVerifier
from cell.crash_points import CrashPoints
from cell.lanes import Lanes
from cell.ledger.commands import CancelLeg, Command, ConfirmLeg, PrepareLeg, ReceiveTransfer
from cell.ledger.derived_ids import cancel_id_of, confirm_id_of
from cell.ledger.model import Recorded
from cell.ledger.outcomes import Marked, Rejected, Replayed
from cell.policy import LimitPolicy
from cell.queries import Queries
from cell.store.sagas import SagaStore
from contract.bodies import Amount, CurrencyCode
from contract.headers import DEADLINE_DEFAULT_MS
from contract.ids import INTERNAL_VENDOR, UUID_PATTERN, VENDOR_PATTERN, TransactionId, VendorId, WalletId
from contract.money import AMOUNT_MAX
from contract.problems import Problem
from contract.reasons import Reason

DETAILS_MAX: Final = 32_768
BODY_TIMEOUT_S: Final = 5.0

Id = Annotated[str, Field(pattern=UUID_PATTERN)]
IdInPath = Annotated[str, Path(pattern=UUID_PATTERN)]
Vendor = Annotated[str, Field(pattern=VENDOR_PATTERN)]
Details = Annotated[str, Field(max_length=DETAILS_MAX, pattern=r"^[^\u0000]*$")]


_CRASH_POINTS: Final[dict[type[Command], tuple[str, str]]] = {
    ReceiveTransfer: ("transfer.receiving", "transfer.received"),
    PrepareLeg: ("leg.preparing", "leg.prepared"),
    ConfirmLeg: ("leg.ending", "leg.ended"),
    CancelLeg: ("leg.ending", "leg.ended"),
}


class _PeerBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class IncomingTransferBody(_PeerBody):
    transfer_id: Id
    from_wallet_id: Id
    vendor_id: Vendor
    amount: Amount
    currency: CurrencyCode
    details: Details


class GroupLegBody(_PeerBody):
    group_id: Id
    vendor_id: Vendor
    amount: Annotated[int, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
    currency: CurrencyCode
    details: Details
    coordinator: Details


class LegEndBody(_PeerBody):
    transaction_id: Id


class Peers:
    """What every request of another cell goes through: its token, its body, its time, the write path."""

    def __init__(
        self, *, tokens: CellTokenVerifier, lanes: Lanes, salt: Callable[[], bytes], crash_points: CrashPoints
    ) -> None:
        self._tokens = tokens
        self._lanes = lanes
        self._salt = salt
        self._crash_points = crash_points

    def verify(self, request: Request) -> str:
        authorization = request.headers.get("authorization")
        peer = self._tokens.verify(None if authorization is None else authorization.encode("latin-1"), time.time())
        if isinstance(peer, Problem):
            raise ProblemRaised(peer)
        return peer.cell_id

    async def read(self, request: Request, model: type[_PeerBody]) -> Any:
        raw = await read_body(dict(request.scope["headers"]), request.receive, timeout_s=BODY_TIMEOUT_S)
        if isinstance(raw, Problem):
            raise ProblemRaised(raw)
        try:
            return model.model_validate_json(raw)
        except ValidationError as error:
            raise ProblemRaised(validation_problem(error)) from error

    def sealing(self, request: Request, cell_id: str) -> dict[str, Any]:
        forwarded = request.headers.get("x-forwarded-for", "")
        context = context_text(
            client_ip=forwarded,
            user_agent=f"cell/{cell_id}",
            request_id=request_id_in(request.scope),
            trace_id=None,
        )
        return {"context": context, "salt": self._salt()}

    async def decide(self, request: Request, command: Command) -> Response:
        raw = request.headers.get("x-deadline-ms")
        deadline_ms = deadline_ms_of(None if raw is None else raw.encode(), default_ms=DEADLINE_DEFAULT_MS)
        if isinstance(deadline_ms, Problem):
            raise ProblemRaised(deadline_ms)
        deadline_at_s = asyncio.get_running_loop().time() + deadline_ms / 1_000
        before, after = _CRASH_POINTS[type(command)]
        await self._crash_points.reach(before)
        outcome = await self._lanes.submit(command, deadline_at_s=deadline_at_s)
        await self._crash_points.reach(after)
        if isinstance(outcome, Rejected):
            raise ProblemRaised(outcome.problem)
        assert not isinstance(outcome, Marked)  # noqa: S101 - these commands are recorded
        if outcome.recorded.reason is not None:
            raise ProblemRaised(refusal_of(outcome.recorded))
        headers = {"idempotent-replayed": "true"} if isinstance(outcome, Replayed) else None
        body = orjson.dumps(_receipt_of(outcome.recorded))
        return Response(body, status_code=201, media_type="application/json", headers=headers)


def peer_routes(*, peers: Peers, queries: Queries, store: SagaStore, policy: LimitPolicy) -> APIRouter:
    """What other cells may ask of wallets here."""
    router = APIRouter(include_in_schema=False)

    @router.post("/v1/wallets/{wallet_id}/incoming_transfers")
    async def receive_transfer(request: Request, wallet_id: IdInPath) -> Response:
        cell_id = peers.verify(request)
        body: IncomingTransferBody = await peers.read(request, IncomingTransferBody)
        command = ReceiveTransfer(
            wallet_id=WalletId(wallet_id),
            vendor_id=VendorId(body.vendor_id),
            transaction_id=TransactionId(body.transfer_id),
            details=body.details,
            from_wallet_id=WalletId(body.from_wallet_id),
            amount=body.amount,
            currency=body.currency,
            **peers.sealing(request, cell_id),
        )
        return await peers.decide(request, command)

    _add_leg_routes(router, peers=peers, queries=queries, store=store, policy=policy)
    return router


def _add_leg_routes(
    router: APIRouter, *, peers: Peers, queries: Queries, store: SagaStore, policy: LimitPolicy
) -> None:
    @router.post("/v1/wallets/{wallet_id}/group_legs")
    async def prepare_leg(request: Request, wallet_id: IdInPath) -> Response:
        cell_id = peers.verify(request)
        body: GroupLegBody = await peers.read(request, GroupLegBody)
        vendor_id = VendorId(body.vendor_id)
        command = PrepareLeg(
            wallet_id=WalletId(wallet_id),
            vendor_id=vendor_id,
            transaction_id=TransactionId(body.group_id),
            details=body.details,
            caps=policy.caps_for(vendor_id, WalletId(wallet_id)) if body.amount < 0 else None,
            amount=body.amount,
            currency=body.currency,
            coordinator=body.coordinator,
            **peers.sealing(request, cell_id),
        )
        return await peers.decide(request, command)

    @router.post("/v1/wallets/{wallet_id}/group_legs/{group_id}/{verb}")
    async def end_leg(
        request: Request,
        wallet_id: IdInPath,
        group_id: IdInPath,
        verb: Annotated[str, Path(pattern="^(confirm|cancel)$")],
    ) -> Response:
        cell_id = peers.verify(request)
        await peers.read(request, LegEndBody)
        kind, ending = (ConfirmLeg, confirm_id_of) if verb == "confirm" else (CancelLeg, cancel_id_of)
        command = kind(
            wallet_id=WalletId(wallet_id),
            vendor_id=INTERNAL_VENDOR,
            transaction_id=ending(TransactionId(group_id)),
            details="{}",
            group_id=TransactionId(group_id),
            **peers.sealing(request, cell_id),
        )
        return await peers.decide(request, command)

    @router.get("/v1/wallets/{wallet_id}/group_decisions/{group_id}")
    async def tell_decision(request: Request, wallet_id: IdInPath, group_id: IdInPath) -> dict[str, str]:
        peers.verify(request)
        wallet = await queries.wallet(WalletId(wallet_id), None)
        if isinstance(wallet, Problem):
            raise ProblemRaised(wallet)
        group = await store.group_by_id(wallet_id, group_id)
        if group is None:
            detail = f"Wallet {wallet_id} has started no group {group_id}."
            raise ProblemRaised(Problem(reason=Reason.TRANSACTION_MUST_EXIST, detail=detail))
        return {"state": group.state}


def _receipt_of(recorded: Recorded) -> dict[str, Any]:
    """Which entry it became; what the wallet has is no business of another cell."""
    return {
        "wallet_id": recorded.key.wallet_id,
        "seq": recorded.seq,
        "posted_at": instant_text(recorded.posted_at_us),
        "entry_hash": recorded.hash.hex(),
    }
