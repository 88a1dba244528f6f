"""One move between two model cells: a vendor writes, the mover may die, and each step is followed by the checks."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from moving.model_cells import ModelCell, ModelCells, ModelUnit, MoverKilledError
from moving.model_log import ModelMoves

from contract.ids import CellId
from control_plane.crash_points import CrashPoints
from control_plane.mover.acts import Acts
from control_plane.mover.copying import Copier, CopyPace
from control_plane.mover.metrics import MoverMetrics
from control_plane.mover.run import MoveRun
from control_plane.moves.model import MovedUnit, MoveRecord
from control_plane.moves.policy import MovePolicy

START = datetime(2026, 1, 1, tzinfo=UTC)
MOVE_ID = "0b5c9f0a-3b52-4b53-9f2d-3d5d1a0c7e11"
TURNS_MAX = 2_000
OWNING = {"active", "fenced"}
"""States in which a cell takes writes, or will again."""


class MoveWorld:
    def __init__(
        self, wallets: Iterable[int], *, policy: MovePolicy | None = None, run: type[MoveRun] = MoveRun
    ) -> None:
        """`wallets`: how many each unit has."""
        self.now = START
        self.source, self.target = ModelCell("cell-a", self.clock), ModelCell("cell-b", self.clock)
        self.cells = ModelCells(self.source, self.target)
        self.policy = policy or MovePolicy()
        self._run = run
        self.written: dict[int, dict[str, list[int]]] = {}
        for number, count in enumerate(wallets):
            logs = {str(UUID(int=number * 1000 + wallet)): [1, 2] for wallet in range(count)}
            self.source.units[number] = ModelUnit(
                state="active", epoch=1, wallets={k: list(v) for k, v in logs.items()}
            )
            self.written[number] = logs
        self.moves = ModelMoves(self._planned(), self.clock)
        self._loop = asyncio.Runner()

    def close(self) -> None:
        self._loop.close()

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.now - START > timedelta(hours=1):
            raise AssertionError(f"the move does not end: {self.moves.move}")

    def work(self, until: Callable[["MoveWorld"], bool] = lambda _: False) -> None:
        """A new mover takes the move up and works until it ends, is killed, or `until` holds."""
        run = self._new_run()
        move: MoveRecord | None = self.moves.move
        for _ in range(TURNS_MAX):
            if move is None or not move.is_open or until(self):
                return
            try:
                move = self._loop.run(run.turn(move)) or self.moves.move
            except MoverKilledError:
                return
            self.check()
        raise AssertionError(f"the move does not end: {self.moves.move}")

    def write(self, unit: int, wallet: str, amount: int) -> None:
        """By a vendor, wherever it is taken; what was acknowledged must never be lost."""
        takers = [cell for cell in (self.source, self.target) if cell.write(unit, wallet, amount)]
        assert len(takers) <= 1, f"unit {unit} is written in two cells"
        if takers:
            self.written[unit].setdefault(wallet, []).append(amount)

    def check(self) -> None:
        """I1, I2: at most one owner, and what was acknowledged is in the one that serves or will."""
        for number in self.source.units:
            owners = [cell for cell in (self.source, self.target) if self._owns(cell, number)]
            assert len(owners) <= 1, f"unit {number} has two owners"
            if owners:
                assert owners[0].units[number].wallets == self.written[number], f"unit {number} lost something"
            else:
                coming = self.target.units.get(number)
                assert self.source.units[number].state == "granted", f"unit {number} has no owner and no grant"
                assert coming is not None, f"unit {number} is nowhere"
                assert coming.wallets == self.written[number], f"unit {number} lost something"

    def check_ended(self) -> None:
        self.check()
        for unit in self.moves.move.units:
            source, target = self.source.units[unit.unit], self.target.units.get(unit.unit)
            cell, epoch, is_moving = self.moves.owners[unit.unit]
            assert not is_moving
            if source.state == "active":
                assert (cell, epoch) == (self.source.name, unit.from_epoch)
                assert target is None or target.state == "moved"
            else:
                assert (source.state, cell, epoch) == ("moved", self.target.name, unit.to_epoch)
                assert target is not None
                assert target.state == "active"

    def _owns(self, cell: ModelCell, number: int) -> bool:
        return number in cell.units and cell.units[number].state in OWNING

    def _new_run(self) -> MoveRun:
        copier = Copier(self.cells, CopyPace(rows_max=3), sleep=self.sleep)
        return self._run(
            acts=Acts(self.cells, copier, self.policy, self.clock),
            moves=self.moves,
            policy=self.policy,
            crash_points=CrashPoints(None),
            metrics=MoverMetrics(),
            clock=self.clock,
            sleep=self.sleep,
        )

    def _planned(self) -> MoveRecord:
        return MoveRecord(
            id=MOVE_ID,
            from_cell=CellId("cell-a"),
            to_cell=CellId("cell-b"),
            state="planned",
            units=tuple(MovedUnit(unit=number, from_epoch=1) for number in self.source.units),
            ordered_by="olga",
            ordered_at=START,
            changed_at=START,
        )
