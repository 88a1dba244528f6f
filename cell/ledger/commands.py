"""What can be asked of a wallet. A command carries everything that its decision needs but the stored state.

`details` and `context` are canonical JSON texts that enter the entry as they are; `salt` seals them.
"""

from typing import ClassVar

from cell.ledger.limits import Caps
from cell.ledger.model import Status
from contract.ids import TransactionId, VendorId, WalletId
from contract.values import value


@value
class _Command:
    wallet_id: WalletId
    vendor_id: VendorId
    transaction_id: TransactionId
    details: str
    context: str
    salt: bytes
    owner_types: frozenset[str] | None = None
    """Types of owners that the caller's token is narrowed to."""
    caps: Caps | None = None
    """Limits of what this vendor may take from this wallet."""


@value
class Debit(_Command):
    KIND: ClassVar[str] = "debit"
    SCOPE_ACTION: ClassVar[str] = "debit"
    amount: int
    currency: str


@value
class Credit(_Command):
    KIND: ClassVar[str] = "credit"
    SCOPE_ACTION: ClassVar[str] = "credit"
    amount: int
    currency: str


@value
class Reverse(_Command):
    """Undo a debit, credit or capture of this wallet, whole or in part, by a compensating entry."""

    KIND: ClassVar[str] = "reversal"
    SCOPE_ACTION: ClassVar[str] = "reverse"
    original_transaction_id: TransactionId
    original_vendor_id: VendorId
    amount: int | None
    """None = all that is left."""


@value
class SendTransfer(_Command):
    KIND: ClassVar[str] = "transfer_out"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    to_wallet_id: WalletId
    transfer_id: TransactionId
    """The name of the receiver's entry; the vendor's own id is not consumed there."""
    amount: int
    currency: str
    may_leave: bool = True
    """Whether this cell has a way to other cells."""


@value
class PlaceHold(_Command):
    """Set money aside; `hold_id` is the transaction's id."""

    KIND: ClassVar[str] = "hold"
    SCOPE_ACTION: ClassVar[str] = "hold"
    amount: int
    currency: str
    expires_in_s: int


@value
class CaptureHold(_Command):
    KIND: ClassVar[str] = "capture"
    SCOPE_ACTION: ClassVar[str] = "hold"
    hold_id: TransactionId
    amount: int | None
    """None = all that remains."""
    is_final: bool
    """Whether what remains afterwards is released."""


@value
class ReleaseHold(_Command):
    KIND: ClassVar[str] = "release"
    SCOPE_ACTION: ClassVar[str] = "hold"
    hold_id: TransactionId


@value
class ExtendHold(_Command):
    """Let a hold expire so long from now."""

    KIND: ClassVar[str] = "extend"
    SCOPE_ACTION: ClassVar[str] = "hold"
    hold_id: TransactionId
    expires_in_s: int


@value
class ExpireHold(_Command):
    """The platform's own: end a hold whose time is over. Has no ladder; finds nothing to do where it came too late."""

    KIND: ClassVar[str] = "expire"
    SCOPE_ACTION: ClassVar[str] = "hold"
    hold_vendor_id: VendorId
    hold_id: TransactionId


@value
class ChangeWallet(_Command):
    KIND: ClassVar[str] = "changed"
    SCOPE_ACTION: ClassVar[str] = "manage"
    status: Status | None
    overdraft_limit: int | None
    metadata: str | None
    """Canonical JSON that replaces the wallet's metadata whole."""


@value
class OpenWallet(_Command):
    """`transaction_id` is the wallet's own id: a wallet is opened once."""

    KIND: ClassVar[str] = "opened"
    SCOPE_ACTION: ClassVar[str] = "open"
    owner_type: str
    owner_ref: str
    kind: str
    currency: str
    overdraft_limit: int
    metadata: str


@value
class ReceiveTransfer(_Command):
    """Another cell's transfer arrives; `transaction_id` is the transfer's, `vendor_id` the vendor who sent it."""

    KIND: ClassVar[str] = "transfer_in"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    from_wallet_id: WalletId
    amount: int
    currency: str


@value
class SettleTransfer(_Command):
    """The receiver has the money: the transfer is over. Writes no entry."""

    KIND: ClassVar[str] = "settle"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    sent_by: VendorId
    sent_as: TransactionId


@value
class RefundTransfer(_Command):
    """The receiver's cell has recorded a refusal: the money comes back."""

    KIND: ClassVar[str] = "refund"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    sent_by: VendorId
    sent_as: TransactionId


@value
class LegAsked:
    wallet_id: WalletId
    amount: int
    """What the wallet's balance shall change by."""
    caps: Caps | None = None


@value
class StartGroup(_Command):
    """Legs over several wallets, all or none; the anchor is `wallet_id`, one of them."""

    KIND: ClassVar[str] = "group"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    group_id: TransactionId
    currency: str
    legs: tuple[LegAsked, ...]
    decide_within_us: int
    may_leave: bool = True
    """Whether this cell has a way to other cells."""


@value
class PrepareLeg(_Command):
    """Set aside what a leg takes or the room for what it brings; `transaction_id` is the group's."""

    KIND: ClassVar[str] = "hold"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    amount: int
    """Signed."""
    currency: str
    coordinator: str
    """Canonical JSON: who decides."""


@value
class DecideGroup(_Command):
    """What the legs of other cells have answered: decide, if everything is known or the time is over."""

    KIND: ClassVar[str] = "decide"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    started_by: VendorId
    started_as: TransactionId
    group_id: TransactionId
    leg_wallet_ids: tuple[WalletId, ...]
    prepared: frozenset[WalletId] = frozenset()
    refused: tuple[tuple[WalletId, str], ...] = ()
    """Each with its reason."""


@value
class ConfirmLeg(_Command):
    KIND: ClassVar[str] = "capture"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    group_id: TransactionId


@value
class CancelLeg(_Command):
    KIND: ClassVar[str] = "release"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    group_id: TransactionId


@value
class MarkLegs(_Command):
    """These legs have followed the decision. Writes no entry."""

    KIND: ClassVar[str] = "mark"
    SCOPE_ACTION: ClassVar[str] = "transfer"
    started_by: VendorId
    started_as: TransactionId
    followed: frozenset[WalletId]


VendorCommand = (
    Debit
    | Credit
    | Reverse
    | SendTransfer
    | PlaceHold
    | CaptureHold
    | ReleaseHold
    | ExtendHold
    | ChangeWallet
    | OpenWallet
    | StartGroup
)
InternalCommand = (
    ExpireHold
    | ReceiveTransfer
    | SettleTransfer
    | RefundTransfer
    | PrepareLeg
    | DecideGroup
    | ConfirmLeg
    | CancelLeg
    | MarkLegs
)
Command = VendorCommand | InternalCommand
"""Every command that the write path takes."""
