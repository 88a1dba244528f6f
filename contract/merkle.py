"""The tree over the wallets of a checkpoint (form `v1`): leaf and node hashes, its root, proofs that a leaf is in it.

Shaped as in RFC 6962: of n leaves the left subtree has the largest power of two below n. Leaves and inner nodes are
hashed with different first bytes, so that neither can pass for the other. Fixed for ever, byte for byte; pure.
"""

import hashlib
from collections.abc import Iterable, Sequence

from contract.values import value

FORM = "v1"
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Of a cell without wallets."""
HASH_BYTES = 32

_LEAF, _NODE = b"\x00", b"\x01"


@value
class Leaf:
    """What a checkpoint says of one wallet: how far its log had come, and what it amounted to."""

    wallet_id: str
    seq: int
    head_hash: bytes
    balance: int
    held: int


def leaf_text(leaf: Leaf) -> str:
    return f"{FORM}\n{leaf.wallet_id}\n{leaf.seq}\n{leaf.head_hash.hex()}\n{leaf.balance}\n{leaf.held}"


def leaf_hash(leaf: Leaf) -> bytes:
    return hashlib.sha256(_LEAF + leaf_text(leaf).encode()).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over hashes of leaves, in their order.

    Over roots of subtrees too, if each but the last is full and they are equally large: where the tree is cut into
    pages of a power of two, the roots of the pages are the leaves of the rest.
    """
    level = list(hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def path_of(position: int, hashes: Sequence[bytes]) -> list[bytes]:
    """The siblings from the leaf at this position up to the root."""
    if not 0 <= position < len(hashes):
        raise ValueError(f"position {position} must be one of {len(hashes)}")
    path: list[bytes] = []
    level = list(hashes)
    while len(level) > 1:
        sibling = position ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level, position = _level_above(level), position >> 1
    return path


def root_by_path(hash_: bytes, *, position: int, size: int, path: Iterable[bytes]) -> bytes | None:
    """The root of a tree with `size` leaves in which the leaf at `position` has this hash; None = no such path."""
    if not 0 <= position < size:
        return None
    siblings = iter(path)
    last = size - 1
    while last:
        if position & 1 or position < last:
            sibling = next(siblings, None)
            if sibling is None or len(sibling) != HASH_BYTES:
                return None
            hash_ = node_hash(sibling, hash_) if position & 1 else node_hash(hash_, sibling)
        position, last = position >> 1, last >> 1
    return hash_ if next(siblings, None) is None else None


def _level_above(level: list[bytes]) -> list[bytes]:
    """Pairs are joined; one without a partner rises as it is."""
    above = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above
