"""The audit in small rounds: the parts of logs that have grown since the last one, and the next logs in turn.

Each round is one snapshot on a connection of its own and reads a bounded number of entries, however long a log is and
however much is new: a long log is read in pieces, each continuing where the one before ended. What changed is found by
xid, below which nothing can commit any more, so nothing is left out.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import ClassVar

from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow

from cell.ledger.invariants import Finding, LogAudit
from cell.store import arrays
from cell.store.audit import ENTRIES, PAGE, WALLETS, audited_entry, audited_wallet
from cell.store.saga_audit import holds_of
from contract.values import value

FETCHED_MAX = 50
FIRST_WALLET = "00000000-0000-0000-0000-000000000000"

HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

UP_TO = """
SELECT max(xid)::text::bigint, count(*)
FROM (SELECT xid FROM entries WHERE xid >= %s::text::xid8 AND xid < %s::text::xid8 AND xid <> '0'::xid8
      ORDER BY xid LIMIT %s) page
"""

GROWN = """
SELECT wallet_id, min(posted_at), max(posted_at) FROM entries
WHERE xid >= %s::text::xid8 AND xid <= %s::text::xid8 AND xid <> '0'::xid8 GROUP BY wallet_id
"""

GROWTH = f"""
SELECT e.* FROM unnest(%s, %s, %s) AS k (wallet_id, grown_at, grown_to), LATERAL (
    {ENTRIES}
    WHERE wallet_id = k.wallet_id AND posted_at <= k.grown_to AND posted_at >= coalesce(
        (SELECT max(posted_at) FROM entries b WHERE b.wallet_id = k.wallet_id AND b.posted_at < k.grown_at), k.grown_at)
) e
ORDER BY e.wallet_id, e.posted_at, e.seq
"""  # noqa: S608 - our own words
"""From the instant before on: its last entry is what the growth follows. And no further than the window, for a log may
have grown by a million entries since; within a log instants and numbers rise together, so nothing in between is left
out, whatever its xid."""

ENDED = """
SELECT k.wallet_id FROM unnest(%s, %s) AS k (wallet_id, grown_to)
WHERE NOT EXISTS (SELECT FROM entries e WHERE e.wallet_id = k.wallet_id AND e.posted_at > k.grown_to)
"""
"""Logs that end with the window: only these can be held against their rows."""

NEXT_WALLETS = "SELECT wallet_id, seq FROM owned_wallets WHERE wallet_id > %s ORDER BY wallet_id LIMIT %s"

PIECE = f"""
SELECT e.* FROM unnest(%s, %s) AS k (wallet_id, read_to), LATERAL (
    {ENTRIES}
    WHERE wallet_id = k.wallet_id AND posted_at >= k.read_to AND (posted_at, seq) >= (k.read_to, %s)
    ORDER BY posted_at, seq LIMIT %s
) e
ORDER BY e.posted_at, e.seq
"""  # noqa: S608 - our own words
"""Of one long log, from its last entry that was read."""

WHOLE = ENTRIES + "WHERE wallet_id = ANY(%s) ORDER BY wallet_id, posted_at, seq"
SOME_WALLETS = WALLETS + "WHERE wallet_id = ANY(%s) ORDER BY wallet_id"


@value
class Progress:
    """Where the next round begins. None = at what is new from then on."""

    next_xid: int | None = None
    after_wallet: str = FIRST_WALLET
    within: tuple[int, int] | None = None
    """The next wallet's log is long and read in pieces: instant and number of the last entry that was read."""


@value
class Round:
    progress: Progress
    wallets: int
    findings: tuple[Finding, ...]
    entries: int
    """How many were read."""
    is_behind: bool
    """More is new than a round may read."""
    is_turn_over: bool
    """Whether every log has been read whole since the turn began."""


async def audit_round(database_url: str, progress: Progress, *, entries_max: int) -> Round:
    """Raises psycopg.Error: the database cannot be reached."""
    connection = await AsyncConnection.connect(
        database_url, autocommit=False, options="-c application_name=cell-recent-audit -c timezone=UTC"
    )
    async with connection:
        arrays.register(connection)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        window = await _grown(connection, progress.next_xid, entries_max=entries_max)
        findings: list[Finding] = []
        wallets, entries = len(window.grown), 0
        for start in range(0, len(window.grown), PAGE):
            found, read = await _audit_growth(connection, window.grown[start : start + PAGE])
            findings, entries = findings + found, entries + read
        turn = await _audit_next(connection, progress, entries_max=entries_max)
    return Round(
        progress=replace(turn.progress, next_xid=window.next_xid),
        wallets=wallets + turn.wallets,
        findings=(*findings, *turn.findings),
        entries=entries + turn.entries,
        is_behind=window.is_behind,
        is_turn_over=turn.is_over,
    )


@value
class _Window:
    next_xid: int
    """Where the next round begins."""
    grown: Sequence[TupleRow] = ()
    """Wallets with new entries, each with the instants of its first and its last one in this window."""
    is_behind: bool = False


@value
class _Turn:
    progress: Progress
    wallets: int = 0
    findings: tuple[Finding, ...] = ()
    entries: int = 0
    is_over: bool = False


async def _grown(connection: AsyncConnection[TupleRow], next_xid: int | None, *, entries_max: int) -> _Window:
    ((horizon,),) = await _rows(connection, HORIZON)
    if next_xid is None or next_xid > horizon:  # the first round; or another history after a promotion
        return _Window(next_xid=horizon)
    ((last, count),) = await _rows(connection, UP_TO, str(next_xid), str(horizon), entries_max)
    if last is None:
        return _Window(next_xid=horizon)
    grown = await _rows(connection, GROWN, str(next_xid), str(last))
    return _Window(next_xid=last + 1, grown=grown, is_behind=count >= entries_max)


