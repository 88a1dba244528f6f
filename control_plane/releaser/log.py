"""What whoever carries rollouts out reads and writes: each method is one transaction, under the lease that it is given.

False where a method may give it means: the lease is lost, or the record is not what was believed; read it again.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from contract.values import value
from control_plane.evacuations.deciding import EvacuationGrounds
from control_plane.evacuations.model import EvacuationRecord, Primary
from control_plane.evacuations.states import EvacuationEvent
from control_plane.fleet.model import Cell
from control_plane.rollouts.gates import Grounds
from control_plane.rollouts.model import Deployment, JudgedWindow, RolloutRecord
from control_plane.rollouts.states import RolloutEvent, RolloutStop
from control_plane.store.cells import cells_in_order
from control_plane.store.database import Database
from control_plane.store.evacuations import (
    advance_evacuation,
    evacuation_grounds,
    note_evacuation,
    note_primary,
    open_evacuation,
)
from control_plane.store.judgements import Evidence, record_window
from control_plane.store.leases import Lease, instant, is_anything_open
from control_plane.store.rollouts import (
    advance_rollout,
    fail_rollout,
    grounds_of,
    note_deployment,
    note_waiting,
    open_rollout,
    record_rollout_step,
)

Write = Callable[[Any], Awaitable[bool]]
"""Within a transaction."""


@value
class OpenWork:
    """What is open, and the time by the clock that all processes share."""

    rollout: RolloutRecord | None
    evacuation: EvacuationRecord | None
    cells: tuple[Cell, ...]
    grounds: Grounds
    now: datetime


class ReleaseLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_anything_open(self) -> bool:
        async with self._database.transaction() as connection:
            return await is_anything_open(connection)

    async def read(self) -> OpenWork:
        async with self._database.snapshot() as connection:
            return OpenWork(
                rollout=await open_rollout(connection),
                evacuation=await open_evacuation(connection),
                cells=await cells_in_order(connection),
                grounds=await grounds_of(connection),
                now=await instant(connection),
            )

    async def evacuation_grounds(self) -> EvacuationGrounds:
        async with self._database.snapshot() as connection:
            return await evacuation_grounds(connection)

    async def advance(self, lease: Lease, rollout: RolloutRecord, event: RolloutEvent) -> bool:
        return await self._write(lambda connection: advance_rollout(connection, lease, rollout, event))

    async def fail(self, lease: Lease, rollout: RolloutRecord, kind: RolloutStop, *, reason: str, detail: str) -> bool:
        return await self._write(
            lambda connection: fail_rollout(connection, lease, rollout, kind, reason=reason, detail=detail)
        )

    async def wait(self, lease: Lease, rollout: RolloutRecord, *, reason: str, detail: str) -> bool:
        return await self._write(
            lambda connection: note_waiting(connection, lease, rollout, reason=reason, detail=detail)
        )

    async def note(self, lease: Lease, rollout: RolloutRecord, before: Deployment, after: Deployment) -> bool:
        return await self._write(lambda connection: note_deployment(connection, lease, rollout, before, after))

    async def judge(self, lease: Lease, rollout: RolloutRecord, window: JudgedWindow, evidence: Evidence) -> bool:
        return await self._write(lambda connection: record_window(connection, lease, rollout, window, evidence))

    async def tell(
        self, rollout: RolloutRecord, *, at: datetime, step: str, duration_ms: float, facts: Mapping[str, Any] | None
    ) -> None:
        async with self._database.transaction() as connection:
            await record_rollout_step(connection, rollout, at=at, step=step, duration_ms=duration_ms, facts=facts)

    async def advance_evacuation(self, lease: Lease, evacuation: EvacuationRecord, event: EvacuationEvent) -> bool:
        return await self._write(lambda connection: advance_evacuation(connection, lease, evacuation, event))

    async def note_evacuation(self, lease: Lease, evacuation: EvacuationRecord, facts: Mapping[str, Any]) -> bool:
        return await self._write(lambda connection: note_evacuation(connection, lease, evacuation, facts))

    async def note_primary(self, lease: Lease, evacuation: EvacuationRecord, before: Primary, after: Primary) -> bool:
        return await self._write(lambda connection: note_primary(connection, lease, evacuation, before, after))

    async def _write(self, write: Write) -> bool:
        async with self._database.transaction() as connection:
            return await write(connection)
