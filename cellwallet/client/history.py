"""Checking a wallet's history without trusting the cell: numbers, instants, sums, the hash chain, and, with a proof,
that the chain passes through what the cell signed in a checkpoint.

Everything is recomputed from the public fields of the entries, in the order of seq, by contract/chain.py. Descriptions
and metadata are not covered: the chain holds a salted hash of them (`sealed`), so that they can be erased.
Pure: the entries come in as arguments, from wherever they were read.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from cellwallet.client.results import Entry, Wallet
from contract.chain import ZERO_HASH, CanonicalEntry, entry_hash
from contract.checkpoints import Proof
from contract.values import value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
NO_CURRENCY = "X" * 3
"""ISO 4217's code for none."""


@value
class Verified:
    wallet_id: str
    entries: int
    balance: int
    currency: str
    head_hash: str
    """Of the last entry that was read."""
    checkpoint: "Signed | None" = None
    """None = nothing that the cell signed was compared with."""


@value
class Signed:
    """The checkpoint that the history passes through: all up to entry `seq` is what the cell signed."""

    cell: str
    number: int
    taken_at: str
    seq: int


@value
class Broken:
    """The first entry, by its place in the log, that cannot be; `field` is what shows it."""

    wallet_id: str
    seq: int
    field: str
    expected: str
    found: str
    checkpoint: int | None = None
    """Set where it is the checkpoint, or the proof, that cannot be."""

    def __str__(self) -> str:
        place = f"entry {self.seq}" if self.checkpoint is None else f"checkpoint {self.checkpoint}"
        return f"{place}: {self.field} must be {self.expected}, found {self.found}"


class HistoryCheck:
    """Takes the entries of one wallet in the order of seq; the first fault ends it.

    `wallet` was read before the entries, so the log may have grown beyond it: it is compared with the entry of its own
    seq, and entries after that one are checked among themselves.
    """

    def __init__(self, wallet: Wallet, proof: Proof | None = None) -> None:
        """`proof` must have been verified (contract/checkpoints.py), and read before the entries."""
        self._wallet = wallet
        self._proof = proof
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
        if self._proof is not None and place == self._proof.leaf.seq:
            broken = self._compare_leaf(self._proof, entry)
            if broken is not None:
                return broken
        return self._compare_head(entry) if place == self._wallet.seq else None

    def finish(self) -> Verified | Broken:
        proof = self._proof
        if proof is not None and proof.leaf.wallet_id != self._wallet.wallet_id:
            wanted = self._wallet.wallet_id
            return self._broken(proof.leaf.seq, "checkpoint.wallet_id", wanted, proof.leaf.wallet_id)
        if self._seq < max(self._wallet.seq, 0 if proof is None else proof.leaf.seq):
            return self._broken(self._seq + 1, "seq", self._seq + 1, "no entry")
        return Verified(
            wallet_id=self._wallet.wallet_id,
            entries=self._seq,
            balance=self._balance,
            currency=self._wallet.currency,
            head_hash=self._hash.hex(),
            checkpoint=None if proof is None else _signed(proof),
        )

    def _expectations(self, entry: Entry, computed_hash: str) -> Iterator[tuple[str, object, object]]:
        yield "seq", self._seq + 1, entry.seq
        yield "wallet_id", self._wallet.wallet_id, entry.wallet_id
        # Before its opening a wallet has none: what was refused then was hashed so.
        yield "currency", self._wallet.currency if entry.status_after != "unopened" else NO_CURRENCY, entry.currency
        yield "posted_at", max(self._posted_at, entry.posted_at), entry.posted_at
        yield "balance_after", self._balance + entry.delta, entry.balance_after
        yield "held_after", self._held + entry.held_delta, entry.held_after
        yield (
            "available",
            entry.balance_after - entry.held_after + entry.overdraft_limit_after,
            entry.available,
        )
        yield "amount", _amount(entry), entry.amount
        # Names of the subject for readers: covered by the hash only as far as they repeat it.
        yield "original_transaction_id", entry.original_transaction_id or entry.subject_id, entry.subject_id
        yield "hold_id", entry.hold_id or entry.subject_id, entry.subject_id
        yield "entry_hash", computed_hash, entry.entry_hash

    def _compare_leaf(self, proof: Proof, entry: Entry) -> Broken | None:
        """Whether the log passes through what the cell has signed."""
        for field, signed, found in (
            ("entry_hash", proof.leaf.head_hash.hex(), entry.entry_hash),
            ("balance_after", proof.leaf.balance, entry.balance_after),
            ("held_after", proof.leaf.held, entry.held_after),
        ):
            if signed != found:
                return self._broken(entry.seq, f"checkpoint.{field}", signed, found)
        return None

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


def verify_history(wallet: Wallet, entries: Iterable[Entry], proof: Proof | None = None) -> Verified | Broken:
    """Check all entries of `wallet`, oldest first; `wallet` and `proof` must have been read before them."""
    check = HistoryCheck(wallet, proof)
    for entry in entries:
        broken = check.take(entry)
        if broken is not None:
            return broken
    return check.finish()


def canonical_entry(entry: Entry) -> CanonicalEntry:
    """The fields that the hash covers."""
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
        subject_id=entry.subject_id,
        subject_vendor_id=entry.subject_vendor_id,
        expires_at_us=None if entry.expires_at is None else _microseconds(entry.expires_at),
        requested_kind=entry.requested_kind,
        requested_amount=entry.requested_amount,
        reason=entry.reason,
        sealed=entry.sealed,
    )


def _signed(proof: Proof) -> Signed:
    checkpoint = proof.checkpoint
    return Signed(cell=checkpoint.cell, number=checkpoint.number, taken_at=checkpoint.taken_at, seq=proof.leaf.seq)


def _amount(entry: Entry) -> int:
    if entry.kind == "refused":
        return entry.requested_amount or 0
    return abs(entry.delta or entry.held_delta or entry.requested_amount or 0)


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
