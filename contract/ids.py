"""Ids of wallets, owners, vendors and transactions: their forms, and the computed id of a wallet.

One owner has one wallet per kind and currency in the whole fleet without a global index, because the id is a
function of exactly these four.
"""

import re
import uuid
from typing import NewType

WalletId = NewType("WalletId", str)
"""Canonical lower-case UUID text."""

TransactionId = NewType("TransactionId", str)
"""Canonical lower-case UUID text, of any version."""

VendorId = NewType("VendorId", str)
CellId = NewType("CellId", str)

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"
"""Owner types and wallet kinds."""
OWNER_REF_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]{1,128}$"
"""1-128 characters without control characters; taken as its exact UTF-8 bytes."""
VENDOR_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
"""A vendor id may not begin with '@': those are the platform's own."""
CELL_PATTERN = r"^[a-z][a-z0-9-]{0,31}$"

INTERNAL_VENDOR = VendorId("@cell")
"""Commands that the platform itself issues are recorded under this name."""

_UUID = re.compile(UUID_PATTERN)
_VENDOR = re.compile(VENDOR_PATTERN)


def is_canonical_uuid(text: str) -> bool:
    return len(text) == 36 and _UUID.fullmatch(text) is not None


def is_vendor_id(text: str) -> bool:
    return _VENDOR.fullmatch(text) is not None


def wallet_id_of(*, owner_type: str, owner_ref: str, kind: str, currency: str) -> WalletId:
    """The id of the one wallet that this owner has of this kind in this currency."""
    name = f"wallet:{owner_type}:{owner_ref}:{kind}:{currency}"
    return WalletId(str(uuid.uuid5(uuid.NAMESPACE_OID, name)))
