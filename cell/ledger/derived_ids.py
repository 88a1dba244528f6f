"""Ids of what the platform itself does: computed, so that whoever does it again does the same thing once.

Each is scoped by the wallet and by a reserved vendor of its own, so that it can never meet a vendor's id.
"""

import uuid

from contract.ids import TransactionId, VendorId, WalletId

TRANSFER_VENDOR = VendorId("@transfer")
"""Receipts of transfers are recorded on the receiving wallet under this name and the transfer's id."""
GROUP_VENDOR = VendorId("@group")
"""Legs of groups are recorded on their wallets under this name and the group's id, which is their hold's id too."""


def transfer_id_of(wallet_id: WalletId, vendor_id: VendorId, transaction_id: TransactionId) -> TransactionId:
    return _derived(wallet_id, f"transfer:{vendor_id}:{transaction_id}")


def group_id_of(wallet_id: WalletId, vendor_id: VendorId, transaction_id: TransactionId) -> TransactionId:
    return _derived(wallet_id, f"group:{vendor_id}:{transaction_id}")


def refund_id_of(transfer_id: TransactionId) -> TransactionId:
    return _derived(transfer_id, "refund")


def confirm_id_of(group_id: TransactionId) -> TransactionId:
    return _derived(group_id, "confirm")


def cancel_id_of(group_id: TransactionId) -> TransactionId:
    return _derived(group_id, "cancel")


def expire_id_of(vendor_id: VendorId, hold_id: TransactionId) -> TransactionId:
    return _derived(hold_id, f"expire:{vendor_id}")


def _derived(namespace: str, name: str) -> TransactionId:
    return TransactionId(str(uuid.uuid5(uuid.UUID(namespace), name)))
