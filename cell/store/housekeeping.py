"""What a cell's database needs from time to time: partitions ahead, folded account deltas."""

import psycopg
from psycopg import AsyncConnection

from contract.values import value

HOUSEKEEPER_LOCK = 3


@value
class Housekeeping:
    did_work: bool
    """False = another process of the cell holds the lock."""
    months_ahead: int = 0
    """Months after this one that have their partition, without a gap; fewer than wanted is a reason to look."""
    deltas_folded: int = 0
    rows_in_default_partition: int = 0
    """More than zero is an alarm: entries were posted into a month without a partition."""


async def keep_house(database_url: str, *, months_ahead: int, deltas_max: int) -> Housekeeping:
    """One round, by whichever process of the cell gets the lock.

    Raises:
        psycopg.Error: the database cannot be reached or refuses.

    """
    options = "-c application_name=cell-housekeeping -c timezone=UTC -c statement_timeout=30000"
    async with await AsyncConnection.connect(
        database_url, autocommit=True, options=options, connect_timeout=3
    ) as connection:
        if not (await _one(connection, f"SELECT pg_try_advisory_lock({HOUSEKEEPER_LOCK})")):
            return Housekeeping(did_work=False)
        return Housekeeping(
            did_work=True,
            months_ahead=await _one(connection, f"SELECT make_entry_partitions({months_ahead})"),
            deltas_folded=await _one(connection, f"SELECT fold_account_deltas({deltas_max})"),
            rows_in_default_partition=await _one(
                connection, "SELECT count(*) FROM (SELECT FROM entries_default LIMIT 1000) AS strays"
            ),
        )


async def _one(connection: AsyncConnection[tuple[int, ...]], statement: str) -> int:
    row = await (await connection.execute(statement.encode())).fetchone()
    return 0 if row is None else row[0]


HousekeepingFailed = psycopg.Error
