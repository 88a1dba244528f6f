"""The duty of taking checkpoints: one process of the cell, every few minutes, or at once when asked.

Owns that a round ends in a signed checkpoint or in an alarm; how one is taken is the store's affair.
"""

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cell.background.duty import Duty
from cell.store.checkpoints import take_checkpoint
from cell.telemetry import Metrics
from contract.checkpoints import Checkpoint

DUTY = "checkpoints"

log = structlog.get_logger()


class Checkpoints:
    """Takes checkpoints in the name of the cell."""

    def __init__(self, database_url: str, *, cell: str, key: Ed25519PrivateKey, kept: int) -> None:
        self._database_url = database_url
        self._cell = cell
        self._key = key
        self._kept = kept

    async def take(self) -> Checkpoint:
        """Now, whoever has the duty.

        Raises:
            StoreLostError: the database cannot be reached.
            CheckpointMustHoldError, LeafMustBeWholeError: what is stored is not what was signed, or cannot be signed.

        """
        checkpoint = await take_checkpoint(self._database_url, cell=self._cell, key=self._key, kept=self._kept)
        log.info("checkpoint taken", number=checkpoint.number, wallets=checkpoint.wallets, root=checkpoint.merkle_root)
        return checkpoint

    def duty(self, *, period_s: float, metrics: Metrics) -> Duty:
        async def work() -> None:
            await self.take()

        return Duty(database_url=self._database_url, name=DUTY, period_s=period_s, work=work, metrics=metrics)
