"""How heavy each unit of the cell is, from the database alone: nothing is counted on the money path.

Commands of a window are read from the entries of those wallets whose last entry lies within it, so the cost follows
the traffic and not the number of wallets; only the sums per unit look at every wallet row.
"""

import psycopg

from cell.ports import StoreLostError
from cell.store.own_connection import OwnConnection
from cell.store.restored import anybody
from contract.load import HOT_WALLETS_MAX, CellLoad, IsolatedWallets, Remains, UnitLoad, WalletLoad
from contract.slots import ISOLATED_UNIT_FIRST

SUMS = """
SELECT w.unit, count(*) AS wallets, sum(w.seq)::bigint AS entries
FROM wallets w JOIN unit_state u ON u.unit = w.unit AND u.state IN ('active', 'fenced')
GROUP BY w.unit ORDER BY w.unit
"""

RECENT = """
SELECT w.wallet_id::text AS wallet_id, w.unit, recent.commands
FROM wallets w
JOIN unit_state u ON u.unit = w.unit AND u.state IN ('active', 'fenced')
CROSS JOIN LATERAL (
    SELECT count(*) AS commands FROM entries e
    WHERE e.wallet_id = w.wallet_id AND e.posted_at > now() - %s * interval '1 second'
) AS recent
WHERE w.posted_at > now() - %s * interval '1 second'
ORDER BY recent.commands DESC, w.wallet_id
"""

ISOLATED = f"""
SELECT w.wallet_id::text, w.unit
FROM wallets w JOIN unit_state u ON u.unit = w.unit AND u.state IN ('active', 'fenced', 'granted')
WHERE w.unit >= {ISOLATED_UNIT_FIRST} ORDER BY w.unit
"""  # noqa: S608 - our own number

EXILES = "SELECT wallet_id::text, unit FROM isolated ORDER BY unit"

# Entries that were copied here by a move carry no xid: whoever recorded them tells of them.
REMAINS = """
SELECT (SELECT count(*) FROM unit_state WHERE state <> 'moved') AS units,
       (SELECT count(*) FROM transfers t JOIN wallets w USING (wallet_id) JOIN unit_state u USING (unit)
        WHERE t.state = 'in_transit' AND u.state <> 'moved') AS open_transfers,
       (SELECT count(*) FROM groups g JOIN wallets w USING (wallet_id) JOIN unit_state u USING (unit)
        WHERE NOT g.is_finished AND u.state <> 'moved') AS open_groups,
       (SELECT count(*) FROM relay_marks m JOIN entries e ON e.xid >= m.next_xid AND e.xid <> '0'::xid8
        WHERE m.listening_since IS NOT NULL AND e.posted_at >= m.listening_since)
       + (SELECT count(*) FROM event_waits) AS unpublished_events,
       (SELECT count(*) FROM webhook_deliveries WHERE dead_at IS NULL) AS undelivered_events
"""

ACCOUNTS = """
SELECT currency, account, sum(delta)::bigint AS balance FROM account_deltas
GROUP BY currency, account HAVING sum(delta) <> 0 ORDER BY currency, account
"""


class UnitLoads:
    def __init__(self, database_url: str, *, cell_id: str) -> None:
        self._connection = OwnConnection(database_url, name="cell-unit-load", admit=anybody)
        self._cell_id = cell_id

    async def load(self, *, window_s: int) -> CellLoad:
        """Of the last `window_s` seconds.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        try:
            async with self._connection.taken() as connection:
                sums = await (await connection.execute(SUMS)).fetchall()
                recent = await (await connection.execute(RECENT, (window_s, window_s))).fetchall()
                size = await (await connection.execute("SELECT pg_database_size(current_database())")).fetchone()
        except psycopg.OperationalError as error:
            raise StoreLostError(str(error).strip()) from error
        commands: dict[int, int] = {}
        for row in recent:
            commands[row.unit] = commands.get(row.unit, 0) + row.commands
        return CellLoad(
            cell=self._cell_id,
            window_s=window_s,
            database_bytes=size[0] if size else 0,
            units=tuple(
                UnitLoad(unit=row.unit, wallets=row.wallets, entries=row.entries, commands=commands.get(row.unit, 0))
                for row in sums
            ),
            hot_wallets=tuple(WalletLoad.model_validate(row._asdict()) for row in recent[:HOT_WALLETS_MAX]),
        )

    async def isolated(self) -> IsolatedWallets:
        """Which wallets have a unit of their own.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        try:
            async with self._connection.taken() as connection:
                rows = await (await connection.execute(ISOLATED)).fetchall()
                exiles = await (await connection.execute(EXILES)).fetchall()
        except psycopg.OperationalError as error:
            raise StoreLostError(str(error).strip()) from error
        return IsolatedWallets(
            cell=self._cell_id,
            wallets=tuple((row.wallet_id, row.unit) for row in rows),
            exiles=tuple((row.wallet_id, row.unit) for row in exiles),
        )

    async def remains(self) -> Remains:
        """What still keeps the cell from being retired.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        try:
            async with self._connection.taken() as connection:
                row = await (await connection.execute(REMAINS)).fetchone()
                sums = await (await connection.execute(ACCOUNTS)).fetchall()
        except psycopg.OperationalError as error:
            raise StoreLostError(str(error).strip()) from error
        accounts: dict[str, dict[str, int]] = {}
        for one in sums:
            accounts.setdefault(one.currency, {})[one.account] = one.balance
        return Remains.model_validate({"cell": self._cell_id, **(row._asdict() if row else {}), "accounts": accounts})

    async def close(self) -> None:
        await self._connection.close()
