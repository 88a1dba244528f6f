"""What the courier asks of the database: lines that are due, the first delivery of each, what became of it.

A line is a wallet's events for one webhook; it is leased to whoever sends its first one. Whoever writes here holds the
row of the relay's mark: so a line is never taken off while the relay adds to it.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection
from pydantic import TypeAdapter

from cell.events.event import Delivery
from cell.store.own_connection import OwnConnection
from contract.configuration import Webhook
from contract.values import value

COUNT_MAX = 100_000
_WEBHOOKS: TypeAdapter[tuple[Webhook, ...]] = TypeAdapter(tuple[Webhook, ...])

LEARN = """
INSERT INTO known_webhooks (id, version, document) VALUES (1, %s, %s)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, document = excluded.document
    WHERE known_webhooks.version < excluded.version
"""

KNOWN = "SELECT document FROM known_webhooks WHERE id = 1"

LOCK = "SELECT FROM relay_marks WHERE sink = 'webhooks' FOR UPDATE"

FORGET = "DELETE FROM {table} WHERE webhook_id <> ALL(%s::uuid[])"

TAKE = """
UPDATE webhook_lines l SET due_at = now() + make_interval(secs => %s)
FROM unnest(%s::uuid[], %s::int[]) AS wanted (id, room) CROSS JOIN LATERAL (
    SELECT webhook_id, wallet_id FROM webhook_lines
    WHERE webhook_id = wanted.id AND due_at <= now() ORDER BY due_at LIMIT wanted.room FOR UPDATE SKIP LOCKED
) due
WHERE l.webhook_id = due.webhook_id AND l.wallet_id = due.wallet_id
RETURNING l.webhook_id::text, l.wallet_id::text
"""

HEAD = """
SELECT webhook_id::text, wallet_id::text, seq, entry_hash, body, attempts FROM webhook_deliveries
WHERE webhook_id = %s AND wallet_id = %s AND dead_at IS NULL ORDER BY seq LIMIT 1
"""

_THIS = "WHERE webhook_id = %s AND wallet_id = %s AND seq = %s AND entry_hash = %s"

DELIVERED = f"DELETE FROM webhook_deliveries {_THIS}"  # noqa: S608 - our own words

FAILED = f"UPDATE webhook_deliveries SET attempts = attempts + 1, last_error = %s {_THIS}"  # noqa: S608 - our own words

BURY = f"UPDATE webhook_deliveries SET attempts = attempts + 1, last_error = %s, dead_at = now() {_THIS}"  # noqa: S608 - the same

PUT_OFF = """
UPDATE webhook_lines SET due_at = clock_timestamp() + make_interval(secs => %s) WHERE webhook_id = %s AND wallet_id = %s
"""

END_LINE = "DELETE FROM webhook_lines WHERE webhook_id = %s AND wallet_id = %s"

PURGE = "DELETE FROM webhook_deliveries WHERE dead_at < now() - make_interval(days => %s)"

COUNTS = f"""
SELECT pending.number AS pending, dead.number AS dead
FROM (SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE dead_at IS NULL LIMIT {COUNT_MAX}) AS one)
         AS pending (number),
     (SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE dead_at IS NOT NULL LIMIT {COUNT_MAX}) AS one)
         AS dead (number)
"""  # noqa: S608 - the same


@value
class Line:
    webhook_id: str
    wallet_id: str


@value
class Counts:
    pending: int
    dead: int


class DeliveryStore:
    def __init__(self, connection: OwnConnection) -> None:
        self._connection = connection

    async def learn(self, webhooks: tuple[Webhook, ...], *, version: int) -> None:
        """Keep the webhooks of the newest configuration that any process of the cell has told of.

        So a holder with an old configuration does not pass over the events of a vendor that it has not heard of.
        """
        document = _WEBHOOKS.dump_json(webhooks).decode()
        async with self._connection.taken() as connection, connection.transaction():
            if (await connection.execute(LEARN, (version, document))).rowcount == 1:
                await _forget(connection, [one.id for one in webhooks])

    async def known(self) -> tuple[Webhook, ...]:
        async with self._connection.taken() as connection:
            row = await (await connection.execute(KNOWN)).fetchone()
        return () if row is None else _WEBHOOKS.validate_json(row[0])

    async def take_due(self, room: Mapping[str, int], *, lease_s: float) -> list[Line]:
        """At most so many lines per webhook, leased to the caller."""
        async with self._connection.taken() as connection:
            cursor = await connection.execute(TAKE, (lease_s, list(room), list(room.values())))
            return [Line(webhook_id=row.webhook_id, wallet_id=row.wallet_id) for row in await cursor.fetchall()]

    async def head(self, line: Line) -> Delivery | None:
        """The first delivery of the line; a line without any is ended."""
        async with self._connection.taken() as connection, connection.transaction():
            await connection.execute(LOCK)
            return await _next(connection, line, lease_s=None)

    async def delivered(self, delivery: Delivery, *, lease_s: float) -> Delivery | None:
        """It is done with; the next one of its line, leased likewise."""
        async with self._connection.taken() as connection, connection.transaction():
            await connection.execute(LOCK)
            await connection.execute(DELIVERED.encode(), _key(delivery))
            return await _next(connection, _line(delivery), lease_s=lease_s)

    async def failed(self, delivery: Delivery, error: str, *, retry_after_s: float) -> None:
        """It holds its line back until then."""
        async with self._connection.taken() as connection, connection.transaction():
            await connection.execute(LOCK)
            await connection.execute(FAILED.encode(), (error, *_key(delivery)))
            await connection.execute(PUT_OFF, (retry_after_s, delivery.webhook_id, delivery.wallet_id))

    async def buried(self, delivery: Delivery, error: str, *, lease_s: float) -> Delivery | None:
        """It is a dead letter, and its line goes on."""
        async with self._connection.taken() as connection, connection.transaction():
            await connection.execute(LOCK)
            await connection.execute(BURY.encode(), (error, *_key(delivery)))
            return await _next(connection, _line(delivery), lease_s=lease_s)

    async def purge(self, *, kept_days: int) -> None:
        async with self._connection.taken() as connection:
            await connection.execute(PURGE, (kept_days,))

    async def counts(self) -> Counts:
        async with self._connection.taken() as connection:
            row = await (await connection.execute(COUNTS.encode())).fetchone()
        assert row is not None  # noqa: S101 - two counts are always one row
        return Counts(**row._asdict())

    async def close(self) -> None:
        await self._connection.close()


async def _next(connection: AsyncConnection[Any], line: Line, *, lease_s: float | None) -> Delivery | None:
    row = await (await connection.execute(HEAD, (line.webhook_id, line.wallet_id))).fetchone()
    if row is None:
        await connection.execute(END_LINE, (line.webhook_id, line.wallet_id))
        return None
    if lease_s is not None:
        await connection.execute(PUT_OFF, (lease_s, line.webhook_id, line.wallet_id))
    return Delivery(**row._asdict())


async def _forget(connection: AsyncConnection[Any], kept: list[str]) -> None:
    """A webhook that was deleted takes what waits for it along."""
    await connection.execute(LOCK)
    for table in ("webhook_lines", "webhook_deliveries"):
        await connection.execute(FORGET.format(table=table).encode(), (kept,))


def _key(delivery: Delivery) -> tuple[str, str, int, bytes]:
    return delivery.webhook_id, delivery.wallet_id, delivery.seq, delivery.entry_hash


def _line(delivery: Delivery) -> Line:
    return Line(webhook_id=delivery.webhook_id, wallet_id=delivery.wallet_id)