async def _audit_growth(connection: AsyncConnection[TupleRow], grown: Sequence[TupleRow]) -> tuple[list[Finding], int]:
    wallet_ids, grown_at, grown_to = zip(*grown, strict=True)
    first: dict[str, int] = dict(zip(wallet_ids, grown_at, strict=True))
    logs = await _logs(connection, wallet_ids)
    previous: dict[str, TupleRow] = {}
    courtesy = _Courtesy()
    columns = (arrays.uuids(wallet_ids), arrays.instants(grown_at), arrays.instants(grown_to))
    read = 0
    async for row in _stream(connection, GROWTH, *columns):
        read += 1
        wallet_id, log = row[0], logs.get(row[0])
        if log is None:  # an orphan, which is the whole audit's to tell
            continue
        if row[2] < first[wallet_id]:
            previous[wallet_id] = row
            continue
        if wallet_id in previous:
            before = previous.pop(wallet_id)
            log.resume(audited_entry(before, log.currency))
        log.read(audited_entry(row, log.currency))
        await courtesy.turn()
    ended = {row[0] for row in await _rows(connection, ENDED, columns[0], columns[2])}
    found = (log.finish() if wallet_id in ended else log.findings for wallet_id, log in logs.items())
    return [finding for findings in found for finding in findings], read


async def _audit_next(connection: AsyncConnection[TupleRow], progress: Progress, *, entries_max: int) -> _Turn:
    """The next logs in turn: as many as fit whole, or the next piece of one that does not."""
    ahead = await _rows(connection, NEXT_WALLETS, progress.after_wallet, PAGE)
    if not ahead:
        return _Turn(progress=Progress(), is_over=True)
    if progress.within is not None or ahead[0][1] > entries_max:
        return await _audit_piece(connection, ahead[0][0], progress, entries_max=entries_max)
    sums = accumulate(seq for _, seq in ahead)
    whole = [wallet_id for (wallet_id, _), entries in zip(ahead, sums, strict=True) if entries <= entries_max]
    findings, entries = await _audit_whole(connection, whole)
    after = Progress(after_wallet=whole[-1])
    return _Turn(progress=after, wallets=len(whole), findings=tuple(findings), entries=entries)


async def _audit_piece(
    connection: AsyncConnection[TupleRow], wallet_id: str, progress: Progress, *, entries_max: int
) -> _Turn:
    """What only a whole log tells (its holds, the sums of its reversals) is left to the full audit."""
    logs = await _logs(connection, [wallet_id])
    log = logs[wallet_id]
    read_to, seq = progress.within or (0, 0)
    limit = entries_max + 1
    piece = (arrays.uuids([wallet_id]), arrays.instants([read_to]), seq, limit)
    courtesy, read, last = _Courtesy(), 0, progress.within
    async for row in _stream(connection, PIECE, *piece):
        read += 1
        if read == 1 and progress.within is not None:
            log.resume(audited_entry(row, log.currency))
        else:
            log.read(audited_entry(row, log.currency))
        last = (row[2], row[1])
        await courtesy.turn()
    is_more = read == limit
    after = replace(progress, within=last) if is_more else Progress(after_wallet=wallet_id)
    found = log.findings if is_more else log.finish()
    return _Turn(progress=after, wallets=0 if is_more else 1, findings=tuple(found), entries=read)


async def _audit_whole(connection: AsyncConnection[TupleRow], wallet_ids: Sequence[str]) -> tuple[list[Finding], int]:
    logs = await _logs(connection, wallet_ids)
    courtesy, read = _Courtesy(), 0
    async for row in _stream(connection, WHOLE, arrays.uuids(wallet_ids)):
        read += 1
        log = logs[row[0]]
        log.read(audited_entry(row, log.currency))
        await courtesy.turn()
    return [finding for log in logs.values() for finding in log.finish()], read


class _Courtesy:
    """Money goes first: after a few entries the event loop gets its turn."""

    ENTRIES: ClassVar[int] = 20
    """A millisecond of reading and hashing, in which nobody else is served."""

    def __init__(self) -> None:
        self._left = self.ENTRIES

    async def turn(self) -> None:
        self._left -= 1
        if not self._left:
            self._left = self.ENTRIES
            await asyncio.sleep(0)


async def _logs(connection: AsyncConnection[TupleRow], wallet_ids: Sequence[str]) -> dict[str, LogAudit]:
    holds = await holds_of(connection, wallet_ids)
    rows = await _rows(connection, SOME_WALLETS, arrays.uuids(wallet_ids))
    return {row[0]: LogAudit(audited_wallet(row), holds[row[0]]) for row in rows}


async def _stream(connection: AsyncConnection[TupleRow], statement: str, *arguments: object) -> AsyncIterator[TupleRow]:
    """A few at a time: to make values of thousands of rows at once would keep everybody waiting."""
    async with connection.cursor("recent_audit", binary=True) as cursor:
        await cursor.execute(statement.encode(), arguments)
        while rows := await cursor.fetchmany(FETCHED_MAX):
            for row in rows:
                yield row


async def _rows(connection: AsyncConnection[TupleRow], statement: str, *arguments: object) -> list[TupleRow]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement.encode(), arguments or None)
    return await cursor.fetchall()
