"""What of a wallet's events is still to be told, here and by the cells that had the wallet before.

A wallet that comes with a unit brings a wait for each sink: what this cell commits itself is not told before the cell
before has told all of its own. The wait is written with the activation, ended when that cell says so, and taken away by
the relay, which tells first what was kept back. Knows neither relays nor HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from psycopg.rows import TupleRow

from cell.store import arrays
from cell.store.events import HISTORY, LAG_MAX
from cell.store.moves.sessions import Connection, Sessions, rows
from contract.published import Asked, EventWait, SinkName
from contract.values import value

TIMEOUT_MS: Final = 5_000
UNITS_MAX: Final = 2_000
"""Received units that one round looks at, the oldest first."""
COUNT_MAX: Final = 100_000

_ARRIVE: Final = """
WITH received AS (
    INSERT INTO received_units (unit, epoch, from_cell, source_admin_urls)
    SELECT u.unit, u.epoch, c.from_cell, c.source_admin_urls
    FROM cleanups c JOIN unit_state u USING (unit)
    WHERE u.unit = ANY(%s) AND c.cause = 'staging' AND EXISTS (SELECT FROM wallets w WHERE w.unit = u.unit)
    ORDER BY u.unit
    RETURNING received_no, unit
)
INSERT INTO event_waits (received_no, sink, wallet_id, after_seq)
SELECT r.received_no, s.sink, w.wallet_id, w.seq
FROM received r JOIN wallets w USING (unit)
CROSS JOIN (SELECT 'webhooks' UNION SELECT sink FROM relay_marks WHERE sink = 'broker') s (sink)
"""
"""Webhooks may be known tomorrow; a broker is there or not."""

_DEPART: Final = """
INSERT INTO event_waits_passed_on (received_no, unit, epoch)
SELECT DISTINCT e.received_no, u.unit, u.epoch
FROM unit_state u JOIN wallets w USING (unit) JOIN event_waits e USING (wallet_id) WHERE u.unit = ANY(%s)
ON CONFLICT DO NOTHING
"""

_PASSED_ON: Final = """
SELECT FROM unit_state u WHERE u.unit = %(unit)s HAVING coalesce(max(u.epoch), 0) < %(epoch)s
) OR EXISTS (SELECT FROM event_waits e JOIN event_waits_passed_on p USING (received_no)
WHERE e.wallet_id = a.wallet_id AND e.sink = ANY(%(sinks)s) AND (p.unit, p.epoch) = (%(unit)s, %(epoch)s)
"""
"""Waits that stood when the wallet left, and no later ones: so cells that gave it to each other never wait in a ring.
Of a unit that has not left at that epoch nothing is told."""

_ANY_WAIT: Final = "SELECT FROM event_waits e WHERE e.wallet_id = a.wallet_id"


def _untold(asked: str, waits: str) -> str:
    """Wallets of `asked` (wallet_id, seq, unit) of which something up to seq is not told, or may not be.

    An entry is told when its sink has read past it or the wallet's cursor has; for webhooks when its delivery has
    arrived or is a dead letter. Where nobody listens there is nothing to tell.
    """
    return f"""
WITH asked AS MATERIALIZED ({asked}),
marks AS MATERIALIZED (
    SELECT sink, next_xid, listening_since, history = ({HISTORY}) AS is_current
    FROM relay_marks WHERE listening_since IS NOT NULL AND sink = ANY(%(sinks)s)
),
unread AS MATERIALIZED (
    SELECT m.sink, e.wallet_id, e.seq, e.posted_at >= m.listening_since AS is_news
    FROM marks m CROSS JOIN LATERAL (
        SELECT wallet_id, seq, posted_at FROM entries
        WHERE xid >= m.next_xid AND xid <> '0'::xid8 LIMIT {LAG_MAX + 1}
    ) e
),
late AS MATERIALIZED (
    SELECT u.wallet_id FROM unread u JOIN asked a ON a.wallet_id = u.wallet_id AND u.seq <= a.seq
    LEFT JOIN event_cursors c ON c.sink = u.sink AND c.wallet_id = u.wallet_id
    WHERE u.is_news AND u.seq > coalesce(c.seq, 0)
)
SELECT a.wallet_id::text, a.unit FROM asked a
WHERE EXISTS (SELECT FROM marks WHERE NOT is_current)
   OR (SELECT count(*) FROM unread) > {LAG_MAX}
   OR a.wallet_id IN (SELECT wallet_id FROM late)
   OR ('webhooks' = ANY(%(sinks)s) AND EXISTS (
        SELECT FROM webhook_deliveries d WHERE d.wallet_id = a.wallet_id AND d.seq <= a.seq AND d.dead_at IS NULL))
   OR EXISTS ({waits})
"""  # noqa: S608 - our own words


_UNTOLD_OF_ASKED: Final = _untold(
    "SELECT wallet_id, seq, %(unit)s::int AS unit FROM unnest(%(wallets)s::uuid[], %(seqs)s::bigint[]) "
    "AS asked (wallet_id, seq)",
    _PASSED_ON,
)
_UNTOLD_OF_UNITS: Final = _untold(
    "SELECT wallet_id, seq, unit FROM wallets w WHERE unit = ANY(%(units)s) "
    "AND NOT EXISTS (SELECT FROM cleanups c WHERE c.unit = w.unit)",
    _ANY_WAIT,
)

_STANDING: Final = """
SELECT r.received_no, r.unit, r.epoch, r.from_cell, r.source_admin_urls, s.sink,
       extract(epoch FROM clock_timestamp() - r.received_at)::float8
FROM received_units r CROSS JOIN (VALUES ('webhooks'), ('broker')) s (sink)
WHERE EXISTS (SELECT FROM event_waits e WHERE e.received_no = r.received_no AND e.sink = s.sink AND NOT e.is_over)
ORDER BY r.received_no LIMIT %s
"""

_PAGE: Final = """
SELECT wallet_id, after_seq FROM event_waits
WHERE received_no = %s AND sink = %s AND wallet_id > %s AND NOT is_over ORDER BY wallet_id LIMIT %s
"""

_END: Final = "UPDATE event_waits SET is_over = true WHERE received_no = %s AND sink = %s AND wallet_id = ANY(%s)"

_RELEASE: Final = """
UPDATE event_waits e SET is_over = true FROM received_units r
WHERE r.received_no = e.received_no AND r.from_cell = %s AND NOT e.is_over
"""

_BY_CELL: Final = """
SELECT r.from_cell, count(DISTINCT r.received_no), count(DISTINCT e.wallet_id),
       extract(epoch FROM clock_timestamp() - min(r.received_at))::float8
FROM received_units r JOIN event_waits e USING (received_no) WHERE NOT e.is_over GROUP BY 1 ORDER BY 1
"""

_SUMS: Final = f"""
SELECT (SELECT count(DISTINCT wallet_id) FROM (
            SELECT wallet_id FROM event_waits WHERE NOT is_over LIMIT {COUNT_MAX}) AS counted),
       (SELECT extract(epoch FROM clock_timestamp() - min(received_at))::float8 FROM received_units r
        WHERE EXISTS (SELECT FROM event_waits e WHERE e.received_no = r.received_no AND NOT e.is_over))
"""  # noqa: S608 - the same

_TIDY: Final = (
    (
        "DELETE FROM event_waits WHERE is_over "
        "AND sink NOT IN (SELECT sink FROM relay_marks WHERE listening_since IS NOT NULL)"
    ),
    "DELETE FROM received_units r WHERE NOT EXISTS (SELECT FROM event_waits e WHERE e.received_no = r.received_no)",
    (
        "DELETE FROM event_waits_passed_on p "
        "WHERE NOT EXISTS (SELECT FROM received_units r WHERE r.received_no = p.received_no)"
    ),
)
"""Where nobody listens there is no relay that takes waits away."""

_LISTENS: Final = "SELECT sink FROM relay_marks WHERE sink = %s AND listening_since IS NOT NULL"
_REST: Final = "UPDATE relay_marks SET listening_since = NULL WHERE sink = %s AND listening_since IS NOT NULL"


@value
class Wait:
    """Of one received unit and one sink."""

    received_no: int
    unit: int
    epoch: int
    from_cell: str
    admin_urls: tuple[str, ...]
    sink: SinkName
    for_s: float


@value
class Sums:
    wallets: int
    oldest_s: float


# Within the transactions of moves.


async def note_arrival(connection: Connection, units: Sequence[int]) -> None:
    """Before the intents of the units go: they say where the units come from."""
    await rows(connection, _ARRIVE, arrays.int4s(units))


async def note_departure(connection: Connection, units: Sequence[int]) -> None:
    """With the epochs that the units have at their new owner."""
    await rows(connection, _DEPART, arrays.int4s(units))


async def untold_units(connection: Connection, units: Sequence[int]) -> list[int]:
    """Units of which this cell has still something to tell; those whose rows are being deleted have nothing."""
    found = await _untold_of(connection, _UNTOLD_OF_UNITS, {"units": list(units), "sinks": ["webhooks", "broker"]})
    return sorted({unit for _, unit in found})


async def _untold_of(connection: Connection, question: str, wanted: Mapping[str, Any]) -> list[TupleRow]:
    # What is unread meets what was asked about: two lists without an index, of which either may be long.
    await rows(connection, "SET LOCAL enable_hashjoin = on")
    cursor = await connection.cursor().execute(question.encode(), wanted)
    return await cursor.fetchall()


class EventWaits:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def untold(self, asked: Asked) -> frozenset[str]:
        """Of the wallets that were asked about, those whose events are not all told."""
        wanted = {
            "unit": asked.unit,
            "epoch": asked.epoch,
            "sinks": [asked.sink],
            "wallets": [wallet_id for wallet_id, _ in asked.positions],
            "seqs": [seq for _, seq in asked.positions],
        }
        async with self._sessions.transaction() as connection:
            await rows(connection, f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
            return frozenset(wallet_id for wallet_id, _ in await _untold_of(connection, _UNTOLD_OF_ASKED, wanted))

    async def standing(self) -> list[Wait]:
        async with self._sessions.transaction() as connection:
            found = await rows(connection, _STANDING, UNITS_MAX)
        return [
            Wait(
                received_no=row[0],
                unit=row[1],
                epoch=row[2],
                from_cell=row[3],
                admin_urls=tuple(orjson.loads(row[4])),
                sink=row[5],
                for_s=row[6],
            )
            for row in found
        ]

    async def page(self, wait: Wait, *, after: str, limit: int) -> list[tuple[str, int]]:
        """Wallets and their `after_seq`, in order of id."""
        async with self._sessions.transaction() as connection:
            found = await rows(connection, _PAGE, wait.received_no, wait.sink, after, limit)
        return [(wallet_id, after_seq) for wallet_id, after_seq in found]

    async def end(self, wait: Wait, wallets: Sequence[str]) -> None:
        async with self._sessions.transaction() as connection:
            await rows(connection, _END, wait.received_no, wait.sink, arrays.uuids(wallets))

    async def release(self, cell: str) -> int:
        """All that waits for this cell goes on without it; how many waits that were."""
        async with self._sessions.transaction() as connection:
            return (await connection.execute(_RELEASE.encode(), (cell,))).rowcount

    async def by_cell(self) -> list[EventWait]:
        async with self._sessions.transaction() as connection:
            found = await rows(connection, _BY_CELL)
        return [EventWait(cell=row[0], units=row[1], wallets=row[2], oldest_s=row[3]) for row in found]

    async def sums(self) -> Sums:
        async with self._sessions.transaction() as connection:
            ((wallets, oldest_s),) = await rows(connection, _SUMS)
        return Sums(wallets=wallets, oldest_s=oldest_s or 0.0)

    async def tidy(self) -> None:
        async with self._sessions.transaction() as connection:
            for statement in _TIDY:
                await rows(connection, statement)

    async def listens(self, sink: SinkName) -> bool:
        async with self._sessions.transaction() as connection:
            return bool(await rows(connection, _LISTENS, sink))

    async def rest(self, sink: SinkName) -> None:
        """Nobody listens to this sink any more: there is nothing left to tell it."""
        async with self._sessions.transaction() as connection:
            await rows(connection, _REST, sink)

    async def close(self) -> None:
        await self._sessions.close()
