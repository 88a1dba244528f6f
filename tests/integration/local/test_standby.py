"""A standby that commits wait for: what is acknowledged is on it, and without it nothing is acknowledged."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from cellwallet.local.parts import Database, standby_database
from cellwallet.local.postgres import THROWAWAY, Cluster, PostgresMustStartError
from cellwallet.local.standby import Replication, Standby, StandbyMustFollowError
from cellwallet.local.supervisor import RunningPart, Supervisor

DEADLINE_S = 30.0
A_MOMENT_S = 1.0
"""Far more than a commit takes."""


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "primary", settings=THROWAWAY)
    cluster.start()
    with cluster.superuser() as connection:
        connection.execute("CREATE TABLE numbers (number int PRIMARY KEY)")
    yield cluster
    cluster.stop(signal.SIGQUIT)


@pytest.fixture
def standby(primary: Cluster, tmp_path: Path) -> Iterator[Standby]:
    """Follows; nobody waits for it yet."""
    standby = Standby(primary, tmp_path / "standby", name="cell-1-standby")
    standby.start()
    yield standby
    standby.stop(signal.SIGQUIT)


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s until {what}"
        time.sleep(0.01)


def numbers_of(cluster: Cluster) -> set[int]:
    with cluster.superuser() as connection:
        return {number for (number,) in connection.execute("SELECT number FROM numbers")}


class Writer:
    """Commits one number after the other until its connection breaks; remembers what was acknowledged."""

    def __init__(self, cluster: Cluster, *, first: int = 0) -> None:
        self._url = cluster.url()
        self._first = first
        self.acknowledged: list[int] = []
        self.thread = threading.Thread(target=self._write)
        self.thread.start()

    def _write(self) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                while True:
                    number = self._first + len(self.acknowledged)
                    connection.execute("INSERT INTO numbers VALUES (%s)", [number])
                    self.acknowledged.append(number)
        except psycopg.OperationalError:
            return


@contextmanager
def writing(cluster: Cluster, *, first: int = 0) -> Iterator[Writer]:
    """Ended by the primary's end or, at the latest, at the end of the context."""
    writer = Writer(cluster, first=first)
    try:
        yield writer
    finally:
        try:
            with cluster.superuser() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
        except psycopg.OperationalError:
            pass  # it is dead, which ends the writer too
        writer.thread.join(DEADLINE_S)
        assert not writer.thread.is_alive()


def kill(cluster: Cluster) -> None:
    """The whole cluster at once, as a machine that loses its power."""
    assert cluster.pid is not None
    os.kill(cluster.pid, signal.SIGKILL)
    cluster.stop()
    cluster.end_leftovers()


def lost_by(primary: Cluster, standby: Standby) -> set[int]:
    """What was acknowledged and is not on the standby after the primary's death.

    The standby's receiver stands still for a moment before: this is when a primary that does not wait runs ahead.
    """
    with standby.superuser() as connection:
        ((receiver,),) = connection.execute("SELECT pid FROM pg_stat_wal_receiver").fetchall()
    with writing(primary) as writer:
        wait_until(lambda: len(writer.acknowledged) > 50, "something is written")
        os.kill(receiver, signal.SIGSTOP)
        try:
            time.sleep(A_MOMENT_S)
            kill(primary)
        finally:
            os.kill(receiver, signal.SIGCONT)
    wait_until(lambda: not is_receiving(standby), "all that was sent is replayed")
    return set(writer.acknowledged) - numbers_of(standby)


def is_receiving(standby: Standby) -> bool:
    with standby.superuser() as connection:
        ((received, replayed, receivers),) = connection.execute(
            "SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), (SELECT count(*) FROM pg_stat_wal_receiver)"
        ).fetchall()
    return bool(receivers) or received != replayed


