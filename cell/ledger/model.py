"""What a cell stores, as values: wallets, entries, recorded outcomes, the state of units.

Instants are whole microseconds since 1970-01-01 UTC (`_us`), amounts are minor units of the wallet's currency.
"""

from dataclasses import field
from typing import Literal, NamedTuple, NewType

from contract.chain import CanonicalEntry, entry_hash
from contract.ids import TransactionId, VendorId, WalletId
from contract.slots import Unit
from contract.values import value

Instant = NewType("Instant", int)
"""Microseconds since 1970-01-01 UTC."""

Status = Literal["active", "suspended", "closed"]
UnitStateName = Literal["active", "fenced", "granted", "moved", "staging", "staged"]


@value
class Wallet:
    """The part of a wallet that decisions need; it is a fold of the wallet's entries."""

    wallet_id: WalletId
    unit: Unit
    owner_type: str
    currency: str
    status: Status
    balance: int
    held: int
    overdraft_limit: int
    seq: int
    head_hash: bytes
    posted_at_us: Instant
    frozen_by: str | None = None
    """The move that has stopped all writes of this wallet."""
    blocked_by: str | None = None
    """The audit or person that has stopped this wallet."""

    @property
    def available(self) -> int:
        return self.balance - self.held + self.overdraft_limit


@value
class Entry(CanonicalEntry):
    """One immutable line of a wallet's log; its hash is a function of all the rest and of the previous hash."""

    previous_hash: bytes
    salt: bytes
    details: str
    context: str
    hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.hash = entry_hash(self.previous_hash, self)  # type: ignore[misc]  # the one write of a derived field


class TransactionKey(NamedTuple):
    """The scope of idempotency. A tuple, because it is hashed several times per command."""

    wallet_id: WalletId
    vendor_id: VendorId
    transaction_id: TransactionId


@value
class Recorded:
    """A recorded outcome: what a replay, a conflict and a reversal need, for ever, without the entry."""

    key: TransactionKey
    kind: str
    """What was asked, as an entry kind; `refused` never stands here, `reason` tells."""
    requested_amount: int | None
    amount: int
    currency: str
    terms: str | None
    """Canonical JSON of all other content that a conflict compares."""
    reason: str | None
    posted_at_us: Instant
    seq: int
    delta: int
    held_delta: int
    balance_after: int
    held_after: int
    overdraft_limit_after: int
    hash: bytes

    @property
    def available_after(self) -> int:
        return self.balance_after - self.held_after + self.overdraft_limit_after


@value
class UnitState:
    """What this cell knows of a unit; absent = never owned here."""

    unit: Unit
    state: UnitStateName
    epoch: int
    peer_cell: str | None = None


@value
class Exile:
    """A wallet that was isolated from its slot: where it went, for ever."""

    wallet_id: WalletId
    unit: Unit
    cell: str
    epoch: int


@value
class OpenedWallet:
    """What only the opening of a wallet writes."""

    wallet: Wallet
    owner_ref: str
    kind: str
    metadata: str
