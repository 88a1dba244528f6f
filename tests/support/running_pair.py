"""Two real databases of a cell under a real supervisor and their watch; clients that remember what they were told."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg

from cellwallet.local.cell_pair import CellPair
from cellwallet.local.failover import PLACES, Act, Pair, Place
from cellwallet.local.folder import DataFolder
from cellwallet.local.pair_acts import PairActs
from cellwallet.local.pair_file import place_folder
from cellwallet.local.pair_watch import PairWatch
from cellwallet.local.postgres import THROWAWAY, Cluster
from cellwallet.local.processes import processes_in
from cellwallet.local.supervisor import Supervisor

CELL = "cell-1"
SETTINGS = replace(THROWAWAY, is_paired=True)
DEADLINE_S = 60.0
AGAIN_S = 0.02

NUMBERS = "CREATE TABLE IF NOT EXISTS numbers (number int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())"
ANSWERED = "INSERT INTO numbers (number) VALUES (%s) ON CONFLICT DO NOTHING"


class KilledHere(BaseException):
    """Nothing after it is done."""


class Acts(PairActs):
    """As they are, or without some of them, or killed after so many."""

    def __init__(
        self, cell: str, clusters: dict[Place, Cluster], *, left_out: tuple[Act, ...] = (), killed_after: int | None
    ) -> None:
        super().__init__(cell, clusters)
        self._left_out = left_out
        self._killed_after = killed_after
        self._is_armed = False
        self.done: list[Act] = []
        self.before: Callable[[Act], object] = str
        """Called in the thread in which the act will be done."""

    def arm(self) -> None:
        """From now on acts count."""
        self.done.clear()
        self._is_armed = True

    def do(self, act: Act, pair: Pair) -> None:
        self.before(act)
        if act not in self._left_out:
            super().do(act, pair)
        self.done.append(act)
        if self._is_armed and len(self.done) == self._killed_after:
            raise KilledHere


class RunningPair:
    """Made by `running_pair`."""

    def __init__(
        self,
        data: Path,
        *,
        left_out: tuple[Act, ...] = (),
        killed_after: int | None = None,
        is_wanted: bool = True,
    ) -> None:
        folder = DataFolder(data)
        self.clusters: dict[Place, Cluster] = {
            place: Cluster(place_folder(folder, CELL, place), settings=SETTINGS) for place in PLACES
        }
        self.acts = Acts(CELL, self.clusters, left_out=left_out, killed_after=killed_after)
        self.watch = PairWatch(folder.pair(CELL), self.acts, is_wanted=is_wanted)
        self.pair = CellPair(
            cell=CELL, names={place: f"{place}-postgres" for place in PLACES}, acts=self.acts, watch=self.watch
        )
        self.supervisor = Supervisor(lambda _: None)
        self.watching: asyncio.Task[None] | None = None

    @property
    def primary(self) -> Cluster:
        return self.clusters[self.watch.pair.primary]

    @property
    def standby(self) -> Cluster:
        return self.clusters[self.watch.pair.standby]

    @property
    def url(self) -> str:
        """As services find the primary."""
        return self.pair.url("postgres", "postgres")

    async def start(self) -> None:
        self.watching = asyncio.create_task(self.watch.run())
        self.supervisor.add(self.pair.parts())
        if await self.supervisor.wait_until_ready(timeout_s=DEADLINE_S):
            await self.until_protected(promotions=0)

    async def stop(self) -> None:
        """At once, as a killed supervisor takes everything with it."""
        if self.watching is not None:
            self.watching.cancel()
            with contextlib.suppress(asyncio.CancelledError, KilledHere):
                await self.watching
        self.supervisor.stop_now()
        await self.supervisor.stop()
        for cluster in self.clusters.values():
            await asyncio.to_thread(cluster.end_at_once)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        ends_s = time.monotonic() + DEADLINE_S
        while not await asyncio.to_thread(holds):
            assert time.monotonic() < ends_s, f"waited {DEADLINE_S} s until {what}: {self.watch.described()}"
            assert self.watching is None or not self.watching.done(), f"the watch ended before {what}"
            await asyncio.sleep(AGAIN_S)

    async def until_protected(self, *, promotions: int) -> None:
        def is_so() -> bool:
            told = self.watch.described()
            return bool(told["is_protected"]) and told["promotions"] >= promotions

        await self.until(is_so, f"it is protected after {promotions} promotions")

    def signal(self, cluster: Cluster, number: signal.Signals, *, main_only: bool = False) -> None:
        """To every process of the cluster, or to its main one."""
        main = {running.child.pid for running in self.supervisor.parts.values() if running.child}
        for process in processes_in(cluster.data_folder):
            if not main_only or process.pid in main:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def writable(self) -> list[Place]:
        """Where a primary runs, whoever is allowed to reach it."""
        return [place for place, cluster in self.clusters.items() if _is_writable(cluster)]

    def numbers(self) -> list[int]:
        with self.primary.superuser() as connection:
            return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


def _is_writable(cluster: Cluster) -> bool:
    try:
        with psycopg.connect(cluster.url(), connect_timeout=2) as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    except psycopg.OperationalError:
        return False


@contextlib.asynccontextmanager
async def running_pair(
    data: Path, *, left_out: tuple[Act, ...] = (), is_wanted: bool = True
) -> AsyncIterator[RunningPair]:
    """Protected when it begins, if a standby is wanted; nothing of it runs afterwards."""
    pair = RunningPair(data, left_out=left_out, is_wanted=is_wanted)
    try:
        await pair.start()
        yield pair
    finally:
        await pair.stop()


class Client:
    """Sends one number after the other, each again and again until it is told that it is there."""

    def __init__(self, url: str, *, first: int) -> None:
        self._url = url
        self._first = first
        self._stop = threading.Event()
        self.acknowledged: list[int] = []
        self.thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=2) as connection:
                    while not self._stop.is_set():
                        number = self._first + len(self.acknowledged)
                        connection.execute(ANSWERED, [number])
                        self.acknowledged.append(number)
            except psycopg.Error:
                time.sleep(AGAIN_S)

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def clients(pair: RunningPair, *, count: int = 3) -> Iterator[list[Client]]:
    """At work until the block ends; whoever hangs in a commit by then is let go by the end of its database."""
    with psycopg.connect(pair.url, autocommit=True) as connection:
        connection.execute(NUMBERS)
    working = [Client(pair.url, first=number * 1_000_000) for number in range(1, count + 1)]
    for client in working:
        client.thread.start()
    try:
        yield working
    finally:
        for client in working:
            client.stop()


def lost(pair: RunningPair, working: list[Client]) -> list[int]:
    """What was acknowledged and is not there."""
    for client in working:
        client.thread.join(DEADLINE_S)
        assert not client.thread.is_alive()
    there = set(pair.numbers())
    return [number for client in working for number in client.acknowledged if number not in there]


async def more_acknowledged(pair: RunningPair, working: list[Client], count: int) -> None:
    before = [len(client.acknowledged) for client in working]
    await pair.until(
        lambda: all(len(client.acknowledged) >= had + count for client, had in zip(working, before, strict=True)),
        f"everybody is told {count} more",
    )
