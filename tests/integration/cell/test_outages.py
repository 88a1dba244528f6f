"""PostgreSQL killed in mid-batch, restarted, frozen: no acknowledged command is lost, none is applied twice."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cell_databases import CellDatabase, CellDatabases
from cell_lanes import RunningLanes, code, running_lanes
from cell_stores import postgres_ledger
from cell_waiting import until
from ledger_book import Book

from cell.ledger.commands import Command
from cell.ledger.outcomes import Outcome
from cellwallet.local.scratch import ScratchCluster, scratch_cluster
from contract.ids import wallet_id_of

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchCluster]:
    """One that may be killed: nobody else's databases are in it."""
    with scratch_cluster(tmp_path_factory.mktemp("killed")) as scratch:
        yield scratch


@pytest.fixture(scope="module")
def own_databases(own_cluster: ScratchCluster) -> CellDatabases:
    return CellDatabases(own_cluster)


@pytest.fixture
def database(own_cluster: ScratchCluster, own_databases: CellDatabases) -> CellDatabase:
    if not own_cluster.cluster.is_ready():
        own_cluster.cluster.start()
    return own_databases.copy()


def postmaster_pid(database: CellDatabase) -> int:
    note: Path = database.scratch.cluster.data_folder / "postmaster.pid"
    return int(note.read_text().partition("\n")[0])


async def keep_asking(running: RunningLanes, book: Book, stop: asyncio.Event) -> list[tuple[Command, Outcome]]:
    """Bursts of credits, each of 1, until told to stop; every one is asked until it is decided."""
    decided: list[tuple[Command, Outcome]] = []
    while not stop.is_set():
        commands = [book.credit(ALICE, 1) for _ in range(20)]
        decided += zip(commands, await running.do(*commands), strict=True)
    return decided


async def assert_each_once(database: CellDatabase, decided: list[tuple[Command, Outcome]]) -> None:
    assert {code(outcome) for _, outcome in decided} <= {"accepted", "replayed"}
    asked = {command.transaction_id for command, _ in decided}
    rows = database.sql("SELECT transaction_id::text FROM entries WHERE kind = 'credit'")
    assert sorted(row[0] for row in rows) == sorted(asked)
    assert database.one("SELECT balance FROM wallets") == len(asked)
    await database.assert_clean()


@pytest.mark.parametrize("victim", ["a backend", "the postmaster", "the postmaster, back at once"])
async def test_a_killed_database_loses_nothing_and_doubles_nothing(
    database: CellDatabase, book: Book, victim: str
) -> None:
    cluster = database.scratch.cluster
    async with running_lanes(database, batch_max=10, patience_s=60) as running:
        await running.open(book, ["alice"])
        stop = asyncio.Event()
        asking = asyncio.create_task(keep_asking(running, book, stop))
        for _ in range(2):
            await until_more_entries(database)
            if victim == "a backend":
                os.kill(writing_backend(database), signal.SIGKILL)  # takes all the others with it
                await until(lambda: not running.lanes.are_connected)
                await until(cluster.is_ready)
            else:
                os.kill(postmaster_pid(database), signal.SIGKILL)
                cluster.stop(signal.SIGKILL)  # reaps it
                if victim == "the postmaster":
                    await until(lambda: not running.lanes.are_connected)
                cluster.start()
            await until(lambda: running.lanes.are_connected)
        stop.set()
        decided = await asking
        assert len(decided) > 40
        assert running.figure("cell_ambiguous_commands_total") > 0
    await assert_each_once(database, decided)


async def until_more_entries(database: CellDatabase) -> None:
    before = database.count("entries")
    await until(lambda: database.count("entries") > before + 20)


def writing_backend(database: CellDatabase) -> int:
    pid: int = database.one(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'cell-write:%' AND datname = current_database() "
        "ORDER BY xact_start NULLS LAST LIMIT 1"
    )
    return pid


async def test_an_orderly_restart_is_only_a_pause(database: CellDatabase, book: Book) -> None:
    cluster = database.scratch.cluster
    async with running_lanes(database, patience_s=60) as running:
        await running.open(book, ["alice"])
        stop = asyncio.Event()
        asking = asyncio.create_task(keep_asking(running, book, stop))
        await until(lambda: database.count("entries") > 20)
        cluster.stop()
        await until(lambda: not running.lanes.are_connected)
        cluster.start()
        await until(lambda: running.lanes.are_connected)
        stop.set()
        decided = await asking
    await assert_each_once(database, decided)


async def test_a_frozen_database_costs_the_deadline_and_no_more(database: CellDatabase, book: Book) -> None:
    """A backend that neither answers nor goes away: callers are told in time, and it is finished once it thaws."""
    credit = book.credit(ALICE, 1)
    async with running_lanes(postgres_ledger(database.app_url), lanes=1, patience_s=0.2) as running:
        await running.open(book, ["alice"])
        pid = database.one("SELECT pid FROM pg_stat_activity WHERE application_name = 'cell-write:0'")
        os.kill(pid, signal.SIGSTOP)
        try:
            codes = await running.codes(credit, book.credit(ALICE, 1), deadline_s=0.3)
            assert codes == ["deadline_must_not_pass"] * 2
            assert await running.codes(book.credit(ALICE, 1), deadline_s=0.1) == ["deadline_must_not_pass"]
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await running.codes(credit) == ["replayed"]
    assert database.one("SELECT balance FROM wallets") == 2
    await database.assert_clean()
