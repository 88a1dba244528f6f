"""What the relay asks of the database: windows of entries, cursors, marks. One sink's affairs per object.

Reads commit nothing and hold no transaction open, so that no relay holds back another's horizon. How far a sink has
come is written in one transaction, as a compare-and-set: a holder that has lost its duty can do no harm.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

from sqlalchemy import Column, Uuid

from cell.store.own_connection import OwnConnection
from cell.store.tables import entries
from contract.values import value

Sink = Literal["broker", "webhooks"]

StoredEvent = Any
"""A row of `entries` by name, with the currency of its wallet; `xid` is an integer in text."""

LAG_MAX = 100_000
"""Beyond so many the lag is only known to be more."""


def _column(column: Column[Any]) -> str:
    return f"e.{column.name}::text AS {column.name}" if isinstance(column.type, Uuid) else f"e.{column.name}"


_SHOWN = ", ".join(_column(one) for one in entries.c if one.name not in {"salt", "xid"})
_ENTRY = (
    f"SELECT {_SHOWN}, e.xid::text::bigint AS xid, w.currency "  # noqa: S608 - our own words
    "FROM entries e JOIN wallets w ON w.wallet_id = e.wallet_id"
)

# Above any xid that this cluster has given, below any that it will give to a transaction that is not open by now.
HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

HISTORY = (
    "SELECT system_identifier::text || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) "
    "FROM pg_control_system()"
)

MARK = "SELECT history, next_xid::text::bigint AS next_xid, listening_since FROM relay_marks WHERE sink = %s"

BEGIN = """
INSERT INTO relay_marks (sink, history, next_xid, listening_since) VALUES (%s, %s, %s::text::xid8, %s)
ON CONFLICT (sink) DO UPDATE
    SET history = excluded.history, next_xid = excluded.next_xid, listening_since = excluded.listening_since
"""

ADVANCE = """
UPDATE relay_marks SET next_xid = %s::text::xid8 WHERE sink = %s AND history = %s AND next_xid = %s::text::xid8
"""

WINDOW = f"""
{_ENTRY} WHERE e.xid >= %s::text::xid8 AND e.xid < %s::text::xid8 AND e.xid <> '0'::xid8 ORDER BY e.xid LIMIT %s
"""

OLDER = f"""
{_ENTRY} WHERE e.wallet_id = %s AND (e.posted_at, e.seq) <= (%s, %s) ORDER BY e.posted_at DESC, e.seq DESC LIMIT %s
"""

CURSORS = "SELECT wallet_id::text, seq FROM event_cursors WHERE sink = %s AND wallet_id = ANY(%s::uuid[])"

MOVE_CURSORS = """
INSERT INTO event_cursors (sink, wallet_id, seq)
SELECT %s, told.wallet_id, told.seq FROM unnest(%s::uuid[], %s::bigint[]) AS told (wallet_id, seq)
ON CONFLICT (sink, wallet_id) DO UPDATE SET seq = excluded.seq WHERE event_cursors.seq < excluded.seq
"""

WALLETS = """
SELECT w.wallet_id::text, w.seq, w.posted_at, coalesce(c.seq, 0) AS told,
       (SELECT min(e.after_seq) FROM event_waits e WHERE e.sink = s.sink AND e.wallet_id = w.wallet_id) AS upto
