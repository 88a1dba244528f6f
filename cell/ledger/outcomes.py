"""What a decision can be. Expected outcomes are values; nothing here is an exception."""

from cell.ledger.model import Entry, OpenedWallet, Recorded, TransactionKey, Wallet
from contract.problems import Problem
from contract.values import value


@value
class Reversal:
    """One more part of an original that is undone."""

    original: TransactionKey
    seq: int
    amount: int


@value
class Changes:
    """What a decision writes. `entries`, `wallets` and `recorded` are what `recorded[0]`'s wallet asked for first."""

    entries: tuple[Entry, ...]
    wallets: tuple[Wallet, ...]
    recorded: tuple[Recorded, ...]
    account_deltas: tuple[tuple[str, str, int], ...] = ()
    """(system account, currency, delta)."""
    reversal: Reversal | None = None
    opened: OpenedWallet | None = None
    metadata: str | None = None
    """The new metadata of the command's wallet."""


@value
class Accepted:
    recorded: Recorded
    changes: Changes


@value
class Refused:
    """A recorded "no": an entry of the wallet's log, answered the same for ever."""

    recorded: Recorded
    changes: Changes


@value
class Replayed:
    """The same request was decided before: its answer stands."""

    recorded: Recorded


@value
class Rejected:
    """An unrecorded "no": nothing was decided, nothing is written. `cause` is for the log, not for the caller."""

    problem: Problem
    cause: str | None = None


Outcome = Accepted | Refused | Replayed | Rejected
