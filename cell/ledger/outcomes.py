"""What a decision can be. Expected outcomes are values; nothing here is an exception."""

from cell.ledger.limits import SpentKey
from cell.ledger.model import Entry, Group, Hold, OpenedWallet, Recorded, TransactionKey, Transfer, Wallet
from contract.problems import Problem
from contract.values import value


@value
class Reversal:
    """One more part of an original that is undone."""

    original: TransactionKey
    seq: int
    amount: int


@value
class Spending:
    """So much more was taken on this day (UTC days since 1970-01-01)."""

    key: SpentKey
    day: int
    amount: int


@value
class Changes:
    """What a decision writes. `entries` and `recorded` belong together; the first are the command's own wallet's."""

    entries: tuple[Entry, ...] = ()
    wallets: tuple[Wallet, ...] = ()
    recorded: tuple[Recorded, ...] = ()
    account_deltas: tuple[tuple[str, str, int], ...] = ()
    """(system account, currency, delta)."""
    reversal: Reversal | None = None
    opened: OpenedWallet | None = None
    """A wallet that gets its row."""
    continued: OpenedWallet | None = None
    """An unopened wallet that is opened: its row is there."""
    metadata: str | None = None
    """The new metadata of the command's wallet."""
    holds: tuple[Hold, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    groups: tuple[Group, ...] = ()
    spendings: tuple[Spending, ...] = ()


NOTHING = Changes()


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


@value
class Marked:
    """The platform noted how far something has come that was decided before; no entry tells of it."""

    changes: Changes


Outcome = Accepted | Refused | Replayed | Rejected | Marked