FROM (SELECT %s AS sink) s CROSS JOIN wallets w
LEFT JOIN event_cursors c ON c.wallet_id = w.wallet_id AND c.sink = s.sink
WHERE w.wallet_id > %s ORDER BY w.wallet_id LIMIT %s
"""

LIMITS = """
SELECT wallet_id::text, min(after_seq) AS upto FROM event_waits
WHERE sink = %s AND wallet_id = ANY(%s::uuid[]) GROUP BY wallet_id
"""
"""Above it nothing is told of the wallet: the cell that had it before has not told all of its own."""

# In one statement: what arrives again in between has entries that this does not see.
KEPT_BACK = f"""
WITH due AS MATERIALIZED (
    SELECT ended.*, coalesce(c.seq, 0) AS told FROM (
        SELECT e.wallet_id, min(e.after_seq) AS after_seq, array_agg(e.received_no) AS received_nos,
               (SELECT min(o.after_seq) FROM event_waits o
                WHERE o.sink = e.sink AND o.wallet_id = e.wallet_id AND NOT o.is_over) AS upto
        FROM event_waits e WHERE e.sink = %(sink)s AND e.is_over GROUP BY e.sink, e.wallet_id
    ) ended LEFT JOIN event_cursors c ON c.sink = %(sink)s AND c.wallet_id = ended.wallet_id
    ORDER BY ended.wallet_id LIMIT %(wallets_max)s
)
SELECT d.wallet_id::text AS waiting_id, d.received_nos, e.*
FROM due d LEFT JOIN LATERAL (
    {_ENTRY} WHERE e.wallet_id = d.wallet_id
      AND e.posted_at >= entries_begin_at(d.wallet_id, greatest(d.told, d.after_seq))
      AND e.seq > greatest(d.told, d.after_seq) AND (d.upto IS NULL OR e.seq <= d.upto)
      AND e.xid <> '0'::xid8 AND e.posted_at >= %(since)s
    ORDER BY e.posted_at, e.seq LIMIT %(limit)s
) e ON true
ORDER BY d.wallet_id, e.seq
"""  # noqa: S608 - our own words

END_WAITS = """
DELETE FROM event_waits e USING unnest(%s::uuid[], %s::bigint[]) AS done (wallet_id, received_no)
WHERE e.received_no = done.received_no AND e.sink = %s AND e.wallet_id = done.wallet_id
"""

ADD_DELIVERIES = """
INSERT INTO webhook_deliveries (webhook_id, wallet_id, seq, entry_hash, vendor_id, type, occurred_at, body)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::bytea[], %s::text[], %s::text[], %s::timestamptz[],
                     %s::text[])
ON CONFLICT DO NOTHING
"""

ADD_LINES = """
INSERT INTO webhook_lines (webhook_id, wallet_id, due_at)
SELECT DISTINCT webhook_id, wallet_id, now() FROM unnest(%s::uuid[], %s::uuid[]) AS line (webhook_id, wallet_id)
ON CONFLICT DO NOTHING
"""

LAG = f"""
SELECT count(*), extract(epoch FROM clock_timestamp() - min(posted_at))::float8 FROM (
    SELECT posted_at FROM entries WHERE xid >= %s::text::xid8 AND xid <> '0'::xid8 ORDER BY xid LIMIT {LAG_MAX}
) AS untold
"""  # noqa: S608 - the same


class RelayOutpacedError(Exception):
    """Somebody else has moved this sink's mark: this process no longer has the duty."""


@value
class Mark:
    """`listening_since` is None while nobody listens: then the sink has no place in the log to go on from."""

    history: str
    next_xid: int
    listening_since: datetime | None


@value
class WalletEnd:
    """How long a wallet's log is, and how much of it was told."""

    wallet_id: str
    seq: int
    posted_at: datetime
    told: int
    upto: int | None
    """What is above waits for another cell."""

    @property
    def end(self) -> int:
        """The last seq that may be told."""
        return self.seq if self.upto is None else min(self.seq, self.upto)


@value
class KeptBack:
    """What of a wallet waited for another cell and waits no more, in order; a page at most."""

    wallet_id: str
    entries: tuple[StoredEvent, ...]
    received_nos: tuple[int, ...]
    """Of the waits that are over."""
    is_all: bool


@value
class NewDelivery:
    webhook_id: str
    wallet_id: str
    seq: int
    entry_hash: bytes
    vendor_id: str
    type: str
    occurred_at: datetime
    body: str


@value
class Lag:
    entries: int
    oldest_s: float


