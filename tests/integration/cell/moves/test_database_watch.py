"""The watch over a database that nobody restored: whatever happens at once, it accuses no honest database."""

import asyncio
from pathlib import Path
from typing import Any

from cell_databases import CellDatabase
from psycopg import AsyncConnection, AsyncCursor

from cell.quarantine import DatabaseWatch


class _Late(AsyncCursor[Any]):
    """An answer that lies in the socket for a while."""

    is_there, may_be_read = asyncio.Event(), asyncio.Event()

    async def fetchall(self) -> list[Any]:
        rows = await super().fetchall()
        self.is_there.set()
        await self.may_be_read.wait()
        return rows


async def test_an_answer_that_comes_after_the_next_count_is_no_restored_database(
    database: CellDatabase, tmp_path: Path
) -> None:
    watch = DatabaseWatch(database.app_url, state_dir=tmp_path)
    await watch.remember()
    async with await AsyncConnection.connect(database.app_url, autocommit=True) as connection:
        connection.cursor_factory = _Late
        admitting = asyncio.create_task(watch.admit(connection))
        await _Late.is_there.wait()
        await watch.remember()
        _Late.may_be_read.set()
        await admitting
    assert not watch.is_quarantined
    assert database.sql("SELECT count(*) FROM quarantines") == [(0,)]
    await watch.close()
