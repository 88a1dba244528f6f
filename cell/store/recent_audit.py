"""The audit in small rounds: the ends of the logs that have grown since the last one, and the next whole logs in turn.

Each round is one snapshot on a connection of its own and reads a bounded number of entries, but for a wallet whose log
alone is longer. What changed is found by xid, below which nothing can commit any more, so nothing is left out.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import accumulate, takewhile
from typing import ClassVar

from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow

from cell.ledger.invariants import Finding, LogAudit
from cell.store import arrays
from cell.store.audit import ENTRIES, PAGE, WALLETS, audited_entry, audited_wallet
from cell.store.saga_audit import holds_of
from contract.values import value

FIRST_WALLET = "00000000-0000-0000-0000-000000000000"

HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

UP_TO = """
SELECT max(xid)::text::bigint
FROM (SELECT xid FROM entries WHERE xid >= %s::text::xid8 AND xid < %s::text::xid8 AND xid <> '0'::xid8
      ORDER BY xid LIMIT %s) page
"""

GROWN = """
SELECT wallet_id, min(posted_at) FROM entries
WHERE xid >= %s::text::xid8 AND xid <= %s::text::xid8 AND xid <> '0'::xid8 GROUP BY wallet_id
"""

ENDS = f"""
SELECT e.* FROM unnest(%s, %s) AS k (wallet_id, grown_at), LATERAL (
    {ENTRIES}
    WHERE wallet_id = k.wallet_id AND posted_at >= coalesce(
        (SELECT max(posted_at) FROM entries b WHERE b.wallet_id = k.wallet_id AND b.posted_at < k.grown_at), k.grown_at)
) e
ORDER BY e.wallet_id, e.posted_at, e.seq
"""  # noqa: S608 - our own words
"""From the instant before on: its last entry is what the grown end follows."""

NEXT_WALLETS = "SELECT wallet_id, seq FROM owned_wallets WHERE wallet_id > %s ORDER BY wallet_id LIMIT %s"

WHOLE = ENTRIES + "WHERE wallet_id = ANY(%s) ORDER BY wallet_id, posted_at, seq"
SOME_WALLETS = WALLETS + "WHERE wallet_id = ANY(%s) ORDER BY wallet_id"


@value
class Progress:
    """Where the next round begins. None = at what is new from then on."""

    next_xid: int | None = None
    after_wallet: str = FIRST_WALLET


@value
class Round:
    progress: Progress
    wallets: int
    findings: tuple[Finding, ...]
    is_turn_over: bool
    """Whether every wallet has been folded whole since the turn began."""


async def audit_round(database_url: str, progress: Progress, *, entries_max: int) -> Round:
    """Raises psycopg.Error: the database cannot be reached."""
    connection = await AsyncConnection.connect(
        database_url, autocommit=False, options="-c application_name=cell-recent-audit -c timezone=UTC"
    )
    async with connection:
        arrays.register(connection)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        next_xid, grown = await _grown(connection, progress.next_xid, entries_max=entries_max)
        findings, wallets = [], len(grown)
        for start in range(0, len(grown), PAGE):
            findings += await _audit_ends(connection, grown[start : start + PAGE])
        whole = await _next_wallets(connection, progress.after_wallet, entries_max=entries_max)
        findings += await _audit_whole(connection, whole)
    return Round(
        progress=Progress(next_xid=next_xid, after_wallet=whole[-1] if whole else FIRST_WALLET),
        wallets=wallets + len(whole),
        findings=tuple(findings),
        is_turn_over=not whole,
    )


async def _grown(
    connection: AsyncConnection[TupleRow], next_xid: int | None, *, entries_max: int
) -> tuple[int, list[TupleRow]]:
    """Wallets with new entries, each with the instant of its first; and where the next round begins."""
    ((horizon,),) = await _rows(connection, HORIZON)
    if next_xid is None or next_xid > horizon:  # the first round; or another history after a promotion
        return horizon, []
    ((last,),) = await _rows(connection, UP_TO, str(next_xid), str(horizon), entries_max)
    if last is None:
        return horizon, []
    return last + 1, await _rows(connection, GROWN, str(next_xid), str(last))


async def _next_wallets(connection: AsyncConnection[TupleRow], after: str, *, entries_max: int) -> list[str]:
    """As many as their logs together allow, and at least one."""
    rows = await _rows(connection, NEXT_WALLETS, after, PAGE)
    sums = accumulate(seq for _, seq in rows)
    fitting = sum(1 for _ in takewhile(lambda entries: entries <= entries_max, sums))
    return [wallet_id for wallet_id, _ in rows[: max(1, fitting)]]


async def _audit_ends(connection: AsyncConnection[TupleRow], grown: Sequence[TupleRow]) -> list[Finding]:
    wallet_ids, grown_at = zip(*grown, strict=True)
    first: dict[str, int] = dict(zip(wallet_ids, grown_at, strict=True))
    logs = await _logs(connection, wallet_ids)
    previous: dict[str, TupleRow] = {}
    courtesy = _Courtesy()
    for row in await _rows(connection, ENDS, arrays.uuids(wallet_ids), arrays.instants(grown_at)):
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
    return [finding for log in logs.values() for finding in log.finish()]


async def _audit_whole(connection: AsyncConnection[TupleRow], wallet_ids: Sequence[str]) -> list[Finding]:
    logs = await _logs(connection, wallet_ids)
    courtesy = _Courtesy()
    async for row in _stream(connection, wallet_ids):
        log = logs[row[0]]
        log.read(audited_entry(row, log.currency))
        await courtesy.turn()
    return [finding for log in logs.values() for finding in log.finish()]


class _Courtesy:
    """Money goes first: after a few entries the event loop gets its turn."""

    ENTRIES: ClassVar[int] = 20

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


async def _stream(connection: AsyncConnection[TupleRow], wallet_ids: Sequence[str]) -> AsyncIterator[TupleRow]:
    """One wallet's log may be longer than memory."""
    async with connection.cursor("recent_audit", binary=True) as cursor:
        await cursor.execute(WHOLE, (arrays.uuids(wallet_ids),))
        while rows := await cursor.fetchmany(PAGE):
            for row in rows:
                yield row


async def _rows(connection: AsyncConnection[TupleRow], statement: str, *arguments: object) -> list[TupleRow]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement.encode(), arguments or None)
    return await cursor.fetchall()
