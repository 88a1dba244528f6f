"""Checking a wallet's history without trusting the cell: numbers, instants, sums and the hash chain.

Everything is recomputed from the public fields of the entries, in the order of seq, by contract/chain.py. Descriptions
and metadata are not covered: the chain holds a salted hash of them (`sealed`), so that they can be erased.
Pure: the entries come in as arguments, from wherever they were read.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from cellwallet.client.results import Entry, Wallet
from contract.chain import ZERO_HASH, CanonicalEntry, entry_hash
from contract.values import value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@value
class Verified:
    wallet_id: str
    entries: int
    balance: int
    currency: str
    head_hash: str
    """Of the last entry that was read."""


@value
class Broken:
    """The first entry, by its place in the log, that cannot be; `field` is what shows it."""

    wallet_id: str
    seq: int
    field: str
    expected: str
    found: str


class HistoryCheck:
    """Takes the entries of one wallet in the order of seq; the first fault ends it.

    `wallet` was read before the entries, so the log may have grown beyond it: it is compared with the entry of its own
    seq, and entries after that one are checked among themselves.
    """

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet
        self._seq = 0
        self._posted_at = _EPOCH
        self._balance = 0
        self._held = 0
        self._hash = ZERO_HASH

    def take(self, entry: Entry) -> Broken | None:
        place = self._seq + 1
        computed = entry_hash(self._hash, canonical_entry(entry))
        for field, expected, found in self._expectations(entry, computed.hex()):
            if expected != found:
                return self._broken(place, field, expected, found)
        self._seq, self._posted_at, self._hash = place, entry.posted_at, computed
        self._balance, self._held = entry.balance_after, entry.held_after
        return self._compare_head(entry) if place == self._wallet.seq else None

    def finish(self) -> Verified | Broken:
        if self._seq < self._wallet.seq:
            return self._broken(self._seq + 1, "seq", self._seq + 1, "no entry")
        return Verified(
            wallet_id=self._wallet.wallet_id,
            entries=self._seq,
            balance=self._balance,
            currency=self._wallet.currency,
            head_hash=self._hash.hex(),
        )

    def _expectations(self, entry: Entry, computed_hash: str) -> Iterator[tuple[str, object, object]]:
        yield "seq", self._seq + 1, entry.seq
        yield "wallet_id", self._wallet.wallet_id, entry.wallet_id
        yield "currency", self._wallet.currency, entry.currency
        yield "posted_at", max(self._posted_at, entry.posted_at), entry.posted_at
        yield "balance_after", self._balance + entry.delta, entry.balance_after
        yield "held_after", self._held + entry.held_delta, entry.held_after
        yield (
            "available",
            entry.balance_after - entry.held_after + entry.overdraft_limit_after,
            entry.available,
        )
        yield "amount", _amount(entry), entry.amount
        yield "entry_hash", computed_hash, entry.entry_hash

    def _compare_head(self, entry: Entry) -> Broken | None:
        """Whether the wallet is the fold of its entries up to its seq."""
        wallet = self._wallet
        for field, expected, found in (
            ("balance", entry.balance_after, wallet.balance),
            ("held", entry.held_after, wallet.held),
            ("overdraft_limit", entry.overdraft_limit_after, wallet.overdraft_limit),
            ("status", entry.status_after, wallet.status),
        ):
            if expected != found:
                return self._broken(entry.seq, f"wallet.{field}", expected, found)
        return None

    def _broken(self, place: int, field: str, expected: object, found: object) -> Broken:
        return Broken(
            wallet_id=self._wallet.wallet_id,
            seq=place,
            field=field,
            expected=str(expected),
            found=str(found),
        )


def verify_history(wallet: Wallet, entries: Iterable[Entry]) -> Verified | Broken:
    """Check all entries of `wallet`, oldest first; `wallet` must have been read before them."""
    check = HistoryCheck(wallet)
    for entry in entries:
        broken = check.take(entry)
        if broken is not None:
            return broken
    return check.finish()


def canonical_entry(entry: Entry) -> CanonicalEntry:
    """The fields that the hash covers. The subject of an entry is the hold or the original it is about."""
    return CanonicalEntry(
        wallet_id=entry.wallet_id,
        seq=entry.seq,
        posted_at_us=_microseconds(entry.posted_at),
        kind=entry.kind,
        currency=entry.currency,
        delta=entry.delta,
        held_delta=entry.held_delta,
        balance_after=entry.balance_after,
        held_after=entry.held_after,
        overdraft_limit_after=entry.overdraft_limit_after,
        status_after=entry.status_after,
        transaction_id=entry.transaction_id,
        vendor_id=entry.vendor_id,
        counter_account=entry.counter_account,
        subject_id=entry.original_transaction_id or entry.hold_id,
        subject_vendor_id=entry.subject_vendor_id,
        expires_at_us=None if entry.expires_at is None else _microseconds(entry.expires_at),
        requested_kind=entry.requested_kind,
        requested_amount=entry.requested_amount,
        reason=entry.reason,
        sealed=entry.sealed,
    )


def _amount(entry: Entry) -> int:
    if entry.kind == "refused":
        return entry.requested_amount or 0
    return abs(entry.delta or entry.held_delta)


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
