"""The mover's process: takes up every open move that it has a place for, carries isolations through, cleans up.

Any number of these processes may run: a move is acted on by one of them, and a cell is touched by so many moves.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import structlog

from contract.ids import CellId
from contract.values import value
from control_plane.crash_points import CrashPoints
from control_plane.mover.acts import Acts
from control_plane.mover.asking import MoveCells
from control_plane.mover.cleaning import clean_up
from control_plane.mover.copying import Copier, CopyPace
from control_plane.mover.isolating import settle_isolations
from control_plane.mover.log import RecordedMoves
from control_plane.mover.metrics import MoverMetrics
from control_plane.mover.run import MoveRun
from control_plane.moves.model import MoveRecord
from control_plane.moves.policy import MovePolicy
from control_plane.store.cells import cells_in_order
from control_plane.store.database import Database, DatabaseMustBeReadyError
from control_plane.store.move_locks import acting_on
from control_plane.store.moves import open_heads
from control_plane.tokens import utc_now
from control_plane.watch import Watch

log = structlog.get_logger()

PERIOD_S = 0.5
"""Without a nudge the worker looks so often."""
CLEAN_PERIOD_S = 60.0
ENDING_S = 5.0
"""At the end of the process: until whoever is under a fence is out of it."""


@value
class MoverParts:
    database: Database
    watch: Watch
    cells: MoveCells
    moves: RecordedMoves
    policy: MovePolicy
    pace: CopyPace
    crash_points: CrashPoints
    metrics: MoverMetrics
    places: int
    """Moves that may touch one cell at the same time."""


class Worker:
    def __init__(self, parts: MoverParts) -> None:
        self._parts = parts
        self._runs: dict[str, tuple[MoveRecord, MoveRun, asyncio.Task[None]]] = {}
        self._is_ending = False
        self._cleaned_at = -CLEAN_PERIOD_S
        self.looked_at: float | None = None
        """When the database last answered, by the monotonic clock."""

    async def run(self) -> None:
        """For ever. This loop is the boundary of its process: whatever a round raises is told, and the next follows."""
        watching = asyncio.create_task(self._parts.watch.run(), name="watch")
        try:
            while True:
                await self._round()
                await self._parts.watch.wait_until_nudged(PERIOD_S)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await self._end()

    async def _round(self) -> None:
        try:
            async with self._parts.database.transaction() as connection:
                self._parts.cells.know(await cells_in_order(connection))
                moves = await open_heads(connection)
            self.looked_at = monotonic()
            self._interrupt_stopped(moves)
            self._take_up(moves)
            await settle_isolations(self._parts.database, self._parts.cells)
            if monotonic() - self._cleaned_at >= CLEAN_PERIOD_S:
                self._cleaned_at = monotonic()
                await clean_up(self._parts.database, self._parts.cells, self._parts.policy)
        except DatabaseMustBeReadyError as error:
            log.warning("round_must_reach_the_database", error=str(error))
        except Exception:
            log.exception("round_must_not_fail")

    def _interrupt_stopped(self, moves: tuple[MoveRecord, ...]) -> None:
        for move in moves:
            if move.stop is not None and move.id in self._runs:
                self._runs[move.id][1].interrupt()

    def _take_up(self, moves: tuple[MoveRecord, ...]) -> None:
        self._runs = {move_id: held for move_id, held in self._runs.items() if not held[2].done()}
        for move in moves:
            if move.id not in self._runs and all(self._touching(cell) < self._parts.places for cell in _cells(move)):
                run = self._new_run()
                task = asyncio.create_task(self._carry_out(move, run), name=f"move {move.id}")
                self._runs[move.id] = (move, run, task)
        self._parts.metrics.running.set(len(self._runs))
        self._parts.metrics.open.set(len(moves))

    def _touching(self, cell: CellId) -> int:
        return sum(cell in _cells(move) for move, _, _ in self._runs.values())

    def _new_run(self) -> MoveRun:
        parts = self._parts
        copier = Copier(parts.cells, parts.pace)
        return MoveRun(
            acts=Acts(parts.cells, copier, parts.policy, utc_now),
            moves=parts.moves,
            policy=parts.policy,
            crash_points=parts.crash_points,
            metrics=parts.metrics,
            clock=utc_now,
            sleep=asyncio.sleep,
        )

    async def _carry_out(self, move: MoveRecord, run: MoveRun) -> None:
        """The boundary of one move: whatever it raises is told, and the next round takes it up again."""
        try:
            async with acting_on(self._parts.database.url, move.id, _cells(move), places=self._parts.places) as is_ours:
                if is_ours:
                    await run.run(move.id, is_ending=self._ending())
        except DatabaseMustBeReadyError as error:
            log.warning("move_must_reach_the_database", move=move.id, error=str(error))
        except Exception:
            log.exception("move_must_not_fail", move=move.id)
        finally:
            self._parts.watch.nudge()

    def _ending(self) -> Callable[[], bool]:
        return lambda: self._is_ending

    async def _end(self) -> None:
        self._is_ending = True
        for _, run, _ in self._runs.values():
            run.interrupt()
        tasks = [task for _, _, task in self._runs.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=ENDING_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _cells(move: MoveRecord) -> tuple[CellId, CellId]:
    return move.from_cell, move.to_cell
