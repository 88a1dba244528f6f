"""Writing one entry onto a wallet: the only place where a wallet's figures change.

A wallet is the fold of its entries, so `fold` is used by the write path, by replays and by moves alike.
"""

from cell.ledger.commands import Command
from cell.ledger.content import requested_amount_of, terms_of
from cell.ledger.model import Entry, Instant, Recorded, Status, TransactionKey, Wallet
from contract.chain import ZERO_HASH, sealed_hash
from contract.ids import WalletId
from contract.money import AMOUNT_MAX
from contract.slots import slot_of
from contract.values import value


class InvariantBrokenError(Exception):
    """Money would be wrong: a bug of ours, stopped before it is written or after it is read."""


@value
class Effect:
    """What a decision wants to happen to one wallet."""

    kind: str
    counter_account: str
    delta: int = 0
    held_delta: int = 0
    overdraft_limit: int | None = None
    status: Status | None = None
    subject_id: str | None = None
    subject_vendor_id: str | None = None
    requested_kind: str | None = None
    requested_amount: int | None = None
    reason: str | None = None
    expires_at_us: int | None = None
    pinned_delta: int = 0
    """Change of the room that is kept; no entry states it."""


IN_TRANSIT = "in_transit"
"""The system account of money between two cells; nets to zero over the fleet when nothing is on its way."""
NO_CURRENCY = "XXX"
"""Of a wallet that is not opened yet (ISO 4217: no currency involved)."""


def clearing_account(vendor_id: str) -> str:
    return f"clearing:{vendor_id}"


def wallet_account(wallet_id: str) -> str:
    return f"wallet:{wallet_id}"


def write_entry(
    wallet: Wallet, effect: Effect, command: Command, now_us: Instant, *, key: TransactionKey
) -> tuple[Entry, Wallet]:
    """The entry that `effect` makes, and the wallet after it."""
    limit = wallet.overdraft_limit if effect.overdraft_limit is None else effect.overdraft_limit
    entry = Entry(
        wallet_id=wallet.wallet_id,
        seq=wallet.seq + 1,
        posted_at_us=_instant_after(wallet, now_us),
        kind=effect.kind,
        currency=wallet.currency,
        delta=effect.delta,
        held_delta=effect.held_delta,
        balance_after=wallet.balance + effect.delta,
        held_after=wallet.held + effect.held_delta,
        overdraft_limit_after=limit,
        status_after=effect.status or wallet.status,
        transaction_id=key.transaction_id,
        vendor_id=command.vendor_id,
        counter_account=effect.counter_account,
        subject_id=effect.subject_id,
        subject_vendor_id=effect.subject_vendor_id,
        expires_at_us=effect.expires_at_us,
        requested_kind=effect.requested_kind,
        requested_amount=effect.requested_amount,
        reason=effect.reason,
        sealed=sealed_hash(salt=command.salt, details=command.details, context=command.context),
        previous_hash=wallet.head_hash,
        salt=command.salt,
        details=command.details,
        context=command.context,
    )
    return entry, fold(wallet, entry, pinned_delta=effect.pinned_delta)


def _instant_after(wallet: Wallet, now_us: Instant) -> int:
    """Now; with a clock that lags behind the log (stepped back, or another cell's), just after the last entry.

    Never the last entry's own instant: what was answered of that instant must stay true.
    """
    return now_us if now_us >= wallet.posted_at_us else wallet.posted_at_us + 1


def fold(wallet: Wallet, entry: Entry, *, pinned_delta: int = 0) -> Wallet:
    """The wallet after `entry`.

    Raises:
        InvariantBrokenError: the entry does not follow from the wallet.

    """
    if entry.seq != wallet.seq + 1 or entry.posted_at_us < wallet.posted_at_us:
        raise InvariantBrokenError(f"L4: entry {entry.seq} of {entry.wallet_id} does not follow {wallet.seq}")
    if entry.previous_hash != wallet.head_hash:
        raise InvariantBrokenError(f"L6: entry {entry.seq} of {entry.wallet_id} does not chain")
    balance = wallet.balance + entry.delta
    held = wallet.held + entry.held_delta
    if balance != entry.balance_after or held != entry.held_after:
        raise InvariantBrokenError(f"L1: entry {entry.seq} of {entry.wallet_id} states another sum")
    pinned = wallet.pinned + pinned_delta
    if not -AMOUNT_MAX <= balance <= AMOUNT_MAX - pinned or held < 0 or pinned < 0:
        raise InvariantBrokenError(f"L3: entry {entry.seq} of {entry.wallet_id} leaves the bounds")
    return Wallet(
        wallet_id=wallet.wallet_id,
        unit=wallet.unit,
        owner_type=wallet.owner_type,
        currency=wallet.currency,
        status=entry.status_after,  # type: ignore[arg-type]  # the chain's form knows texts only
        balance=balance,
        held=held,
        overdraft_limit=entry.overdraft_limit_after,
        seq=entry.seq,
        head_hash=entry.hash,
        posted_at_us=Instant(entry.posted_at_us),
        frozen_by=wallet.frozen_by,
        blocked_by=wallet.blocked_by,
        pinned=pinned,
    )


def unopened(wallet_id: WalletId) -> Wallet:
    """A wallet that nobody has opened, as the first entry finds it."""
    return Wallet(
        wallet_id=wallet_id,
        unit=slot_of(wallet_id),
        owner_type="",
        currency=NO_CURRENCY,
        status="unopened",
        balance=0,
        held=0,
        overdraft_limit=0,
        seq=0,
        head_hash=ZERO_HASH,
        posted_at_us=Instant(0),
    )


def record(key: TransactionKey, command: Command, entry: Entry, *, amount: int, reason: str | None = None) -> Recorded:
    """The outcome of `command` as it is kept for replays, conflicts and reversals.

    Terms are kept under the command's own id only: nobody sends a receipt or a leg's end again.
    """
    return Recorded(
        key=key,
        kind=entry.requested_kind or entry.kind,
        requested_amount=requested_amount_of(command),
        amount=amount,
        currency=getattr(command, "currency", entry.currency),
        terms=terms_of(command) if key.transaction_id == command.transaction_id else None,
        reason=reason,
        posted_at_us=Instant(entry.posted_at_us),
        seq=entry.seq,
        delta=entry.delta,
        held_delta=entry.held_delta,
        balance_after=entry.balance_after,
        held_after=entry.held_after,
        overdraft_limit_after=entry.overdraft_limit_after,
        hash=entry.hash,
    )