def test_a_standby_is_a_copy_that_follows_and_cannot_be_written(primary: Cluster, standby: Standby) -> None:
    with primary.superuser() as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
    wait_until(lambda: numbers_of(standby) == {1}, "the standby has followed")
    assert standby.is_following
    seen = standby.replication()
    assert (seen.is_streaming, seen.is_synchronous) == (True, False)
    with standby.superuser() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO numbers VALUES (2)")


def test_what_was_acknowledged_is_on_the_standby_after_the_primary_was_killed(
    primary: Cluster, standby: Standby
) -> None:
    standby.demand()
    assert standby.replication().is_synchronous
    assert lost_by(primary, standby) == set()


def test_mutant_a_primary_that_does_not_wait_loses_what_it_acknowledged(primary: Cluster, standby: Standby) -> None:
    """Mutant: nobody demanded that commits wait."""
    wait_until(lambda: standby.replication().is_streaming, "the standby streams")
    assert lost_by(primary, standby)


def test_a_standby_is_counted_on_only_when_it_has_what_was_acknowledged_before(
    primary: Cluster, standby: Standby
) -> None:
    """It streams, and commits wait for it; but what was committed just before did not."""
    wait_until(lambda: standby.replication().is_streaming, "the standby streams")
    with standby.superuser() as connection:
        ((receiver,),) = connection.execute("SELECT pid FROM pg_stat_wal_receiver").fetchall()
    os.kill(receiver, signal.SIGSTOP)
    try:
        with primary.superuser() as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")
        with pytest.raises(StandbyMustFollowError, match="was not up to date"):
            standby.demand(timeout_s=A_MOMENT_S)
        assert standby.replication().is_synchronous
    finally:
        os.kill(receiver, signal.SIGCONT)
    standby.demand()
    wait_until(lambda: 1 in numbers_of(standby), "it is there")


def test_without_its_standby_nothing_is_acknowledged_and_with_it_everything_goes_on(
    primary: Cluster, standby: Standby
) -> None:
    standby.demand()
    kill(standby)
    wait_until(lambda: standby.replication() == Replication(), "the primary has noticed")
    with writing(primary) as writer:
        time.sleep(A_MOMENT_S)
        assert writer.acknowledged == []
        standby.start()
        standby.wait_until_synchronous()
        wait_until(lambda: len(writer.acknowledged) > 10, "commits go on")
        assert 0 in numbers_of(standby)


def test_mutant_without_the_demand_commits_do_not_wait(primary: Cluster, standby: Standby) -> None:
    """Mutant of the test before."""
    kill(standby)
    with writing(primary) as writer:
        wait_until(lambda: len(writer.acknowledged) > 10, "commits go on by themselves")


def test_the_demand_outlives_a_restart_of_the_primary(primary: Cluster, standby: Standby) -> None:
    """Also one that finds its standby gone: it may not forget what it promised."""
    standby.demand()
    standby.demand()
    primary.stop()
    standby.stop()
    primary.start()
    with writing(primary) as writer:
        time.sleep(A_MOMENT_S)
        assert writer.acknowledged == []
        standby.start()
        wait_until(lambda: bool(writer.acknowledged), "commits go on")


def test_a_primary_that_comes_back_is_followed_again(primary: Cluster, standby: Standby) -> None:
    standby.demand()
    kill(primary)
    primary.start()
    standby.wait_until_synchronous()
    with primary.superuser() as connection:
        connection.execute("INSERT INTO numbers VALUES (7)")
    wait_until(lambda: 7 in numbers_of(standby), "the standby has followed")


def test_a_standby_that_is_not_wanted_any_more_holds_nobody_up(primary: Cluster, standby: Standby) -> None:
    standby.demand()
    standby.stop()
    with writing(primary) as writer:
        time.sleep(A_MOMENT_S)
        assert writer.acknowledged == []
        standby.forgo()
        wait_until(lambda: len(writer.acknowledged) > 10, "commits go on")
    with primary.superuser() as connection:
        assert connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == []


