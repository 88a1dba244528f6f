"""Answers of what may reach beyond the cell: transfers and groups, at their present state, on a replay too."""

from collections.abc import Callable
from typing import Any

from cell.api.translate import instant_text, posting_of, refusal_of
from cell.groups import Groups
from cell.ledger.commands import SendTransfer, StartGroup
from cell.ledger.model import Group, Recorded, Transfer, TransferState
from cell.ledger.outcomes import Accepted, Refused, Replayed
from cell.store.sagas import SagaStore
from cell.transfers import Transfers
from contract.problems import Problem
from contract.reasons import Reason
from contract.values import value

_WALLETS = "/v1/wallets"


@value
class SagaAnswer:
    status: int
    body: dict[str, Any]
    location: str | None = None
    """Where the state can be asked for, if it is not the last one."""


class SagaAnswers:
    """`on_open` is told when something is left for the loops."""

    def __init__(self, *, transfers: Transfers, groups: Groups, store: SagaStore, on_open: Callable[[], None]) -> None:
        self._transfers = transfers
        self._groups = groups
        self._store = store
        self._on_open = on_open

    async def answer(
        self, command: SendTransfer | StartGroup, outcome: Accepted | Refused | Replayed, *, deadline_at_s: float
    ) -> SagaAnswer | Problem:
        if isinstance(command, StartGroup):
            return await self._of_group(outcome, deadline_at_s)
        return await self._of_transfer(outcome, deadline_at_s)

    async def _of_transfer(self, outcome: Accepted | Refused | Replayed, deadline_at_s: float) -> SagaAnswer | Problem:
        recorded = outcome.recorded
        if recorded.reason is not None:
            return refusal_of(recorded)
        transfer = await self._transfer_of(outcome)
        state = "settled" if transfer is None else transfer.state
        if transfer is not None and state == "in_transit":
            state = await self._transfers.finish(transfer, deadline_at_s=deadline_at_s)
        if state == "refunded":
            return _refunded(recorded)
        if state == "settled":
            return SagaAnswer(status=201, body=transfer_answer_of(recorded, state))
        await self._store.try_later("transfers", [recorded.key])
        self._on_open()
        location = f"{_WALLETS}/{recorded.key.wallet_id}/transfers/{recorded.key.transaction_id}"
        return SagaAnswer(status=202, body=transfer_answer_of(recorded, state), location=location)

    async def _transfer_of(self, outcome: Accepted | Refused | Replayed) -> Transfer | None:
        """None = both wallets were here, and it is over."""
        if isinstance(outcome, Accepted):
            return next(iter(outcome.changes.transfers), None)
        return await self._store.transfer(outcome.recorded.key)

    async def _of_group(self, outcome: Accepted | Refused | Replayed, deadline_at_s: float) -> SagaAnswer | Problem:
        key = outcome.recorded.key
        group = await self._store.group(key) if isinstance(outcome, Replayed) else outcome.changes.groups[0]
        if group is None:
            return refusal_of(outcome.recorded)
        if not group.is_finished:
            group = await self._groups.drive(group, deadline_at_s=deadline_at_s)
        if not group.is_finished:
            await self._store.try_later("groups", [key])
            self._on_open()
        if group.state == "cancelled":
            return _cancelled(group)
        if group.state == "confirmed":
            return SagaAnswer(status=201, body=group_answer_of(group))
        location = f"{_WALLETS}/{key.wallet_id}/groups/{key.transaction_id}"
        return SagaAnswer(status=202, body=group_answer_of(group), location=location)


def transfer_answer_of(recorded: Recorded, state: TransferState) -> dict[str, Any]:
    return posting_of(recorded) | {"state": state}


def group_answer_of(group: Group) -> dict[str, Any]:
    return {
        "transaction_id": group.key.transaction_id,
        "wallet_id": group.key.wallet_id,
        "currency": group.currency,
        "state": group.state,
        "is_finished": group.is_finished,
        "started_at": instant_text(group.started_at_us),
        "legs": [
            {"wallet_id": leg.wallet_id, "amount": leg.amount, "state": leg.state, "reason": leg.reason}
            for leg in group.legs
        ],
    }


def _refunded(recorded: Recorded) -> Problem:
    return Problem(
        reason=Reason.TARGET_WALLET_MUST_ACCEPT,
        detail="The target wallet's cell refused the transfer; the money is back.",
        facts={
            "wallet_id": recorded.key.wallet_id,
            "transaction_id": recorded.key.transaction_id,
            "seq": recorded.seq,
            "posted_at": instant_text(recorded.posted_at_us),
            "entry_hash": recorded.hash.hex(),
            "state": "refunded",
        },
    )


def _cancelled(group: Group) -> Problem:
    """With the leg that is to blame, and its reason."""
    leg = next((leg for leg in group.legs if leg.reason is not None), group.legs[0])
    known = {reason.value: reason for reason in Reason}
    reason = known.get(leg.reason or "", Reason.TARGET_WALLET_MUST_ACCEPT)
    return Problem(
        reason=reason if reason.is_recorded else Reason.TARGET_WALLET_MUST_ACCEPT,
        detail=f"A leg was refused, so none happened: wallet {leg.wallet_id}, {leg.reason}.",
        facts={"leg": {"wallet_id": leg.wallet_id, "reason": leg.reason}, **group_answer_of(group)},
    )
