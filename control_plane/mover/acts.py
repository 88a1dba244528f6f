"""What the mover asks of the two cells, and how their answers read: one method for each step that goes to a cell."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from contract.ids import CellId
from contract.moves import Fence, Fences, Grant, Grants, StagedUnits, Surveys, UnitsNow
from control_plane.fleet.model import Unreachable
from control_plane.mover import calls
from control_plane.mover.asking import Cells, StepRefused
from control_plane.mover.copying import Copied, Copier, Failure
from control_plane.moves.model import CellSeen, MoveRecord, UnitSeen
from control_plane.moves.policy import MovePolicy

GRANTS_AT_ONCE = 16
"""Grants that are read at the same time, when a portion is found granted."""

Clock = Callable[[], datetime]


class Acts:
    def __init__(self, cells: Cells, copier: Copier, policy: MovePolicy, clock: Clock) -> None:
        self._cells = cells
        self._copier = copier
        self._policy = policy
        self._clock = clock

    async def look(self, move: MoveRecord) -> tuple[CellSeen | Failure, CellSeen | Failure]:
        """The source and the target."""
        units = [unit.unit for unit in move.in_hand]
        source, target = await asyncio.gather(
            self.survey(move, move.from_cell, units), self.survey(move, move.to_cell, units)
        )
        return source, target

    async def survey(self, move: MoveRecord, cell: CellId, units: Sequence[int]) -> CellSeen | Failure:
        asked_at = self._clock()
        answer = await self._cells.ask(cell, calls.survey(move, units))
        if not isinstance(answer, Surveys):
            return answer
        if {seen.unit for seen in answer.units} != set(units):
            return Unreachable(detail=f"{cell} told of other units than it was asked for")
        return _seen(answer, asked_at + (self._clock() - asked_at) / 2)

    async def stage(self, move: MoveRecord) -> UnitsNow | Failure:
        return await self._cells.ask(move.to_cell, calls.stage(move, self._cells.admin_urls(move.from_cell)))

    async def copy(
        self, move: MoveRecord, unit: int, *, is_first: bool, may_go_on: Callable[[], bool]
    ) -> Copied | Failure:
        return await self._copier.carry(move, unit, is_throttled=is_first, is_fenced=False, may_go_on=may_go_on)

    async def fence(self, move: MoveRecord) -> Fences | Failure:
        answer = await self._cells.ask(move.from_cell, calls.fence(move, self._policy))
        if isinstance(answer, Fences) and {one.unit for one in answer.fences} != {one.unit for one in move.in_hand}:
            return Unreachable(detail=f"{move.from_cell} fenced other units than it was told to")
        return answer

    async def delta(self, move: MoveRecord, exiled: frozenset[int]) -> Copied | CellSeen | Failure:
        """What the source still has; or what it now is, when a unit that was empty has wallets."""
        carried = [unit.unit for unit in move.in_hand if unit.wallets or unit.unit in exiled]
        empty = [unit.unit for unit in move.in_hand if unit.unit not in carried]
        if empty:
            seen = await self.survey(move, move.from_cell, empty)
            if not isinstance(seen, CellSeen) or any(unit.wallets for unit in seen.units.values()):
                return seen
        total = Copied()
        for unit in carried:
            copied = await self._copier.carry(move, unit, is_throttled=False, is_fenced=True, may_go_on=lambda: True)
            if not isinstance(copied, Copied):
                return copied
            total = Copied(rows=total.rows + copied.rows, bytes=total.bytes + copied.bytes, ms=total.ms + copied.ms)
        return total

    async def seal(self, move: MoveRecord, fences: Sequence[Fence]) -> StagedUnits | Failure:
        """The target's digests; its word that they are the source's is checked once more by the source."""
        answer = await self._cells.ask(move.to_cell, calls.seal(move, fences))
        if not isinstance(answer, StagedUnits):
            return answer
        sealed = {(one.unit, one.fence_no, one.digest) for one in answer.staged}
        if sealed != {(one.unit, one.fence_no, one.digest) for one in fences}:
            return StepRefused(status=409, reason="digests_must_match", detail="the target staged others", facts={})
        return answer

    async def grant(self, move: MoveRecord, staged: StagedUnits) -> Grants | Failure:
        return await self._cells.ask(move.from_cell, calls.grant(move, staged.staged))

    async def read_grants(self, move: MoveRecord) -> tuple[Grant, ...] | Failure:
        """The copies that were kept, or what the source says."""
        kept = [Grant.model_validate(unit.grant) for unit in move.in_hand if unit.grant is not None]
        if len(kept) == len(move.in_hand):
            return tuple(kept)
        gate = asyncio.Semaphore(GRANTS_AT_ONCE)

        async def read(unit: int) -> Grant | StepRefused | Unreachable:
            async with gate:
                return await self._cells.ask(move.from_cell, calls.grant_of(unit))

        answers = await asyncio.gather(*(read(unit.unit) for unit in move.in_hand))
        failure = next((answer for answer in answers if not isinstance(answer, Grant)), None)
        return failure or tuple(answer for answer in answers if isinstance(answer, Grant))

    async def activate(self, move: MoveRecord, grants: Sequence[Grant]) -> UnitsNow | Failure:
        return await self._cells.ask(move.to_cell, calls.activate(move, grants))

    async def tombstone(self, move: MoveRecord) -> UnitsNow | Failure:
        return await self._cells.ask(move.from_cell, calls.tombstone(move))

    async def unfence(self, move: MoveRecord) -> UnitsNow | Failure:
        return await self._cells.ask(move.from_cell, calls.unfence(move))

    async def discard(self, move: MoveRecord) -> UnitsNow | Failure:
        return await self._cells.ask(move.to_cell, calls.discard(move))

    async def differences(self, move: MoveRecord) -> list[dict[str, object]]:
        """As far as the cells still tell."""
        found = [await self._copier.difference(move, unit.unit) for unit in move.in_hand if unit.wallets]
        return [one for one in found if isinstance(one, dict)]


def fences_of(grants: Sequence[Grant]) -> tuple[Fence, ...]:
    """The fences under which these were granted: nothing has changed there since."""
    return tuple(Fence(unit=one.unit, epoch=one.epoch - 1, fence_no=one.fence_no, digest=one.digest) for one in grants)


def _seen(answer: Surveys, at: datetime) -> CellSeen:
    offset: timedelta = datetime.fromisoformat(answer.database_now) - at
    return CellSeen(
        units={
            one.unit: UnitSeen(
                unit=one.unit, state=one.state, epoch=one.epoch, wallets=one.wallets, entries=one.entries
            )
            for one in answer.units
        },
        schema_revision=answer.schema_revision,
        clock_offset_ms=offset.total_seconds() * 1000,
        is_synchronous=answer.is_synchronous,
    )
