"""A duty is done by exactly one process of the cell, by another once that one is gone; no failure ends it."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from cell_databases import CellDatabase
from cell_proxy import database_proxy
from cell_waiting import until

from cell.background import duty
from cell.background.duty import Duty
from cell.store.duty_lock import DutyLock, lock_key
from cell.telemetry import Metrics

LONG_S = 3_600.0
SHORT_S = 0.02


class Worker:
    """One process's end of a duty; counts its rounds."""

    def __init__(self, database_url: str, *, period_s: float = SHORT_S, name: str = "relay") -> None:
        self.metrics = Metrics(cell_id="cell-a", zone="zone-1", software_version="1")
        self.rounds = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.duty = Duty(database_url=database_url, name=name, period_s=period_s, work=self._work, metrics=self.metrics)

    async def _work(self) -> None:
        self.rounds += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    def figure(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name, {"duty": "relay"}) or 0


@asynccontextmanager
async def at_work(*workers: Worker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.duty.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


HOLDERS = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 2 AND objid = %s AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def dismiss(database: CellDatabase) -> None:
    """Ends the backend of the holder, as a failover would."""
    [(pid,)] = database.sql(HOLDERS, lock_key("relay"))
    database.sql("SELECT pg_terminate_backend(%s, 30000)", pid)


async def test_exactly_one_of_two_works(database: CellDatabase) -> None:
    one, other = Worker(database.app_url), Worker(database.app_url)
    async with at_work(one, other):
        await until(lambda: one.rounds + other.rounds >= 10)
        assert 0 in {one.rounds, other.rounds}
        assert one.duty.is_held != other.duty.is_held
        assert {worker.figure("cell_duty_is_held") for worker in (one, other)} == {0, 1}
    assert {worker.figure("cell_duty_is_held") for worker in (one, other)} == {0}


async def test_who_only_waits_for_the_lock_seldom_asks_for_it(
    database: CellDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Counter[int]()

    class Counted(DutyLock):
        async def hold(self) -> bool:
            looks[id(self)] += 1
            return await super().hold()

    monkeypatch.setattr(duty, "DutyLock", Counted)
    one, other = Worker(database.app_url), Worker(database.app_url)
    async with at_work(one, other):
        await until(lambda: one.rounds + other.rounds >= 50)
    waiting, working = sorted(looks.values())
    assert working >= 50
    assert waiting < working / 4


async def test_two_duties_do_not_wait_for_each_other(database: CellDatabase) -> None:
    one, other = Worker(database.app_url), Worker(database.app_url, name="expiry")
    async with at_work(one, other):
        await until(lambda: one.rounds and other.rounds)


async def test_another_takes_over_when_the_holder_stops(database: CellDatabase) -> None:
    holder, other = Worker(database.app_url), Worker(database.app_url)
    async with AsyncExitStack() as waiting:
        async with at_work(holder):
            await until(lambda: holder.rounds)
            await waiting.enter_async_context(at_work(other))
            await until(lambda: database.one(CONNECTED) == 2)
            assert other.rounds == 0
        await until(lambda: other.rounds)
    assert database.sql(HOLDERS, lock_key("relay")) == []


async def test_a_holder_whose_lock_is_gone_stops_and_another_takes_over(database: CellDatabase) -> None:
    """The other is quick and the holder slow to look again, so the take-over is certain."""
    holder, other = Worker(database.app_url, period_s=LONG_S), Worker(database.app_url)
    async with at_work(holder):
        await until(lambda: holder.rounds)
        async with at_work(other):
            dismiss(database)
            await until(lambda: other.rounds)
            holder.duty.nudge()
            await until(lambda: not holder.duty.is_held)
            assert holder.rounds == 1
            assert holder.figure("cell_duty_failures_total") == 1


async def test_a_nudge_starts_the_next_round_at_once(database: CellDatabase) -> None:
    worker = Worker(database.app_url, period_s=LONG_S)
    async with at_work(worker):
        await until(lambda: worker.rounds == 1)
        worker.duty.nudge()
        await until(lambda: worker.rounds == 2)


async def test_a_nudge_during_a_round_is_not_lost(database: CellDatabase) -> None:
    worker = Worker(database.app_url, period_s=LONG_S)
    worker.gate.clear()
    async with at_work(worker):
        await until(lambda: worker.rounds == 1)
        worker.duty.nudge()
        worker.gate.set()
        await until(lambda: worker.rounds == 2)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TimeoutError(), OSError("the world failed")], ids=repr)
async def test_a_round_that_fails_is_counted_and_followed_by_the_next(database: CellDatabase, error: Exception) -> None:
    worker = Worker(database.app_url)
    worker.error = error
    async with at_work(worker):
        await until(lambda: worker.rounds >= 3)
        worker.error = None
        await until(lambda: worker.figure("cell_duty_rounds_total") >= 2)
    assert worker.figure("cell_duty_failures_total") >= 2


async def test_an_unreachable_database_is_tried_again(database: CellDatabase) -> None:
    async with database_proxy(database) as proxy:
        worker = Worker(proxy.url())
        async with at_work(worker):
            await until(lambda: worker.rounds)
            proxy.go_down()
            await until(lambda: not worker.duty.is_held)
            seen = worker.rounds
            await until(lambda: worker.figure("cell_duty_failures_total") >= 3)
            assert worker.rounds == seen
            proxy.come_back()
            await until(lambda: worker.rounds > seen)


PROCESS = """
import asyncio, sys
from cell.background.duty import Duty
from cell.telemetry import Metrics

async def work():
    print("a round is done", flush=True)

metrics = Metrics(cell_id="cell-a", zone="zone-1", software_version="1")
asyncio.run(Duty(database_url=sys.argv[1], name="relay", period_s=3600.0, work=work, metrics=metrics).run())
"""


async def test_a_holder_that_is_killed_is_followed_by_another_process(database: CellDatabase) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - our own program, in a process of its own
        [sys.executable, "-c", PROCESS, database.app_url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        while await asyncio.to_thread(process.stdout.readline) != b"a round is done\n":
            assert process.poll() is None
        worker = Worker(database.app_url)
        async with at_work(worker):
            await until(lambda: worker.figure("cell_duty_is_held") == 0 and database.one(CONNECTED) == 2)
            assert worker.rounds == 0
            process.send_signal(signal.SIGKILL)
            await until(lambda: worker.rounds)
    finally:
        process.kill()
        process.communicate()


CONNECTED = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cell-duty:relay' AND datname = current_database()"
)


def test_the_key_of_a_name_never_changes() -> None:
    """Two releases of a cell run side by side for a while."""
    assert (lock_key("relay"), lock_key("housekeeping")) == (1564140217, 1395211614)