class EventStore:
    def __init__(self, connection: OwnConnection, *, sink: Sink) -> None:
        self._connection = connection
        self._sink = sink

    async def horizon(self) -> int:
        return int(await self._one(HORIZON))

    async def history(self) -> str:
        """The physical history that xids are of: the cluster, and how often it was promoted."""
        return str(await self._one(HISTORY))

    async def clock(self) -> datetime:
        now: datetime = await self._one("SELECT clock_timestamp()")
        return now

    async def mark(self) -> Mark | None:
        rows = await self._rows(MARK, self._sink)
        return Mark(**rows[0]._asdict()) if rows else None

    async def begin(self, mark: Mark) -> None:
        """Read from here on, whatever was before."""
        async with self._connection.taken() as connection:
            await connection.execute(BEGIN, (self._sink, mark.history, str(mark.next_xid), mark.listening_since))

    async def window(self, *, from_xid: int, below_xid: int, limit: int | None) -> list[StoredEvent]:
        """In order of xid."""
        return await self._rows(WINDOW, str(from_xid), str(below_xid), limit)

    async def older(self, wallet_id: str, *, upto: tuple[datetime, int], limit: int) -> list[StoredEvent]:
        """The newest first, from (posted_at, seq) downwards, this place included."""
        return await self._rows(OLDER, wallet_id, *upto, limit)

    async def cursors(self, wallet_ids: Sequence[str]) -> dict[str, int]:
        rows = await self._rows(CURSORS, self._sink, list(wallet_ids))
        return {row.wallet_id: row.seq for row in rows}

    async def limits(self, wallet_ids: Sequence[str]) -> dict[str, int]:
        """Of wallets whose events wait for another cell's: the last seq that may be told."""
        rows = await self._rows(LIMITS, self._sink, list(wallet_ids))
        return {row.wallet_id: row.upto for row in rows}

    async def kept_back(self, *, since: datetime, wallets_max: int, page: int) -> list[KeptBack]:
        wanted = {"sink": self._sink, "since": since, "wallets_max": wallets_max, "limit": page}
        async with self._connection.taken() as connection:
            rows = await (await connection.execute(KEPT_BACK.encode(), wanted)).fetchall()
        return [_kept_back(list(of_wallet), page) for _, of_wallet in groupby(rows, key=lambda row: row.waiting_id)]

    async def wallets(self, *, after: str, limit: int) -> list[WalletEnd]:
        rows = await self._rows(WALLETS, self._sink, after, limit)
        return [WalletEnd(**row._asdict()) for row in rows]

    async def lag(self, mark: Mark) -> Lag:
        count, oldest_s = (await self._rows(LAG, str(mark.next_xid)))[0]
        return Lag(entries=count, oldest_s=oldest_s or 0.0)

    async def advance(
        self,
        mark: Mark,
        *,
        to_xid: int,
        told: Mapping[str, int],
        deliveries: Sequence[NewDelivery],
        ended: Sequence[KeptBack] = (),
    ) -> None:
        """`told` is by wallet the last event, `ended` wait for no cell any more; all of it, or nothing.

        Raises:
            RelayOutpacedError: the mark is no longer what it was when this window was read.

        """
        async with self._connection.taken() as connection, connection.transaction():
            moved = await connection.execute(ADVANCE, (str(to_xid), self._sink, mark.history, str(mark.next_xid)))
            if moved.rowcount != 1:
                raise RelayOutpacedError(f"the mark of {self._sink} is not at {mark.next_xid} any more")
            if told:
                await connection.execute(MOVE_CURSORS, (self._sink, list(told), list(told.values())))
            if deliveries:
                await connection.execute(ADD_DELIVERIES, _columns(deliveries))
                await connection.execute(ADD_LINES, _columns(deliveries)[:2])
            if ended:
                waits = [(one.wallet_id, number) for one in ended for number in one.received_nos]
                columns = [list(column) for column in zip(*waits, strict=True)]
                await connection.execute(END_WAITS, (*columns, self._sink))

    async def close(self) -> None:
        await self._connection.close()

    async def _rows(self, statement: str, *parameters: Any) -> list[Any]:
        async with self._connection.taken() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return list(await cursor.fetchall())

    async def _one(self, statement: str) -> Any:
        return (await self._rows(statement))[0][0]


def _kept_back(rows: Sequence[StoredEvent], page: int) -> KeptBack:
    entries = tuple(row for row in rows if row.seq is not None)
    first = rows[0]
    return KeptBack(
        wallet_id=first.waiting_id,
        entries=entries,
        received_nos=tuple(first.received_nos),
        is_all=len(entries) < page,
    )


def _columns(deliveries: Sequence[NewDelivery]) -> list[list[Any]]:
    return [
        [one.webhook_id for one in deliveries],
        [one.wallet_id for one in deliveries],
        [one.seq for one in deliveries],
        [one.entry_hash for one in deliveries],
        [one.vendor_id for one in deliveries],
        [one.type for one in deliveries],
        [one.occurred_at for one in deliveries],
        [one.body for one in deliveries],
    ]
