"""The write path of one process: its lanes, and which of them a command takes.

A process has a few lanes for money, chosen by the hash of the wallet (so that batches do not wait for each other's
rows and a wallet's commands keep their order of arrival), and one for openings (a flood of openings must not slow
money). Knows the store only as a port and nothing of HTTP or rules.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final

from cell.lane import Lane, LaneLimits
from cell.ledger.commands import Command, OpenWallet
from cell.ledger.outcomes import Outcome
from cell.ports import LedgerStore
from cell.telemetry import Metrics, Tracing

SWEEP_PERIOD_S: Final = 0.05

__all__ = ["LaneLimits", "Lanes"]


class Lanes:
    """The write path of one process. Instants are those of the running loop's clock, in seconds."""

    def __init__(
        self,
        store: LedgerStore,
        *,
        lanes: int,
        money: LaneLimits,
        openings: LaneLimits,
        metrics: Metrics,
        tracing: Tracing | None = None,
        on_moving: Callable[[], None] | None = None,
    ) -> None:
        self._money = [
            Lane(str(number), store.session(str(number)), money, metrics, tracing, on_moving) for number in range(lanes)
        ]
        self._openings = Lane("openings", store.session("openings"), openings, metrics, tracing, on_moving)
        self._lanes = [*self._money, self._openings]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def are_connected(self) -> bool:
        return all(lane.is_connected for lane in self._lanes)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(lane.run(), name=f"lane {lane.name}") for lane in self._lanes]
        self._tasks.append(asyncio.create_task(self._sweep(), name="lane sweeper"))

    async def stop(self) -> None:
        """Answer what is queued, then let go of the database."""
        for lane in self._lanes:
            await lane.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            await lane.close()

    def submit(self, command: Command, *, deadline_at_s: float) -> "asyncio.Future[Outcome]":
        """Queue a command; its answer arrives in time, whatever happens."""
        if isinstance(command, OpenWallet):
            lane = self._openings
        else:
            lane = self._money[zlib.crc32(command.wallet_id.encode()) % len(self._money)]
        return lane.submit(command, deadline_at_s=deadline_at_s)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_PERIOD_S)
            now_s = asyncio.get_running_loop().time()
            for lane in self._lanes:
                lane.sweep(now_s)
