"""The audit of a cell's checkpoints (P5, docs/INVARIANTS.md): their chain, their signatures, their kept trees.

Reads through the snapshot of the audit that calls it, and tells it what does not hold. What the newest tree says of
each wallet is compared with that wallet's own log: a history that was written again since does not pass through it.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cell.store.checkpoint_pages import unpack_leaves
from contract.checkpoints import (
    Checkpoint,
    CheckpointMustHoldError,
    parse_document,
    read_checkpoint,
    verify_checkpoint,
    verify_link,
)
from contract.ids import WalletId
from contract.merkle import Leaf, leaf_hash, root_of
from contract.signing import PublicKeys, canonical_json
from contract.slots import slot_of

INVARIANT = "P5"

ROWS = """
SELECT number, document, wallets, totals, merkle_root, previous_hash, signature FROM checkpoints ORDER BY number
"""

PAGES = """
SELECT number, page, root, leaves FROM checkpoint_pages
WHERE number <= (SELECT max(number) FROM checkpoints) ORDER BY number, page
"""
"""Pages above the newest checkpoint belong to one that is being taken right now."""

GONE_FROM_LOG = """
WITH leaf AS (
    SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::bytea[], %s::bigint[], %s::bigint[])
        AS one (wallet_id, seq, hash, balance, held)
)
SELECT l.wallet_id, l.seq, l.hash, l.balance, l.held, e.hash, e.balance_after, e.held_after, w.wallet_id IS NOT NULL
FROM leaf l
LEFT JOIN entries e ON e.wallet_id = l.wallet_id AND e.seq = l.seq
LEFT JOIN owned_wallets w ON w.wallet_id = l.wallet_id
WHERE (e.hash, e.balance_after, e.held_after) IS DISTINCT FROM (l.hash, l.balance, l.held)
"""

LEFT_THE_CELL = """
SELECT wallet_id FROM isolated WHERE wallet_id = ANY(%s::uuid[])
"""
LEFT_UNITS = "SELECT unit FROM unit_state WHERE state = 'moved'"


class Audit(Protocol):
    """The snapshot of cell/store/audit.py."""

    connection: AsyncConnection[TupleRow]

    def find(self, invariant: str, field: str, expected: object, found: object, **place: object) -> None: ...
    def pages(self, statement: str) -> AsyncIterator[list[TupleRow]]: ...


async def check_checkpoints(audit: Audit, keys: PublicKeys) -> int:
    """The chain from its first link to its newest, which a trusted key must have signed; then the kept trees.

    Gives the number of checkpoints.
    """
    newest, count = await _check_chain(audit)
    if newest is None:
        return 0
    try:
        verify_checkpoint(newest.document, keys)
    except CheckpointMustHoldError as error:
        _tell(audit, newest.number, error)
    await _check_trees(audit, newest)
    return count


async def _check_chain(audit: Audit) -> tuple[Checkpoint | None, int]:
    previous: Checkpoint | None = None
    count = 0
    async for rows in audit.pages(ROWS):
        for row in rows:
            count += 1
            try:
                checkpoint = read_checkpoint(parse_document(row[1]))
                verify_link(previous, checkpoint)
            except CheckpointMustHoldError as error:
                _tell(audit, row[0], error)
                # What follows a broken link is compared among itself: one theft is one finding, not thousands.
                previous = _as_it_stands(row[1]) or previous
                continue
            audit.find(INVARIANT, f"columns of checkpoint {row[0]}", _columns_of(checkpoint), tuple(row[:1] + row[2:]))
            previous = checkpoint
    return previous, count


def _columns_of(checkpoint: Checkpoint) -> tuple[object, ...]:
    return (
        checkpoint.number,
        checkpoint.wallets,
        canonical_json(checkpoint.totals),
        bytes.fromhex(checkpoint.merkle_root),
        bytes.fromhex(checkpoint.previous_hash),
        checkpoint.document["signature"]["value"],
    )


def _as_it_stands(text: str) -> Checkpoint | None:
    try:
        return read_checkpoint(parse_document(text))
    except CheckpointMustHoldError:
        return None


async def _check_trees(audit: Audit, newest: Checkpoint) -> None:
    """Each kept page is the subtree that it says; those of the newest tree give its signed root, and fit the logs."""
    roots: list[bytes] = []
    wallets = 0
    async for rows in audit.pages(PAGES):
        for number, page, root, packed in rows:
            leaves = unpack_leaves(packed)
            audit.find(
                INVARIANT, f"page {page} of checkpoint {number}", root, root_of([leaf_hash(leaf) for leaf in leaves])
            )
            if number == newest.number:
                roots.append(root)
                wallets += len(leaves)
                await _check_leaves(audit, number, leaves)
    place = f"of checkpoint {newest.number}"
    audit.find(INVARIANT, f"wallets {place}", newest.wallets, wallets)
    audit.find(INVARIANT, f"tree {place}", newest.merkle_root, root_of(roots).hex())


async def _check_leaves(audit: Audit, number: int, leaves: list[Leaf]) -> None:
    columns = (
        [leaf.wallet_id for leaf in leaves],
        [leaf.seq for leaf in leaves],
        [leaf.head_hash for leaf in leaves],
        [leaf.balance for leaf in leaves],
        [leaf.held for leaf in leaves],
    )
    cursor = audit.connection.cursor(binary=True)
    await cursor.execute(GONE_FROM_LOG, columns)
    differing = await cursor.fetchall()
    moved = await _moved_away(audit, [row[0] for row in differing if not row[8]])
    for row in differing:
        if row[0] not in moved:
            audit.find(
                INVARIANT,
                f"checkpoint {number}: hash, balance, held",
                tuple(row[2:5]),
                tuple(row[5:8]),
                wallet_id=row[0],
                seq=row[1],
            )


async def _moved_away(audit: Audit, absent: list[str]) -> set[str]:
    """Wallets that left this cell in good order are not expected here any more."""
    if not absent:
        return set()
    cursor = audit.connection.cursor(binary=True)
    await cursor.execute(LEFT_UNITS)
    units = {row[0] for row in await cursor.fetchall()}
    await cursor.execute(LEFT_THE_CELL, (absent,))
    return {row[0] for row in await cursor.fetchall()} | {one for one in absent if slot_of(WalletId(one)) in units}


def _tell(audit: Audit, number: int, error: CheckpointMustHoldError) -> None:
    audit.find(INVARIANT, f"{error.field} of checkpoint {number}", error.expected, error.found)