def test_one_that_was_promoted_stays_a_primary_and_waits_for_nobody(primary: Cluster, standby: Standby) -> None:
    """Whoever promotes finds a cluster that takes writes, now and after its next start."""
    standby.demand()
    kill(primary)
    with standby.superuser() as connection:
        connection.execute("SELECT pg_promote()")
    wait_until(lambda: not standby.is_following, "it is a primary")
    for number in (1, 2):
        with standby.superuser() as connection:
            connection.execute("INSERT INTO numbers VALUES (%s)", [number])
        standby.stop()
        standby.start()
    assert numbers_of(standby) == {1, 2}


def test_a_standby_that_never_streamed_changes_nothing(
    primary: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits never begin to wait for somebody who was never there."""
    monkeypatch.setattr("cellwallet.local.standby.SYNCHRONOUS_TIMEOUT_S", 0.3)
    absent = Standby(primary, tmp_path / "absent", name="absent")
    with pytest.raises(StandbyMustFollowError, match="absent was not streaming"):
        absent.demand()
    with primary.superuser() as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")


def test_two_may_reserve_the_log_at_once(primary: Cluster, tmp_path: Path) -> None:
    """Who makes the copy, and the watch over the pair."""
    standby = Standby(primary, tmp_path / "standby")
    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            together = threading.Barrier(4)

            def reserve(all_: threading.Barrier = together) -> None:
                all_.wait()
                standby.reserve_log()

            for reserving in [threads.submit(reserve) for _ in range(4)]:
                reserving.result()
            standby.forgo()


def test_a_copy_that_fails_is_told_and_leaves_no_half_standby(primary: Cluster, tmp_path: Path) -> None:
    """The primary knows nobody of this name who may replicate."""
    with primary.superuser() as connection:
        connection.execute("ALTER SYSTEM SET max_wal_senders = 0")
    primary.stop()
    primary.start()
    broken = Standby(primary, tmp_path / "broken")
    with pytest.raises(PostgresMustStartError, match="pg_basebackup failed"):
        broken.start()
    assert not broken.data_folder.exists()


@asynccontextmanager
async def supervised(folder: Path) -> AsyncIterator[tuple[Supervisor, Standby]]:
    """Both as parts of a platform, whose start writes something to the primary."""
    primary = Cluster(folder / "one", settings=THROWAWAY)
    standby = Standby(primary, folder / "two")
    started = "CREATE TABLE IF NOT EXISTS starts (at timestamptz DEFAULT now()); INSERT INTO starts DEFAULT VALUES"
    supervisor = Supervisor(lambda _: None)
    supervisor.add(
        [
            Database(name="primary", cluster=primary, provision=lambda one: one.run_script(started)),
            standby_database("standby", standby, primary="primary"),
        ]
    )
    try:
        await supervisor.wait_until_ready(timeout_s=DEADLINE_S)
        yield supervisor, standby
    finally:
        await supervisor.stop()


def is_ready_again(running: RunningPart) -> bool:
    return (running.restarts, running.state) == (1, "ready")


def has_starts(cluster: Cluster, count: int) -> bool:
    with cluster.superuser() as connection:
        return len(connection.execute("SELECT at FROM starts").fetchall()) == count


async def test_a_supervisor_keeps_both_alive_and_starts_them_again_as_they_were(tmp_path: Path) -> None:
    for start in (1, 2):
        async with supervised(tmp_path) as (supervisor, standby):
            assert (await asyncio.to_thread(standby.replication)).is_synchronous
            for part in ("standby", "primary"):
                running = supervisor.parts[part]
                assert running.pid is not None
                os.kill(running.pid, signal.SIGKILL)
                is_back = partial(is_ready_again, running)
                await asyncio.to_thread(wait_until, is_back, f"{part} is started again")
                await asyncio.to_thread(standby.wait_until_synchronous, timeout_s=DEADLINE_S)
            has_this_start = partial(has_starts, standby, start)
            await asyncio.to_thread(wait_until, has_this_start, "the standby has what this start wrote")
