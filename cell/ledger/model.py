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

Status = Literal["active", "suspended", "closed", "unopened"]
"""`unopened`: somebody's transfer was refused here before the wallet was opened; to vendors it does not exist."""
HoldKind = Literal["vendor", "group", "pin"]
"""`group` and `pin` are the prepared legs of a group: money set aside, and room set aside for money to come."""
HoldState = Literal["open", "captured", "released", "expired"]
TransferState = Literal["in_transit", "settled", "refunded"]
GroupState = Literal["preparing", "confirmed", "cancelled"]
LegState = Literal["asked", "prepared", "refused", "confirmed", "cancelled"]
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
    pinned: int = 0
    """Room below the bound that money on its way needs: pins of groups, and transfers that may come back."""

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
class Hold:
    """Money set aside, addressed by whoever placed it; a fold of the wallet's entries but for `terms`."""

    key: TransactionKey
    kind: HoldKind
    amount: int
    captured: int
    remaining: int
    state: HoldState
    placed_at_us: Instant
    expires_at_us: Instant | None
    terms: str | None = None
    """Of a group's leg: canonical JSON that names its coordinator."""


@value
class Transfer:
    """Money that left for a wallet of another cell."""

    key: TransactionKey
    transfer_id: TransactionId
    to_wallet_id: WalletId
    amount: int
    currency: str
    state: TransferState
    details: str | None
    """What the receiver's entry will say; gone with the transfer's end, so that it can be erased."""
    sent_at_us: Instant


@value
class Leg:
    """One wallet's part of a group; `amount` is what its balance changes by."""

    wallet_id: WalletId
    amount: int
    state: LegState
    reason: str | None = None
    """Why it was refused."""


@value
class Group:
    """Legs that happen all or not at all, as the anchor's cell knows them."""

    key: TransactionKey
    group_id: TransactionId
    currency: str
    state: GroupState
    is_finished: bool
    """Whether every leg has followed the decision."""
    legs: tuple[Leg, ...]
    details: str | None
    started_at_us: Instant
    decide_by_us: Instant


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
