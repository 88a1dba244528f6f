"""A page of a checkpoint's tree as the database holds it: leaves packed to a fixed size, and back.

A page holds a power of two of leaves, so it is a subtree, and a proof reads one page and the roots of the others.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final
from uuid import UUID

from contract.merkle import HASH_BYTES, Leaf

PAGE: Final = 1_024
"""Leaves per page: 72 KB, a few milliseconds to hash."""

_LEAF: Final = Struct(">16sqqq32s")


class LeafMustBeWholeError(Exception):
    """The row of a wallet has a head hash that is none: nobody may sign it."""


def pack_leaves(leaves: Sequence[Leaf]) -> bytes:
    for leaf in leaves:
        if len(leaf.head_hash) != HASH_BYTES:
            raise LeafMustBeWholeError(f"wallet {leaf.wallet_id} has a head hash of {len(leaf.head_hash)} bytes")
    return b"".join(
        _LEAF.pack(bytes.fromhex(leaf.wallet_id.replace("-", "")), leaf.seq, leaf.balance, leaf.held, leaf.head_hash)
        for leaf in leaves
    )


def unpack_leaves(page: bytes) -> list[Leaf]:
    """A torn end is left out: the root then tells that something is missing."""
    whole = page[: len(page) - len(page) % _LEAF.size]
    return [
        Leaf(wallet_id=str(UUID(bytes=id_)), seq=seq, balance=balance, held=held, head_hash=head_hash)
        for id_, seq, balance, held, head_hash in _LEAF.iter_unpack(whole)
    ]
