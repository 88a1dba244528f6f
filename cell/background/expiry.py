"""The duty that ends holds whose time is over, by the write path like everybody else.

Owns which holds are asked about and how many at once. Whether a hold is still open is decided under its wallet's lock,
so a capture on its way meanwhile either comes first, and nothing expires, or finds the hold over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from os import urandom
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from cell.background.duty import Duty, DutyMetrics
from cell.lanes import Lanes
from cell.ledger.commands import ExpireHold
from cell.ledger.derived_ids import expire_id_of
from cell.ledger.outcomes import Accepted
from cell.store.hold_reads import DueHold, due_holds
from contract.ids import INTERNAL_VENDOR
from contract.signing import canonical_json

DUTY: Final = "expiry"
BATCH_MAX: Final = 200
"""Holds submitted at once: half a batch of the write path, so that vendors' commands find room beside them."""
DECIDED_WITHIN_S: Final = 10.0
"""What is not decided by then is due again in the next round."""

_CONTEXT: Final = canonical_json({"loop": DUTY})


class Reads(Protocol):
    async def ask(
        self, question: Callable[[AsyncConnection], Awaitable[Sequence[DueHold]]], /
    ) -> Sequence[DueHold]: ...


class ExpiryMetrics(DutyMetrics, Protocol):
    def holds_due(self, holds: int, *, oldest_s: float) -> None: ...
    def holds_expired(self, holds: int) -> None: ...


class Expiry:
    def __init__(self, *, database_url: str, reads: Reads, lanes: Lanes, metrics: ExpiryMetrics) -> None:
        self._database_url = database_url
        self._reads = reads
        self._lanes = lanes
        self._metrics = metrics

    def duty(self, *, period_s: float) -> Duty:
        return Duty(
            database_url=self._database_url, name=DUTY, period_s=period_s, work=self.sweep, metrics=self._metrics
        )

    async def sweep(self) -> None:
        """Everything that is due now, batch by batch; what one batch cannot end does not hold up the next.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        seen, oldest_s = 0, 0.0
        last: DueHold | None = None
        while batch := await self._due(last):
            seen += len(batch)
            oldest_s = max(oldest_s, batch[0].overdue_s)
            await self._expire(batch)
            last = batch[-1]
        self._metrics.holds_due(seen, oldest_s=oldest_s)

    async def _due(self, after: DueHold | None) -> Sequence[DueHold]:
        return await self._reads.ask(lambda connection: due_holds(connection, after=after, limit=BATCH_MAX))

    async def _expire(self, batch: Sequence[DueHold]) -> None:
        deadline_at_s = asyncio.get_running_loop().time() + DECIDED_WITHIN_S
        answers = [self._lanes.submit(expiry_of(due), deadline_at_s=deadline_at_s) for due in batch]
        outcomes = await asyncio.gather(*answers)
        self._metrics.holds_expired(sum(isinstance(outcome, Accepted) for outcome in outcomes))


def expiry_of(due: DueHold) -> ExpireHold:
    return ExpireHold(
        wallet_id=due.wallet_id,
        vendor_id=INTERNAL_VENDOR,
        transaction_id=expire_id_of(due.vendor_id, due.hold_id),
        details="{}",
        context=_CONTEXT,
        salt=urandom(16),
        hold_vendor_id=due.vendor_id,
        hold_id=due.hold_id,
    )
