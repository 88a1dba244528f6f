"""Where a scenario plays: the whole platform or a small fleet; and what can be done to the processes there.

Parts are known by the names that the supervisor gives them (`cell-1-api-1`, `cell-1-postgres`, `router`).
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import LiteralString, Protocol

import psycopg

POLL_S = 0.02
BACK_DEADLINE_S = 90.0
"""Far above what a restart takes; a loaded machine may need a while."""

LOCK_TRIES_MAX = 20
LOCK = "SELECT FROM wallets WHERE wallet_id = ANY(%s::uuid[]) ORDER BY wallet_id FOR UPDATE"
WAITING_BATCHES = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'cell-write:%' AND wait_event_type = 'Lock'
"""
LINGERING_BATCHES = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'cell-write:%' AND state = 'idle in transaction'
  AND clock_timestamp() - state_change > interval '600 ms'
"""


class Site(Protocol):
    @property
    def entrances(self) -> tuple[str, ...]:
        """URLs that vendors may send to."""

    @property
    def databases(self) -> Mapping[str, str]:
        """Cell to the URL of its database."""

    @property
    def token(self) -> str:
        """Of a vendor with every vendor scope."""

    def url_of(self, part: str) -> str:
        """Of an API process itself, past the router."""

    def pids(self, part: str) -> tuple[int, ...]:
        """The main process of a part, then the others that belong to it (those of a PostgreSQL); none between two."""

    async def is_back(self, part: str, *, not_pid: int) -> bool:
        """Whether the part is ready again, in another process."""


async def wait_until(holds: Callable[[], Awaitable[bool]], *, deadline_s: float) -> bool:
    """Whether it held before the deadline; a deadline bounds failures and never a success."""
    ends_s = time.monotonic() + deadline_s
    while not await holds():
        if time.monotonic() > ends_s:
            return False
        await asyncio.sleep(POLL_S)
    return True


async def kill(site: Site, part: str, *, deadline_s: float = BACK_DEADLINE_S) -> bool:
    """SIGKILL to all its processes; whether somebody started it again."""
    pid = kill_now(site, part)
    return await wait_until(lambda: site.is_back(part, not_pid=pid), deadline_s=deadline_s)


def kill_now(site: Site, part: str) -> int:
    """The pid that its main process had; 0 if there was none."""
    pids = site.pids(part)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids[0] if pids else 0


@contextlib.asynccontextmanager
async def stopped(site: Site, *parts: str) -> AsyncIterator[None]:
    """SIGSTOP the processes, and let them go on in the end."""
    pids = [pid for part in parts for pid in site.pids(part)[:1]]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def stopped_with_locks(
    site: Site, part: str, *, cell: str, wallet_ids: Sequence[str], knock: Callable[[], Awaitable[object]]
) -> AsyncIterator[None]:
    """Stop the process in the middle of a batch: while it holds the locks of some of these wallets.

    We hold the locks ourselves until a command that `knock` sends to the process waits for them; once it is stopped
    we let go, and they are its own.
    """
    database_url = site.databases[cell]
    knocks: list[asyncio.Future[object]] = []
    try:
        for _ in range(LOCK_TRIES_MAX):
            async with await psycopg.AsyncConnection.connect(database_url) as ours:
                await ours.execute(LOCK, (list(wallet_ids),))
                knocks.append(asyncio.ensure_future(knock()))
                await wait_until(lambda: _counts(database_url, WAITING_BATCHES, at_least=3), deadline_s=1.0)
                async with stopped(site, part):
                    await ours.rollback()
                    if await wait_until(lambda: _counts(database_url, LINGERING_BATCHES, at_least=1), deadline_s=1.5):
                        yield
                        return
    finally:
        await asyncio.gather(*knocks)
    raise AssertionError(f"{part} was stopped {LOCK_TRIES_MAX} times and never held a lock")


@contextlib.asynccontextmanager
async def dead_port(port: int) -> AsyncIterator[None]:
    """Hold a port whose owner was killed: whoever connects is cut off, and the owner cannot come back."""
    server = None
    while server is None:
        try:
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        except OSError:
            await asyncio.sleep(POLL_S)
    async with server:
        yield


async def _counts(database_url: str, statement: LiteralString, *, at_least: int) -> bool:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        row = await (await connection.execute(statement)).fetchone()
    return row is not None and row[0] >= at_least
