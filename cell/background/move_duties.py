"""What a cell does about moves without a mover: fences fall, grants are fetched, what was left behind is ended.

Each is a duty of the cell: repeatable at any point, done by one process at a time, needing no control plane.
"""

import asyncio
from typing import Final

import structlog

from cell.background.duty import Duty, DutyMetrics
from cell.moves import Moves

WATCHDOG_PERIOD_S: Final = 0.1
"""A look costs one probe of a small index; while a fence stands the watchdog sleeps until it must fall."""
PULL_PERIOD_S: Final = 0.5
PULL_AFTER_S: Final = 1.0
"""After the seal: a mover that is alive has brought the grant long before."""
LEFTOVERS_PERIOD_S: Final = 30.0
LEFTOVER_AFTER_S: Final = 900.0
"""Without a sign of the mover; a copy of many rows says something at each page."""
MARGIN_S: Final = 0.002

log = structlog.get_logger()


class MoveDuties:
    def __init__(
        self, moves: Moves, *, database_url: str, metrics: DutyMetrics, leftover_after_s: float = LEFTOVER_AFTER_S
    ) -> None:
        self._moves = moves
        self._leftover_after_s = leftover_after_s
        works = {
            "move-watchdog": (WATCHDOG_PERIOD_S, self.watch),
            "move-puller": (PULL_PERIOD_S, self.pull),
            "move-leftovers": (LEFTOVERS_PERIOD_S, self.end_leftovers),
        }
        self.duties = [
            (name, Duty(database_url=database_url, name=name, period_s=period_s, work=work, metrics=metrics))
            for name, (period_s, work) in works.items()
        ]

    async def watch(self) -> None:
        """Until no fence stands: whatever became of its mover, it falls at its deadline."""
        while standing := await self._moves.source.standing():
            due = [unit for unit, left_us in standing if left_us <= 0]
            if due:
                await self._moves.source.lapse(due)
                log.warning("fences fell at their deadline", units=due[:20], count=len(due))
            else:
                await asyncio.sleep(standing[0][1] / 1_000_000 + MARGIN_S)

    async def pull(self) -> None:
        await self._moves.pull(older_s=PULL_AFTER_S)

    async def end_leftovers(self) -> None:
        await self._moves.end_leftovers(older_s=self._leftover_after_s)
