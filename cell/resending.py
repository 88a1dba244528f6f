"""Asking a restored cell again for transfers that it had taken in before: page by page, at an operator's order.

A settled transfer says that its receiver had it once. It changes nothing here; the receiver answers as it did, or takes
in what it has lost. Knows no SQL and no HTTP.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from cell.at_once import each
from cell.elsewhere import Answer, Done, Elsewhere, RefusedThere
from cell.ledger.model import TransactionKey, Transfer
from cell.store.sagas import SagaStore
from contract.ids import TransactionId, VendorId, WalletId
from contract.resending import RefusedTransfer, ResendOrder, Resent

AT_ONCE_MAX: Final = 16
ATTEMPT_S: Final = 5.0

log = structlog.get_logger()


class Resending:
    def __init__(self, *, cell_id: str, elsewhere: Elsewhere, store: SagaStore) -> None:
        self._cell_id = cell_id
        self._elsewhere = elsewhere
        self._store = store
        self._turn = asyncio.Lock()

    async def resend(self, order: ResendOrder) -> Resent:
        """One page. Raises StoreLostError."""
        async with self._turn:  # a page at a time, however many ask: it must not crowd out what is being sent now
            sent = await self._store.settled_since(order.since, after=_key_of(order), limit=order.page)
            answers = await each(
                sent, lambda one: self._elsewhere.receive(one, timeout_s=ATTEMPT_S), at_most=AT_ONCE_MAX
            )
        refused = _refused(sent, answers)
        if refused:
            log.error("settled transfers are refused after a restore", count=len(refused))
        taken = sum(isinstance(answer, Done) for answer in answers)
        return Resent(
            cell=self._cell_id,
            asked=len(sent),
            taken=taken,
            unknown=len(sent) - taken - len(refused),
            refused=tuple(refused),
            after=_name_of(sent[-1]) if len(sent) == order.page else None,
        )


def _refused(sent: Sequence[Transfer], answers: Sequence[Answer]) -> list[RefusedTransfer]:
    return [
        RefusedTransfer(
            wallet_id=transfer.key.wallet_id,
            vendor_id=transfer.key.vendor_id,
            transaction_id=transfer.key.transaction_id,
            to_wallet_id=transfer.to_wallet_id,
            amount=transfer.amount,
            currency=transfer.currency,
            reason=answer.reason,
        )
        for transfer, answer in zip(sent, answers, strict=True)
        if isinstance(answer, RefusedThere)
    ]


def _key_of(order: ResendOrder) -> TransactionKey | None:
    if order.after is None:
        return None
    wallet_id, vendor_id, transaction_id = order.after
    return TransactionKey(WalletId(wallet_id), VendorId(vendor_id), TransactionId(transaction_id))


def _name_of(transfer: Transfer) -> tuple[str, str, str]:
    return transfer.key.wallet_id, transfer.key.vendor_id, transfer.key.transaction_id
