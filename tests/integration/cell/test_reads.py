"""Reads when something is wrong: a database that is silent, slow or gone, and callers who leave."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from cell_databases import CellDatabase
from cell_lanes import running_lanes
from ledger_book import Book
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from cell.ports import StoreLostError
from cell.queries import Queries
from cell.store.wallet_reader import StoredWallet
from contract.ids import wallet_id_of

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
STATEMENT_TIMEOUT_MS = 500


@pytest.fixture
async def queries(database: CellDatabase, book: Book) -> AsyncIterator[Queries]:
    async with running_lanes(database) as running:
        await running.open(book, ["alice"])
    queries = Queries(
        database.app_url,
        connections_max=2,
        wait_max_ms=2_000,
        statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        connect_timeout_s=3,
    )
    queries.start()
    yield queries
    await queries.stop()


@contextmanager
def frozen_reader(database: CellDatabase) -> Iterator[None]:
    """The backend that reads wallets neither answers nor goes away."""
    pid: int = database.one(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'cell-read' AND datname = current_database()"
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_silent_database_is_told_and_nobody_waits_for_ever(database: CellDatabase, queries: Queries) -> None:
    assert isinstance(await queries.wallet(ALICE, None), StoredWallet)
    with frozen_reader(database):
        async with asyncio.timeout(10):
            with pytest.raises(StoreLostError):
                await queries.wallet(ALICE, None)
    async with asyncio.timeout(10):
        assert isinstance(await queries.wallet(ALICE, None), StoredWallet)


async def test_a_caller_who_leaves_takes_nobody_along(queries: Queries) -> None:
    leaves, stays = (asyncio.create_task(queries.wallet(ALICE, None)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    assert isinstance(await stays, StoredWallet)
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_a_slow_statement_is_not_asked_twice(queries: Queries) -> None:
    asked = 0

    async def ask(connection: AsyncConnection) -> None:
        nonlocal asked
        asked += 1
        await connection.execute(text("SELECT pg_sleep(30)"))

    started_s = time.monotonic()
    with pytest.raises(StoreLostError):
        await queries.ask(ask)
    assert asked == 1
    assert time.monotonic() - started_s < 10


async def test_a_connection_that_was_lost_while_idle_is_replaced(database: CellDatabase, queries: Queries) -> None:
    async def read_once() -> object:
        return await queries.wallets_of_owner(owner_type="person", owner_ref="alice", currency=None, kind=None)

    before = await read_once()
    database.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'cell-read' AND datname = current_database()"
    )
    assert await read_once() == before
