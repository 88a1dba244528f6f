"""What a cell's database needs from time to time: partitions ahead, folded account deltas, no rows of the departed."""

from psycopg import AsyncConnection

from contract.values import value

PROCESSES_KEPT = "1 day"
"""Who wrote its proof longer ago has either gone or needs no proof until it connects again."""


@value
class Housekeeping:
    months_ahead: int
    """Months after this one that have their partition, without a gap; fewer than wanted is a reason to look."""
    deltas_folded: int
    processes_forgotten: int
    rows_in_default_partition: int
    """More than zero is an alarm: entries were posted into a month without a partition."""


async def keep_house(database_url: str, *, months_ahead: int, deltas_max: int) -> Housekeeping:
    """One round; two at once only do the same work twice.

    Raises:
        psycopg.Error: the database cannot be reached or refuses.

    """
    options = "-c application_name=cell-housekeeping -c timezone=UTC -c statement_timeout=30000"
    async with await AsyncConnection.connect(
        database_url, autocommit=True, options=options, connect_timeout=3
    ) as connection:
        return Housekeeping(
            months_ahead=await _one(connection, f"SELECT make_entry_partitions({months_ahead})"),
            deltas_folded=await _one(connection, f"SELECT fold_account_deltas({deltas_max})"),
            processes_forgotten=await _one(connection, f"SELECT forget_api_processes('{PROCESSES_KEPT}')"),
            rows_in_default_partition=await _one(
                connection, "SELECT count(*) FROM (SELECT FROM entries_default LIMIT 1000) AS strays"
            ),
        )


async def _one(connection: AsyncConnection[tuple[int, ...]], statement: str) -> int:
    row = await (await connection.execute(statement.encode())).fetchone()
    return 0 if row is None else row[0]
