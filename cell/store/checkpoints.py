"""Taking a checkpoint: all wallets in one snapshot, their tree page by page, one signed row.

Two connections. One reads, and only reads, so that its long transaction holds back nobody who waits for old ones to
end; the other writes pages as they come, and the row itself last. Whoever dies in between leaves pages without a
checkpoint, which the next one replaces. Steps aside after each page, so that money goes first.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow

from cell.ports import StoreLostError
from cell.store import arrays
from cell.store.checkpoint_pages import PAGE, pack_leaves
from contract.checkpoints import (
    NO_HASH,
    Checkpoint,
    checkpoint_hash,
    parse_document,
    read_checkpoint,
    signed_checkpoint,
)
from contract.merkle import Leaf, leaf_hash, root_of
from contract.signing import canonical_json

PAUSE_S: Final = 0.003
"""Between pages: hashing one keeps the process busy for about as long."""
SLICE: Final = 256
"""Leaves hashed in one go: about a millisecond in which the process serves nobody."""
LOCK_WAIT_MS: Final = 30_000
"""For another process of the cell that is taking one right now."""
STATEMENT_TIMEOUT_MS: Final = 60_000
_CONNECT_TIMEOUT_S: Final = 3

ALL_WALLETS = "SELECT wallet_id, seq, head_hash, balance, held, currency FROM owned_wallets ORDER BY wallet_id"
"""Those of other cells that have rows here, staged or left behind, are theirs to sign."""

INSERT_PAGE = """
INSERT INTO checkpoint_pages (number, page, first_wallet_id, root, leaves) VALUES (%s, %s, %s, %s, %s)
"""

INSERT_CHECKPOINT = """
INSERT INTO checkpoints (number, taken_at, wallets, totals, merkle_root, previous_hash, signature, document)
VALUES (%s, %s::timestamptz, %s, %s, %s, %s, %s, %s)
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Totals:
    """Per currency, as texts: a sum may be larger than any number of the database or of JSON."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, currency: str, balance: int, held: int) -> None:
        sums = self._sums[currency]
        sums[0] += 1
        sums[1] += balance
        sums[2] += held

    def told(self) -> dict[str, dict[str, str]]:
        return {
            currency: {"wallets": str(wallets), "balance": str(balance), "held": str(held)}
            for currency, (wallets, balance, held) in sorted(self._sums.items())
        }


async def take_checkpoint(database_url: str, *, cell: str, key: Ed25519PrivateKey, kept: int) -> Checkpoint:
    """The next checkpoint of the cell; the trees of the newest `kept` remain for proofs.

    Raises:
        StoreLostError: the database cannot be reached, or another process is taking one for too long.

    """
    try:
        async with _connected(database_url) as writer, _connected(database_url) as reader:
            await writer.execute("SELECT pg_advisory_lock(hashtext('cell checkpoint'))")
            return await _take(reader, writer, cell=cell, key=key, kept=kept)
    except psycopg.Error as error:
        raise StoreLostError(str(error).strip()) from error


async def _take(
    reader: AsyncConnection[TupleRow],
    writer: AsyncConnection[TupleRow],
    *,
    cell: str,
    key: Ed25519PrivateKey,
    kept: int,
) -> Checkpoint:
    previous = await _newest(writer)
    number = 1 if previous is None else previous.number + 1
    await writer.execute("DELETE FROM checkpoint_pages WHERE number >= %s", (number,))
    wallets, roots, totals = 0, list[bytes](), _Totals()
    await reader.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await reader.set_read_only(True)
    async with reader.transaction():
        taken_at_us = await _clock(reader)
        async for rows in _pages(reader):
            leaves = [Leaf(wallet_id=r[0], seq=r[1], head_hash=r[2], balance=r[3], held=r[4]) for r in rows]
            for row in rows:
                totals.add(row[5], row[3], row[4])
            roots.append(await _root_of_page(leaves))
            await writer.execute(
                INSERT_PAGE,
                (number, len(roots) - 1, leaves[0].wallet_id, roots[-1], pack_leaves(leaves)),
            )
            wallets += len(leaves)
            await asyncio.sleep(PAUSE_S)
    text = signed_checkpoint(
        cell=cell,
        number=number,
        taken_at=_instant_text(taken_at_us),
        wallets=wallets,
        totals=totals.told(),
        merkle_root=root_of(roots),
        previous_hash=NO_HASH if previous is None else checkpoint_hash(previous.document),
        key=key,
    )
    await _save(writer, text, kept=kept)
    return read_checkpoint(parse_document(text))


async def _root_of_page(leaves: list[Leaf]) -> bytes:
    hashes: list[bytes] = []
    for at in range(0, len(leaves), SLICE):
        hashes += [leaf_hash(leaf) for leaf in leaves[at : at + SLICE]]
        await asyncio.sleep(0)
    return root_of(hashes)


async def _save(writer: AsyncConnection[TupleRow], text: str, *, kept: int) -> None:
    """Number and primary key let only one of two processes through, whatever became of the lock."""
    checkpoint = read_checkpoint(parse_document(text))
    async with writer.transaction():
        await writer.execute(
            INSERT_CHECKPOINT,
            (
                checkpoint.number,
                checkpoint.taken_at,
                checkpoint.wallets,
                canonical_json(checkpoint.totals),
                bytes.fromhex(checkpoint.merkle_root),
                bytes.fromhex(checkpoint.previous_hash),
                checkpoint.document["signature"]["value"],
                text,
            ),
        )
        await writer.execute("DELETE FROM checkpoint_pages WHERE number <= %s", (checkpoint.number - kept,))


async def _newest(connection: AsyncConnection[TupleRow]) -> Checkpoint | None:
    """Its own words are believed only as far as its signature goes: a forged one is not built upon."""
    cursor = await connection.execute("SELECT document FROM checkpoints ORDER BY number DESC LIMIT 1")
    row = await cursor.fetchone()
    return None if row is None else read_checkpoint(parse_document(row[0]))


async def _clock(connection: AsyncConnection[TupleRow]) -> int:
    cursor = connection.cursor(binary=True)
    await cursor.execute("SELECT clock_timestamp()")
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    instant_us: int = row[0]
    return instant_us


async def _pages(connection: AsyncConnection[TupleRow]) -> AsyncIterator[list[TupleRow]]:
    async with connection.cursor("checkpoint", binary=True) as cursor:
        await cursor.execute(ALL_WALLETS)
        while rows := await cursor.fetchmany(PAGE):
            yield rows


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    options = (
        "-c application_name=cell-checkpoint -c timezone=UTC "
        f"-c lock_timeout={LOCK_WAIT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS}"
    )
    connection = await AsyncConnection.connect(
        database_url, autocommit=True, options=options, connect_timeout=_CONNECT_TIMEOUT_S, tcp_user_timeout=5_000
    )
    async with connection:
        arrays.register(connection)
        yield connection


def _instant_text(instant_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=instant_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
