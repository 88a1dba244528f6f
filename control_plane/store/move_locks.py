"""Who acts on a move, and how many moves touch a cell: advisory locks of one session for each move.

They end with the process or its connection, whatever kills them. Who acts under a lock that it has silently lost is
stopped by the compare-and-set of each write, here and in the cells.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
from sqlalchemy.engine import URL

from contract.ids import CellId
from control_plane.store.database import CONNECT_TIMEOUT_S, FAILURES, TRANSACTION_TIMEOUT_S, raise_translated

MOVE_LOCKS = 0x6370_6D76
"""First key of the locks of moves; the second is a hash of the move's id."""
PLACE_LOCKS = 0x6370_706C
"""First key of the places that each cell has for moves."""


@asynccontextmanager
async def acting_on(url: URL, move_id: str, cells: Sequence[CellId], *, places: int) -> AsyncIterator[bool]:
    """Whether, within the block, this process is the one that acts on the move, with a place at each of its cells.

    Raises:
        DatabaseMustBeReadyError: see there.

    """
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        ) as connection:
            has_all = await _lock(connection, MOVE_LOCKS, move_id)
            for cell in sorted(cells):
                has_all = has_all and await _has_place(connection, cell, places)
            yield has_all
    except FAILURES as error:
        raise_translated(error)
        raise


async def _has_place(connection: psycopg.AsyncConnection, cell: CellId, places: int) -> bool:
    for place in range(places):
        if await _lock(connection, PLACE_LOCKS, f"{cell}/{place}"):
            return True
    return False


async def _lock(connection: psycopg.AsyncConnection, family: int, name: str) -> bool:
    async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (family, name))
        row = await cursor.fetchone()
    return bool(row and row[0])
