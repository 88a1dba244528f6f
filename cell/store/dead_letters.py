"""Dead letters for their vendor: listing them, and sending them again. Rare, so each question connects anew."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row

from cell.ports import StoreLostError
from cell.store.restored import admitted, must_be_open

CONNECT_TIMEOUT_S = 3
OPTIONS = "-c application_name=cell-dead-letters -c timezone=UTC -c statement_timeout=3000"

LIST = """
SELECT wallet_id::text, seq, entry_hash, type, occurred_at, attempts, last_error, dead_at FROM webhook_deliveries
WHERE webhook_id = %s AND vendor_id = %s AND dead_at IS NOT NULL
  AND (dead_at, wallet_id, seq) > (coalesce(%s::timestamptz, '-infinity'), %s::uuid, %s)
ORDER BY dead_at, wallet_id, seq LIMIT %s
"""

LOCK = "SELECT FROM relay_marks WHERE sink = 'webhooks' FOR UPDATE"

REVIVE = """
WITH revived AS (
    UPDATE webhook_deliveries SET dead_at = NULL, attempts = 0
    WHERE webhook_id = %s AND vendor_id = %s AND dead_at IS NOT NULL RETURNING webhook_id, wallet_id
), lines AS (
    INSERT INTO webhook_lines (webhook_id, wallet_id, due_at) SELECT DISTINCT webhook_id, wallet_id, now() FROM revived
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM revived
"""

DeadLetter = Any
"""A row of LIST by name."""

Place = tuple[datetime, str, int]
"""(dead_at, wallet_id, seq) of the last one of the page before."""

FIRST_WALLET = "00000000-0000-0000-0000-000000000000"


class DeadLetters:
    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    async def page(self, *, webhook_id: str, vendor_id: str, after: Place | None, limit: int) -> Sequence[DeadLetter]:
        """The oldest first.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        place = after or (None, FIRST_WALLET, 0)
        try:
            async with await self._connect() as connection:
                cursor = await connection.execute(LIST, (webhook_id, vendor_id, *place, limit))
                return await cursor.fetchall()
        except psycopg.OperationalError as error:
            raise StoreLostError(str(error).strip()) from error

    async def redeliver(self, *, webhook_id: str, vendor_id: str) -> int:
        """How many are sent again, each as often as a new event.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        try:
            async with await self._connect() as connection, connection.transaction():
                await connection.execute(LOCK)
                row = await (await connection.execute(REVIVE, (webhook_id, vendor_id))).fetchone()
        except psycopg.OperationalError as error:
            raise StoreLostError(str(error).strip()) from error
        return 0 if row is None else int(row[0])

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await AsyncConnection.connect(
            self._database_url,
            autocommit=True,
            row_factory=namedtuple_row,
            options=OPTIONS,
            connect_timeout=CONNECT_TIMEOUT_S,
        )
        return await admitted(connection, must_be_open)
