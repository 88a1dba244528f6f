"""What one process does about restored databases: remembers what it saw, and refuses to serve on what does not follow.

The memory is a file of this process (`cell/seen_file.py`), a second or so behind the database and never ahead of it.
Whoever finds the database behind the memory closes the whole cell, durably. Rules: cell/ledger/restored.py.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection

from cell.ledger.restored import Found, Seen, is_news, suspicion
from cell.ports import StoreLostError
from cell.seen_file import read_seen, write_seen
from cell.store.own_connection import OwnConnection
from cell.store.restored import InQuarantineError, anybody, begin, found_now, must_be_open, tick

PERIOD_S: Final = 1.0
"""How much of the past a restore may take away unnoticed by this memory, if it takes no grant."""

log = structlog.get_logger()


class DatabaseWatch:
    """One per process. `is_quarantined` is as of the last look; what decides is the database, at each connection."""

    def __init__(self, database_url: str, *, state_dir: Path, period_s: float = PERIOD_S) -> None:
        """Raises SeenFileBrokenError."""
        self._connection = OwnConnection(database_url, name="cell-database-watch", admit=anybody)
        self._state_dir = state_dir
        self._period_s = period_s
        self._seen = read_seen(state_dir)
        self._turn = asyncio.Lock()
        self.is_quarantined = False

    async def admit(self, connection: AsyncConnection[Any]) -> None:
        """For connections that write money: held against the memory, before anything is sent over them.

        Raises:
            InQuarantineError: the cell is in quarantine, from now on if it was not before.

        """
        await self._look(connection)
        try:
            await must_be_open(connection)
        except InQuarantineError:
            self.is_quarantined = True
            raise

    async def remember(self) -> None:
        """What was committed until now cannot be lost unnoticed any more, once this returns.

        Raises:
            StoreLostError: the database cannot be reached; what was seen before stays remembered.

        """
        try:
            async with self._turn:
                await self._remember()
        except psycopg.Error as error:
            raise StoreLostError(str(error).strip()) from error

    async def _remember(self) -> None:
        async with self._connection.taken() as connection:
            found = await self._look(connection)
            if self.is_quarantined:
                return
            ticks = await tick(connection)
        # Remembered after the commit: a count that was never committed would accuse an honest database.
        self._seen = Seen(era=found.era, ticks=ticks, seen_at_us=found.now_us)
        await asyncio.to_thread(write_seen, self._state_dir, self._seen)

    async def look_first(self) -> None:
        """Before anything else of the process begins; a database that is not there yet is looked at when it is."""
        try:
            await self.remember()
        except (StoreLostError, OSError) as error:
            log.warning("the database's history cannot be looked at", error=str(error).strip())

    async def run(self) -> None:
        while True:
            try:
                await self.remember()
            except (StoreLostError, OSError) as error:
                log.warning("the database's history cannot be looked at", error=str(error).strip())
            await asyncio.sleep(self._period_s)

    async def close(self) -> None:
        await self._connection.close()

    async def _look(self, connection: AsyncConnection[Any]) -> Found:
        # As it was before the question: who counts on meanwhile must not accuse the answer of being old.
        seen = self._seen
        found = await found_now(connection)
        suspected = suspicion(found, seen)
        if suspected is not None and is_news(suspected, found):
            await begin(connection, suspected)
            log.error(
                "the database was restored: the cell is in quarantine", cause=suspected.cause, why=suspected.detail
            )
        is_quarantined = found.is_quarantined or suspected is not None
        if is_quarantined != self.is_quarantined:
            log.warning("quarantine", is_quarantined=is_quarantined)
        self.is_quarantined = is_quarantined
        return found
