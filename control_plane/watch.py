"""What is published right now, for all who wait: long polls wait for a newer version, the reconciler for a nudge.

One task looks at the database (at nudges, and at least every second); any number of waiters cost nothing. While the
database is gone, waiters are told at once.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime

import structlog

from control_plane.store.database import DatabaseMustBeReadyError
from control_plane.store.nudges import Look

log = structlog.get_logger()

Looks = Callable[[], AsyncGenerator[Look, None]]
"""Looks at the database until it is gone."""
RECONNECT_S = 0.2
"""Between attempts to reach a database that is gone."""
WAITERS_MAX = 1_000
"""Long polls that may hang at once; one more is answered after a second, so that nobody asks in a tight loop."""
CROWDED_WAIT_S = 1.0


class Watch:
    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._look: Look | None = None
        self._listening_since: datetime | None = None
        self._changed = asyncio.Event()
        self._nudged = asyncio.Event()
        self._is_stopping = False
        self._waiters = 0

    @property
    def listening_since(self) -> datetime | None:
        """Since when the database has been there without a gap; None while it is not. By the database's clock."""
        return self._listening_since

    @property
    def waiters(self) -> int:
        """Long polls that hang right now."""
        return self._waiters

    async def run(self) -> None:
        """For ever, through any loss of the database. This loop is the boundary of its process, as the reconciler's."""
        while True:
            try:
                async with aclosing(self._looks()) as seen:
                    async for look in seen:
                        self._see(look)
            except DatabaseMustBeReadyError as error:
                self._lose(str(error))
            except Exception as error:
                log.exception("look_must_not_fail")
                self._lose(repr(error))
            await asyncio.sleep(RECONNECT_S)

    def nudge(self) -> None:
        self._nudged.set()

    def stop(self) -> None:
        """Let every waiter go: the process is about to end."""
        self._is_stopping = True
        self._announce()

    async def wait_until_nudged(self, timeout_s: float) -> None:
        """Returns at a nudge, or when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._nudged.wait()
        except TimeoutError:
            return
        finally:
            self._nudged.clear()

    async def wait_until_newer(self, version_in: Callable[[Look], int | None], *, than: int, timeout_s: float) -> None:
        """Returns when a newer version is published, the time is over, or the process stops.

        Raises:
            DatabaseMustBeReadyError: the database is gone.

        """
        if self._waiters >= WAITERS_MAX:
            await asyncio.sleep(min(timeout_s, CROWDED_WAIT_S))
            return
        self._waiters += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_newer(version_in, than)
        except TimeoutError:
            return
        finally:
            self._waiters -= 1

    async def _until_newer(self, version_in: Callable[[Look], int | None], than: int) -> None:
        while not self._is_stopping:
            changed, look = self._changed, self._look
            if look is None:
                raise DatabaseMustBeReadyError("the database went away during the wait")
            if (version_in(look) or 0) > than:
                return
            await changed.wait()

    def _see(self, look: Look) -> None:
        if self._listening_since is None:
            self._listening_since = look.at
            log.info("database_is_reachable")
        previous, self._look = self._look, look
        if look.was_nudged:
            self._nudged.set()
        if previous is None or _published(previous) != _published(look):
            self._announce()

    def _lose(self, error: str) -> None:
        if self._look is not None:
            log.error("database_must_be_reachable", error=error)
        self._look = None
        self._listening_since = None
        self._announce()

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _published(look: Look) -> tuple[object, ...]:
    return look.directory, look.configurations
