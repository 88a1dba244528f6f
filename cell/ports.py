"""What the write path needs of a store. PostgreSQL implements it for cells, memory for simulations; both pass the
same conformance suite (tests/integration/cell/test_store_conformance.py).

Failures are classed by what is known afterwards, because that decides what may be done next.
"""

from collections.abc import Sequence
from typing import Protocol

from cell.ledger.footprint import Footprint
from cell.ledger.outcomes import Changes
from cell.ledger.view import Loaded
from contract.ids import WalletId


class StoreLostError(Exception):
    """The connection went away: what was sent may or may not be committed. Run the commands again."""


class StoreBusyError(Exception):
    """Nothing was written and nobody is to blame (a lock, a lost race): run the commands again."""


class StoreRefusedError(Exception):
    """The database refused the data; nothing was written. One of the commands is to blame."""


class LedgerSession(Protocol):
    """One writer's connection. At most one batch at a time: `load`, then `save` or `abandon`."""

    async def connect(self) -> None:
        """Connect and prove by a committed write of our own that this primary takes writes.

        Raises:
            StoreLostError: it does not.

        """

    async def load(self, footprint: Footprint) -> Loaded:
        """Begin; lock the footprint's wallets in id order; read everything else after the locks.

        Raises:
            StoreLostError: the connection is gone.
            StoreBusyError: the locks were not to be had in time.

        """

    async def save(self, changes: Sequence[Changes]) -> None:
        """Write all of it and commit. Returns only when the commit is acknowledged as such.

        Raises:
            StoreLostError: it is unknown whether the commit happened.
            StoreBusyError: nothing was written; a wallet to be opened was opened by somebody else.
            StoreRefusedError: nothing was written; the data are refused.

        """

    async def held_wallets(self, wallet_ids: Sequence[WalletId]) -> frozenset[WalletId]:
        """Those that somebody else has locked at this moment; never waits for them. No batch may be open.

        Raises:
            StoreLostError: the connection is gone.

        """

    async def confirm(self) -> None:
        """End a batch that writes nothing, with a commit: what it has read is then kept as safely as what it commits.

        Raises:
            StoreLostError: it is unknown whether it is.
            StoreBusyError: the same, and the connection stands.

        """

    async def abandon(self) -> None:
        """Roll back, if there is anything to roll back."""

    async def close(self) -> None:
        """Give the connection up."""


class LedgerStore(Protocol):
    """Makes sessions; each lane of the write path has its own."""

    def session(self, name: str) -> LedgerSession:
        """A session that is not connected yet; `name` tells it apart in the database's views."""
