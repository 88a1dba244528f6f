"""Finishing transfers to other cells: at once, within the request that sent them, else by a loop over what is open.

The money has left its wallet when this begins. A lost answer is asked again for ever; a recorded refusal refunds once.
Knows no SQL and no HTTP; every change goes through the write path.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from cell.at_once import each
from cell.crash_points import CrashPoints
from cell.elsewhere import Done, Elsewhere, RefusedThere, Unknown
from cell.lanes import Lanes
from cell.ledger.commands import RefundTransfer, SettleTransfer
from cell.ledger.derived_ids import refund_id_of
from cell.ledger.model import Transfer, TransferState
from cell.ledger.outcomes import Accepted, Marked, Replayed
from cell.store.sagas import SagaStore
from cell.telemetry import Metrics
from contract.ids import INTERNAL_VENDOR
from contract.signing import canonical_json

ROUND_MAX: Final = 200
"""Transfers per round of the loop."""
AT_ONCE_MAX: Final = 16
ATTEMPT_S: Final = 5.0
"""How long the loop waits for one answer."""
MARGIN_S: Final = 0.15
"""Of a request's time, kept for what follows the other cell's answer."""

log = structlog.get_logger()


class Transfers:
    def __init__(
        self,
        *,
        lanes: Lanes,
        elsewhere: Elsewhere,
        store: SagaStore,
        salt: Callable[[], bytes],
        metrics: Metrics,
        crash_points: CrashPoints,
    ) -> None:
        self._lanes = lanes
        self._elsewhere = elsewhere
        self._store = store
        self._salt = salt
        self._metrics = metrics
        self._crash_points = crash_points

    async def finish(self, transfer: Transfer, *, deadline_at_s: float) -> TransferState:
        """How far it came; `in_transit` = the loop goes on with it."""
        await self._crash_points.reach("transfer.sent")
        now_s = asyncio.get_running_loop().time()
        answer = await self._elsewhere.receive(transfer, timeout_s=deadline_at_s - now_s - MARGIN_S)
        match answer:
            case Done():
                await self._crash_points.reach("transfer.answered")
                return await self._settle(transfer, deadline_at_s)
            case RefusedThere():
                await self._crash_points.reach("transfer.answered")
                return await self._refund(transfer, answer.reason, deadline_at_s)
            case Unknown():
                log.info("transfer is in transit", transfer_id=transfer.transfer_id, why=answer.detail)
                return "in_transit"

    async def work(self) -> None:
        """One round: everything that is due."""
        due = await self._store.due_transfers(ROUND_MAX)
        states = await each(due, self._finish_by_loop, at_most=AT_ONCE_MAX)
        open_ones = [transfer.key for transfer, state in zip(due, states, strict=True) if state == "in_transit"]
        await self._store.try_later("transfers", open_ones)
        self._metrics.sagas_open(*await self._store.open())

    async def _finish_by_loop(self, transfer: Transfer) -> TransferState:
        return await self.finish(transfer, deadline_at_s=asyncio.get_running_loop().time() + ATTEMPT_S)

    async def _settle(self, transfer: Transfer, deadline_at_s: float) -> TransferState:
        command = SettleTransfer(
            wallet_id=transfer.key.wallet_id,
            vendor_id=INTERNAL_VENDOR,
            transaction_id=transfer.transfer_id,
            details="{}",
            context="{}",
            salt=b"",
            sent_by=transfer.key.vendor_id,
            sent_as=transfer.key.transaction_id,
        )
        outcome = await self._lanes.submit(command, deadline_at_s=deadline_at_s)
        await self._crash_points.reach("transfer.finished")
        return "settled" if isinstance(outcome, Marked) else "in_transit"

    async def _refund(self, transfer: Transfer, reason: str, deadline_at_s: float) -> TransferState:
        command = RefundTransfer(
            wallet_id=transfer.key.wallet_id,
            vendor_id=INTERNAL_VENDOR,
            transaction_id=refund_id_of(transfer.transfer_id),
            details="{}",
            context=canonical_json({"refused_there": reason}),
            salt=self._salt(),
            sent_by=transfer.key.vendor_id,
            sent_as=transfer.key.transaction_id,
        )
        outcome = await self._lanes.submit(command, deadline_at_s=deadline_at_s)
        await self._crash_points.reach("transfer.finished")
        return "refunded" if isinstance(outcome, Accepted | Replayed) else "in_transit"
