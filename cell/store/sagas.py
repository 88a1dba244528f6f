"""What is still open between cells, and when it is tried again: the questions and marks of the loops that finish it.

Scheduling (`attempts`, `next_attempt_at`) is no money and no state: it is written past the write path.
"""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg.rows import TupleRow, tuple_row

from cell.ledger.model import Group, Hold, Recorded, TransactionKey, Transfer
from cell.ports import StoreLostError
from cell.store import arrays
from cell.store.own_connection import OwnConnection
from cell.store.promises import (
    GROUP_COLUMNS,
    HOLD_COLUMNS,
    SELECT_GROUPS,
    SELECT_TRANSFERS,
    TRANSFER_COLUMNS,
    group_of,
    hold_of,
    key_columns,
    transfer_of,
)
from cell.store.statements import SELECT_RECORDED, recorded_of

BACKOFF_MAX_S: Final = 30

_IS_OURS: Final = "EXISTS (SELECT FROM wallets w WHERE w.wallet_id = t.wallet_id AND w.frozen_by IS NULL)"
"""Under a fence, staged or gone, the wallet takes no command here; its new owner goes on with it."""

DUE_TRANSFERS: Final = f"""
SELECT {TRANSFER_COLUMNS}
FROM transfers t WHERE state = 'in_transit' AND next_attempt_at <= clock_timestamp() AND {_IS_OURS}
ORDER BY next_attempt_at LIMIT %s
"""  # noqa: S608 - our own words

DUE_GROUPS: Final = f"""
SELECT {GROUP_COLUMNS}
FROM groups t WHERE NOT is_finished AND next_attempt_at <= clock_timestamp() AND {_IS_OURS}
ORDER BY next_attempt_at LIMIT %s
"""  # noqa: S608 - our own words

SETTLED_SINCE: Final = f"""
WITH page AS MATERIALIZED (
    SELECT t.* FROM transfers t
    WHERE state = 'settled' AND sent_at >= %s::timestamptz AND {_IS_OURS}
      AND (wallet_id, vendor_id, transaction_id) > (%s::uuid, %s, %s::uuid)
    ORDER BY wallet_id, vendor_id, transaction_id LIMIT %s
)
SELECT p.wallet_id, p.vendor_id, p.transaction_id, p.transfer_id, p.to_wallet_id, p.amount, p.currency, p.state,
       e.details, p.sent_at
FROM page p
LEFT JOIN transactions x USING (wallet_id, vendor_id, transaction_id)
LEFT JOIN entries e ON e.wallet_id = p.wallet_id AND e.posted_at = x.posted_at AND e.seq = x.seq
ORDER BY p.wallet_id, p.vendor_id, p.transaction_id
"""  # noqa: S608 - our own words
"""A settled transfer has forgotten its details; the entry that sent it has them, unless they were erased."""

FIRST_KEY: Final = ("00000000-0000-0000-0000-000000000000", "", "00000000-0000-0000-0000-000000000000")

OLD_LEGS: Final = f"""
SELECT {HOLD_COLUMNS}
FROM holds t WHERE state = 'open' AND kind <> 'vendor' AND {_IS_OURS}
  AND placed_at < clock_timestamp() - make_interval(secs => %s)
ORDER BY placed_at LIMIT %s
"""  # noqa: S608 - our own words

GROUP_BY_ID: Final = f"""
SELECT {GROUP_COLUMNS}
FROM groups WHERE wallet_id = %s AND group_id = %s
"""  # noqa: S608 - our own words

LATER: Final = """
UPDATE {table} t SET attempts = attempts + 1,
    next_attempt_at = clock_timestamp()
        + make_interval(secs => least(%s, 0.2 * 2 ^ least(attempts, 10)) * (0.5 + random() / 2))
FROM unnest(%s, %s, %s) AS k (wallet_id, vendor_id, transaction_id)
WHERE (t.wallet_id, t.vendor_id, t.transaction_id) = (k.wallet_id, k.vendor_id, k.transaction_id)
"""

OPEN: Final = f"""
SELECT sent.count, begun.count, extract(epoch FROM clock_timestamp() - least(sent.oldest, begun.oldest))::float8
FROM (SELECT count(*), min(sent_at) AS oldest FROM transfers t WHERE state = 'in_transit' AND {_IS_OURS}) sent,
     (SELECT count(*), min(started_at) AS oldest FROM groups t WHERE NOT is_finished AND {_IS_OURS}) begun
"""  # noqa: S608 - our own words


class SagaStore:
    """On a connection of its own, whose users take turns."""

    def __init__(self, connection: OwnConnection) -> None:
        self._connection = connection

    async def close(self) -> None:
        await self._connection.close()

    async def due_transfers(self, limit: int) -> list[Transfer]:
        return [transfer_of(row) for row in await self._ask(DUE_TRANSFERS, limit)]

    async def settled_since(self, since: str, *, after: TransactionKey | None, limit: int) -> list[Transfer]:
        """In order of their keys, with the details with which they were sent."""
        key = FIRST_KEY if after is None else (after.wallet_id, after.vendor_id, after.transaction_id)
        return [transfer_of(row) for row in await self._ask(SETTLED_SINCE, since, *key, limit)]

    async def due_groups(self, limit: int) -> list[Group]:
        return [group_of(row) for row in await self._ask(DUE_GROUPS, limit)]

    async def old_legs(self, *, older_than_s: float, limit: int) -> list[Hold]:
        """Prepared legs that have waited so long for news of their coordinator."""
        return [hold_of(row) for row in await self._ask(OLD_LEGS, older_than_s, limit)]

    async def transfer(self, key: TransactionKey) -> Transfer | None:
        rows = await self._ask(SELECT_TRANSFERS, *key_columns([key]))
        return transfer_of(rows[0]) if rows else None

    async def group(self, key: TransactionKey) -> Group | None:
        rows = await self._ask(SELECT_GROUPS, *key_columns([key]))
        return group_of(rows[0]) if rows else None

    async def recorded(self, key: TransactionKey) -> Recorded | None:
        rows = await self._ask(SELECT_RECORDED, *key_columns([key]))
        return recorded_of(rows[0]) if rows else None

    async def group_by_id(self, wallet_id: str, group_id: str) -> Group | None:
        rows = await self._ask(GROUP_BY_ID, wallet_id, group_id)
        return group_of(rows[0]) if rows else None

    async def try_later(self, table: str, keys: Sequence[TransactionKey]) -> None:
        """Each is tried again after a while that doubles with its attempts."""
        if table not in {"transfers", "groups"}:
            raise ValueError(table)
        if keys:
            await self._ask(LATER.format(table=table), BACKOFF_MAX_S, *key_columns(keys))

    async def open(self) -> tuple[int, int, float]:
        """Transfers and groups that are not finished, and the age in seconds of the oldest of them."""
        ((transfers, groups, age_s),) = await self._ask(OPEN)
        return transfers, groups, age_s or 0.0

    async def _ask(self, statement: str, *arguments: object) -> list[TupleRow]:
        """A broken connection is replaced once before anybody is told.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        for is_last_try in (False, True):
            try:
                async with self._connection.taken() as connection:
                    cursor = connection.cursor(binary=True, row_factory=tuple_row)
                    arrays.register(cursor)
                    await cursor.execute(statement.encode(), arguments)
                    return await cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                if is_last_try:
                    raise StoreLostError(str(error).strip()) from error
        raise AssertionError("unreachable")
