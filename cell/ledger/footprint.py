"""What a command touches: the rows to lock and load before its decision.

A view refuses every key that is not in the footprint, so a forgotten lock is a failing test and not a race.
"""

from cell.ledger.commands import Command, OpenWallet, Reverse, SendTransfer
from cell.ledger.model import TransactionKey
from contract.ids import INTERNAL_VENDOR, TransactionId, VendorId, WalletId
from contract.values import value

TRANSFER_VENDOR = VendorId("@transfer")
"""Receipts of transfers are recorded on the receiving wallet under this name and the transfer's id."""


@value
class Footprint:
    wallet_ids: tuple[WalletId, ...]
    transactions: tuple[TransactionKey, ...]
    """Recorded outcomes to know: the command's own first, then those it refers to."""
    originals: tuple[TransactionKey, ...] = ()
    """Transactions whose reversals so far must be known."""
    openings: tuple[WalletId, ...] = ()
    """Wallets that may be opened: their units are locked before any row."""


def key_of(command: Command) -> TransactionKey:
    vendor_id = INTERNAL_VENDOR if isinstance(command, OpenWallet) else command.vendor_id
    return TransactionKey(command.wallet_id, vendor_id, command.transaction_id)


def original_key_of(command: Reverse) -> TransactionKey:
    return TransactionKey(
        wallet_id=command.wallet_id,
        vendor_id=command.original_vendor_id,
        transaction_id=command.original_transaction_id,
    )


def receipt_key_of(command: SendTransfer) -> TransactionKey:
    return TransactionKey(
        wallet_id=command.to_wallet_id,
        vendor_id=TRANSFER_VENDOR,
        transaction_id=TransactionId(command.transfer_id),
    )


def footprint(command: Command) -> Footprint:
    key = key_of(command)
    if isinstance(command, Reverse):
        original = original_key_of(command)
        return Footprint(wallet_ids=(command.wallet_id,), transactions=(key, original), originals=(original,))
    if isinstance(command, SendTransfer):
        return Footprint(
            wallet_ids=(command.wallet_id, command.to_wallet_id),
            transactions=(key, receipt_key_of(command)),
        )
    if isinstance(command, OpenWallet):
        return Footprint(wallet_ids=(command.wallet_id,), transactions=(key,), openings=(command.wallet_id,))
    return Footprint(wallet_ids=(command.wallet_id,), transactions=(key,))


def union(footprints: list[Footprint]) -> Footprint:
    """The footprint of a batch: wallet ids in ascending order, which is the order of locks."""
    return Footprint(
        wallet_ids=tuple(sorted({wallet_id for one in footprints for wallet_id in one.wallet_ids})),
        transactions=tuple({key: None for one in footprints for key in one.transactions}),
        originals=tuple({key: None for one in footprints for key in one.originals}),
        openings=tuple({wallet_id: None for one in footprints for wallet_id in one.openings}),
    )
