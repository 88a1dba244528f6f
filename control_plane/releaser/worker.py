"""Carries out what is open, one control plane process at a time, under a lease with a fencing number.

Any number of processes run this; while nothing is open none of them writes anything. One that dies is followed when its
lease is over, one that is slow is shut out by its number.
"""

import asyncio
import os
import socket
import uuid
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Final

import structlog

from contract.values import value
from control_plane.releaser.evacuating import EvacuationRun
from control_plane.releaser.figures import FiguresSource
from control_plane.releaser.log import OpenWork, ReleaseLog
from control_plane.releaser.run import RolloutRun
from control_plane.releaser.substrate import Substrate
from control_plane.releaser.switch_overs import SwitchOvers
from control_plane.store.database import Database, DatabaseMustBeReadyError
from control_plane.store.leases import Lease, hold, let_go

log = structlog.get_logger()

LEASE: Final = "releases"
LEASE_LASTS = timedelta(seconds=30)
"""Three times what one call may take; so long nobody follows a process that was killed."""
IDLE_S = 1.0
STEPS_AT_ONCE = 50


@value
class Releasing:
    """What the worker works with."""

    database: Database
    records: ReleaseLog
    rollouts: RolloutRun
    evacuations: EvacuationRun
    substrate: Substrate
    source: FiguresSource
    switch_overs: SwitchOvers
    lease_lasts: timedelta = LEASE_LASTS

    async def close(self) -> None:
        await self.substrate.close()
        await self.source.close()
        await self.switch_overs.close()


class ReleaseWorker:
    def __init__(self, parts: Releasing) -> None:
        self._parts = parts
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lease: Lease | None = None
        self._renewed_at = 0.0

    async def run(self) -> None:
        """For ever. This loop is the boundary of its process: whatever a round raises is told, and the next follows."""
        try:
            while True:
                is_busy = await self._round()
                await asyncio.sleep(self._parts.substrate.pause_s if is_busy else IDLE_S)
        finally:
            await self._let_go()

    async def _round(self) -> bool:
        """Whether anything is open."""
        try:
            for _ in range(STEPS_AT_ONCE):
                if not await self._parts.records.is_anything_open():
                    await self._let_go()
                    return False
                lease = await self._hold()
                if lease is None or not await self._turn(await self._parts.records.read(), lease):
                    return True
        except DatabaseMustBeReadyError as error:
            log.warning("round_must_reach_the_database", error=str(error))
            self._lease = None
            return False
        except Exception:
            log.exception("round_must_not_fail")
            return False
        return True

    async def _turn(self, work: OpenWork, lease: Lease) -> bool:
        """An evacuation goes first: a rollout waits for it. The lease is renewed for as long as the steps take."""
        has_moved = False
        renewing = asyncio.create_task(self._renew_while_busy(), name="lease of releases")
        try:
            if work.evacuation is not None:
                has_moved = await self._parts.evacuations.turn(work, work.evacuation, lease)
            if work.rollout is not None:
                has_moved = await self._parts.rollouts.turn(work, work.rollout, lease) or has_moved
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        return has_moved

    async def _renew_while_busy(self) -> None:
        """An audit may take minutes. What is lost all the same is noticed by the next write."""
        while True:
            await asyncio.sleep(self._parts.lease_lasts.total_seconds() / 3)
            with suppress(DatabaseMustBeReadyError):
                await self._hold()

    async def _hold(self) -> Lease | None:
        """Renewed long before it is over: a step may take as long as its calls."""
        lasts = self._parts.lease_lasts
        if self._lease is not None and monotonic() - self._renewed_at < lasts.total_seconds() / 6:
            return self._lease
        asked_at = monotonic()
        async with self._parts.database.transaction() as connection:
            self._lease = await hold(connection, LEASE, holder=self._holder, lasts=lasts)
        self._renewed_at = asked_at
        return self._lease

    async def _let_go(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                async with self._parts.database.transaction() as connection:
                    await let_go(connection, lease)
            except DatabaseMustBeReadyError:
                return
