"""What can be asked of a wallet. A command carries everything that its decision needs but the stored state.

`details` and `context` are canonical JSON texts that enter the entry as they are; `salt` seals them.
"""

from typing import ClassVar

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


Command = Debit | Credit | Reverse | SendTransfer | ChangeWallet | OpenWallet
"""Every command that the write path takes."""
