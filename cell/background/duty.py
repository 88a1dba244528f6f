"""A duty: one loop per cell, done by whichever API process holds its lock.

Owns who works and when, and that no failure ends it; knows nothing of the work. A round takes no input, recomputes from
stored state and may run twice: a holder that loses its lock finishes the round it is in, while another begins.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import psycopg
import structlog

from cell.ports import StoreLostError
from cell.store.duty_lock import DutyLock, DutyLockLostError

STANDBY_PERIODS: Final = 10
STANDBY_PERIOD_MAX_S: Final = 1.0
"""Who does not hold the lock tries for it every tenth period, and at least so often: a duty goes on a second after its
holder died, and processes that only wait ask the database for next to nothing."""

log = structlog.get_logger()


class DutyMetrics(Protocol):
    def duty_held(self, duty: str, *, is_held: bool) -> None: ...
    def duty_round(self, duty: str) -> None: ...
    def duty_failed(self, duty: str) -> None: ...


class Duty:
    """`work` is one round. `run` never ends by itself; cancelling it lets the lock go."""

    def __init__(
        self,
        *,
        database_url: str,
        name: str,
        period_s: float,
        work: Callable[[], Awaitable[None]],
        metrics: DutyMetrics,
    ) -> None:
        self._name = name
        self._period_s = period_s
        self._standby_period_s = max(period_s, min(period_s * STANDBY_PERIODS, STANDBY_PERIOD_MAX_S))
        self._work = work
        self._metrics = metrics
        self._lock = DutyLock(database_url, name=name)
        self._nudged = asyncio.Event()
        self._is_held = False

    @property
    def is_held(self) -> bool:
        """As of the last look at the lock."""
        return self._is_held

    def nudge(self) -> None:
        """There may be work: the holder begins its next round at once. Elsewhere it changes nothing."""
        self._nudged.set()

    async def run(self) -> None:
        self._tell(is_held=False)
        try:
            while True:
                # Cleared before the round: what is nudged during it may be too late for it, and gets another.
                self._nudged.clear()
                if await self._holds():
                    await self._do_round()
                await self._rest()
        finally:
            self._tell(is_held=False)
            await self._lock.let_go()

    async def _holds(self) -> bool:
        try:
            is_held = await self._lock.hold()
        except DutyLockLostError as error:
            self._metrics.duty_failed(self._name)
            log.warning("duty lost sight of its lock", duty=self._name, was_held=self._is_held, error=str(error))
            is_held = False
        if is_held and not self._is_held:
            log.info("duty taken", duty=self._name)
        self._tell(is_held=is_held)
        return is_held

    async def _do_round(self) -> None:
        try:
            await self._work()
        except (psycopg.Error, StoreLostError, TimeoutError, OSError) as error:
            self._metrics.duty_failed(self._name)
            log.warning("duty failed", duty=self._name, error=str(error).strip() or type(error).__name__)
        except Exception:
            self._metrics.duty_failed(self._name)
            log.exception("duty broke", duty=self._name)
        else:
            self._metrics.duty_round(self._name)

    async def _rest(self) -> None:
        """A jittered period; the holder is up sooner when nudged, the others have nothing to hurry for."""
        period_s = self._period_s if self._is_held else self._standby_period_s
        rest_s = period_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        if not self._is_held:
            await asyncio.sleep(rest_s)
            return
        try:
            async with asyncio.timeout(rest_s):
                await self._nudged.wait()
        except TimeoutError:
            return

    def _tell(self, *, is_held: bool) -> None:
        self._is_held = is_held
        self._metrics.duty_held(self._name, is_held=is_held)
