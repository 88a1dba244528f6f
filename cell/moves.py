"""The cell's side of moves, put together: steps that need another cell's word, and what is done without a mover.

A grant is believed when the source confirms it. Where the source does not answer at all, one that is presented is
believed too: it is what is left when the source is gone for good. Knows no SQL and no HTTP.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from cell.crash_points import CrashPoints
from cell.move_ports import MoveStore
from cell.peer_grants import NotGranted, PeerGrants, Quarantined, Silence
from cell.ports import StoreLostError
from cell.store.moves.sessions import MoveRefusedError
from cell.store.moves.target import Intent
from contract.moves import Grant, Grants, MoveReason, UnitsNow

UNASKED_MAX: Final = 8
"""Of many units granted together so many are confirmed one by one: they were granted in one transaction."""

LOOK_PAUSE_S: Final = 0.1
"""Between looks for grants at the commands' instigation, however many of them wait."""

log = structlog.get_logger()


class Moves:
    def __init__(self, store: MoveStore, *, peers: PeerGrants, crash_points: CrashPoints) -> None:
        self._store = store
        self._peers = peers
        self._looking: asyncio.Task[None] | None = None
        self.crash_points = crash_points
        self.departures = store.departures
        self.arrivals = store.arrivals
        self.source = store.source
        self.target = store.target
        self.deletion = store.deletion
        self.isolation = store.isolation
        self.revival = store.revival

    def look_for_grants(self) -> None:
        """A command has met a unit that moves: if it was sealed here, its grant may stand at the source by now."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_for_grants())

    async def _look_for_grants(self) -> None:
        try:
            await self.pull(older_s=0)
        except StoreLostError as error:
            log.warning("grants cannot be looked for", error=str(error))
        await asyncio.sleep(LOOK_PAUSE_S)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._peers.close()
        await self._store.close()

    async def activate(self, grants: Grants, *, move_id: str) -> UnitsNow:
        """By grants that somebody brings.

        Raises:
            MoveRefusedError: the source says that it made no such grant; or as `Target.activate`.

        """
        intents = await self.target.intents([one.unit for one in grants.grants])
        for grant in grants.grants[:UNASKED_MAX]:
            intent = intents.get(grant.unit)
            told = Silence() if intent is None else await self._peers.ask(intent.source_admin_urls, grant.unit)
            if isinstance(told, Quarantined):
                detail = f"The source of unit {grant.unit} is in quarantine; it says what it granted when it is opened."
                raise MoveRefusedError(MoveReason.CELL_MUST_NOT_BE_QUARANTINED, detail)
            if isinstance(told, NotGranted) or (isinstance(told, Grant) and told != grant):
                detail = f"The source says that it made no such grant of unit {grant.unit}."
                raise MoveRefusedError(MoveReason.UNIT_MUST_BE_GRANTED, detail)
        return await self.target.activate(grants.grants, move_id=move_id)

    async def discard(self, units: Sequence[int], *, move_id: str) -> UnitsNow:
        """Raises MoveRefusedError: a unit was sealed, and its source does not say that it will never be granted."""
        intents = await self.target.intents(units)
        now = {one.unit: one.fence_no for one in (await self.source.units_now(units)).units}
        never_granted: dict[int, int] = {}
        for unit, intent in intents.items():
            if intent.was_sealed and await self._is_excluded(intent, now[unit]):
                never_granted[unit] = now[unit]
        after = await self.target.discard(units, move_id=move_id, never_granted=never_granted)
        for unit in await self.deletion.begun():
            if unit in intents:
                await self.deletion.delete_batch(unit)
        return after

    async def _is_excluded(self, intent: Intent, fence_no: int) -> bool:
        told = await self._peers.ask(intent.source_admin_urls, intent.unit)
        return isinstance(told, NotGranted) and told.excludes(fence_no)

    async def pull(self, *, older_s: float) -> None:
        """Units that were sealed so long ago and are still not active: whoever was to bring the grant may be dead."""
        for intent in await self.deletion.waiting(older_s=older_s):
            told = await self._peers.ask(intent.source_admin_urls, intent.unit)
            if isinstance(told, Grant) and told.move_id == intent.move_id:
                await self._activate_pulled(told)

    async def _activate_pulled(self, grant: Grant) -> None:
        try:
            await self.target.activate([grant], move_id=grant.move_id)
        except MoveRefusedError as error:
            log.warning("a grant does not fit what is staged", unit=grant.unit, move=grant.move_id, why=str(error))
        else:
            log.info("a grant was pulled", unit=grant.unit, move=grant.move_id, epoch=grant.epoch)

    async def end_leftovers(self, *, older_s: float) -> None:
        """One round: stagings that nobody goes on with are given up, and what is being deleted is deleted on."""
        for intent in await self.deletion.stale(older_s=older_s):
            try:
                await self.discard([intent.unit], move_id=intent.move_id)
            except MoveRefusedError as error:
                log.warning("a staging is left behind", unit=intent.unit, move=intent.move_id, why=str(error))
            else:
                log.info("a staging was given up", unit=intent.unit, move=intent.move_id)
        for unit in await self.deletion.begun():
            # Once its last row has gone a unit that was only staged is unknown, and has none to delete.
            while unit in await self.deletion.begun():
                await self.deletion.delete_batch(unit)
                await self.crash_points.reach("move.cleaned")
