"""One evacuation a step further: what control_plane/evacuations decides is done and recorded, as of rollouts."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

import structlog

from contract.primaries import PrimaryDirection
from control_plane.crash_points import CrashPoints
from control_plane.evacuations.deciding import (
    NOT_DONE,
    AdvanceEvacuation,
    Cordon,
    EvacuationGrounds,
    NoteDirectory,
    SwitchOver,
    WaitFor,
    Watched,
    has_waited_enough,
    next_evacuation_step,
    waited,
    watched,
    why_not_cordoned,
)
from control_plane.evacuations.model import PATIENCE, EvacuationRecord, Primary
from control_plane.evacuations.states import EvacuationEvent
from control_plane.fleet.model import Unreachable
from control_plane.releaser.log import OpenWork, ReleaseLog
from control_plane.releaser.substrate import Outcome, Substrate, Taken
from control_plane.releaser.switch_overs import (
    MustWait,
    NotAvailable,
    SwitchedOver,
    SwitchFailed,
    SwitchOrder,
    SwitchOutcome,
    SwitchOvers,
    UnderWay,
)
from control_plane.store.leases import Lease

log = structlog.get_logger()

HANGS_ON_ROUTERS = frozenset({"ordered", "ending"})
NOTHING_ASKED = EvacuationGrounds(directory=None, routers={})
"""The directory is large, and an evacuation may be in force for days."""
LOOKS_AT_ONCE = 4
"""At primaries before a cordon; fewer than the cluster's client has threads."""
CLOSED, NOT_AVAILABLE, OPEN_AGAIN = "closed for anything new", "not available", "open again"


class EvacuationRun:
    def __init__(
        self, *, records: ReleaseLog, substrate: Substrate, switch_overs: SwitchOvers, crash_points: CrashPoints
    ) -> None:
        self._records = records
        self._substrate = substrate
        self._switch_overs = switch_overs
        self._crash_points = crash_points
        self._turns = 0
        self._watch: Watched | None = None

    async def turn(self, work: OpenWork, evacuation: EvacuationRecord, lease: Lease) -> bool:
        """One step; whether another one may follow at once.

        Raises:
            DatabaseMustBeReadyError: the control plane's database is gone; another turn goes on from the facts.

        """
        self._turns += 1
        self._watch = watched(self._watch, evacuation, work.now)
        grounds = await self._records.evacuation_grounds() if evacuation.state in HANGS_ON_ROUTERS else NOTHING_ASKED
        step = next_evacuation_step(evacuation, grounds, work.now, turn=self._turns, watch=self._watch)
        match step:
            case AdvanceEvacuation():
                return await self._advance(work, evacuation, step.event, lease)
            case NoteDirectory():
                return await self._records.note_evacuation(lease, evacuation, {"announced_version": step.version})
            case SwitchOver():
                return await self._switch(work, evacuation, step, lease)
            case Cordon():
                return await self._cordon(work, evacuation, lease)
            case WaitFor():
                if (evacuation.reason, evacuation.detail) != (step.reason, step.detail):
                    facts = {"reason": step.reason, "detail": step.detail}
                    await self._records.note_evacuation(lease, evacuation, facts)
                return False

    async def _advance(
        self, work: OpenWork, evacuation: EvacuationRecord, event: EvacuationEvent, lease: Lease
    ) -> bool:
        if event is EvacuationEvent.TRAFFIC_RETURNED:
            opened = await self._substrate.cordon(evacuation.zone, is_closed=False)
            if _may_be_closed(evacuation) or isinstance(opened, Unreachable):
                await self._records.note_evacuation(lease, evacuation, {"cordon": _opened(opened)})
            if isinstance(opened, Unreachable):
                return False
        await self._crash_points.reach(f"evacuation.{event}")
        log.info("evacuation_advanced", evacuation=evacuation.id, zone=evacuation.zone, by=event, at=str(work.now))
        return await self._records.advance_evacuation(lease, evacuation, event)

    async def _switch(self, work: OpenWork, evacuation: EvacuationRecord, step: SwitchOver, lease: Lease) -> bool:
        primary = step.primary
        outcome = await self._asked(work, evacuation, primary, lease, may_begin=step.may_begin)
        await self._crash_points.reach("evacuation.switched")
        after = _noted(primary, outcome)
        if isinstance(outcome, MustWait) and not step.may_begin:
            after = _given_up(primary, outcome)
        if has_waited_enough(evacuation, primary, after, work.now, watch=self._watch):
            after = replace(after, state="failed", detail=f"not in {_minutes(PATIENCE)} minutes: {after.detail}")
        is_news = (after.state, after.detail) != (primary.state, primary.detail)
        if is_news:
            await self._records.note_primary(lease, evacuation, primary, after)
        return after.state != primary.state

    async def _asked(
        self, work: OpenWork, evacuation: EvacuationRecord, primary: Primary, lease: Lease, *, may_begin: bool
    ) -> SwitchOutcome:
        cell = next((one for one in work.cells if one.id == primary.cell), None)
        if cell is None:
            return NotAvailable(detail="the cell is gone")
        direction: PrimaryDirection = "away" if evacuation.kind == "evacuation" else "back"
        return await self._switch_overs.switch(
            SwitchOrder(
                cell=cell,
                zone=evacuation.zone,
                direction=direction,
                fence=lease.fence,
                may_begin=may_begin,
                is_begun=primary.state == "switching",
            )
        )

    async def _cordon(self, work: OpenWork, evacuation: EvacuationRecord, lease: Lease) -> bool:
        """What cannot be cordoned is told, and evacuated all the same: traffic has left already."""
        told = why_not_cordoned(evacuation, moves_primaries=self._substrate.cordon_moves_primaries)
        if told is None and self._substrate.cordon_moves_primaries:
            back = await self._not_away_any_more(work, evacuation, lease)
            if back:
                return await self._left_open(work, evacuation, back, lease)
        if told is None:
            outcome = await self._substrate.cordon(evacuation.zone, is_closed=True)
            if isinstance(outcome, Unreachable):
                await self._records.note_evacuation(lease, evacuation, {"cordon": f"waiting: {outcome.detail}"})
                return False
            told = CLOSED if isinstance(outcome, Taken) else f"{NOT_AVAILABLE}: {outcome.detail}"
        if evacuation.cordon != told:
            return await self._records.note_evacuation(lease, evacuation, {"cordon": told})
        await self._crash_points.reach("evacuation.cordoned")
        return await self._records.advance_evacuation(lease, evacuation, EvacuationEvent.ZONE_CORDONED)

    async def _not_away_any_more(
        self, work: OpenWork, evacuation: EvacuationRecord, lease: Lease
    ) -> list[tuple[Primary, SwitchOutcome]]:
        """Of those that were switched, perhaps long ago: a failover may have brought one into the zone again since."""
        there = {cell.id for cell in work.cells}
        primaries = [one for one in evacuation.primaries if one.cell in there]
        turns = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look(primary: Primary) -> SwitchOutcome:
            async with turns:
                return await self._asked(work, evacuation, primary, lease, may_begin=False)

        outcomes = await asyncio.gather(*(look(one) for one in primaries))
        looked = zip(primaries, outcomes, strict=True)
        return [(one, outcome) for one, outcome in looked if not isinstance(outcome, SwitchedOver)]

    async def _left_open(
        self,
        work: OpenWork,
        evacuation: EvacuationRecord,
        back: list[tuple[Primary, SwitchOutcome]],
        lease: Lease,
    ) -> bool:
        """Nothing is cordoned then: who cannot tell where it is is waited for, the others are noted as they are."""
        primary, outcome = back[0]
        is_open = isinstance(outcome, UnderWay | Unreachable)
        if is_open and waited(evacuation, self._watch, work.now) <= PATIENCE:
            told = f"{NOT_DONE} yet: {primary.cell}: {outcome.detail}"
            if evacuation.cordon != told:
                await self._records.note_evacuation(lease, evacuation, {"cordon": told})
            return False
        after = replace(primary, state="failed", detail=f"looked for before the cordon: {outcome.detail}")
        return await self._records.note_primary(lease, evacuation, primary, after)


def _may_be_closed(evacuation: EvacuationRecord) -> bool:
    return evacuation.cordon != "" and not evacuation.cordon.startswith((NOT_AVAILABLE, NOT_DONE))


def _opened(outcome: Outcome) -> str:
    """What is left closed is told: nobody comes back to it when the evacuation has ended."""
    match outcome:
        case Taken():
            return OPEN_AGAIN
        case Unreachable():
            return f"to be opened: {outcome.detail}"
        case _:
            return f"still closed, and not to be opened by us: {outcome.detail}"


def _noted(primary: Primary, outcome: SwitchOutcome) -> Primary:
    match outcome:
        case SwitchedOver():
            return replace(primary, state="switched", detail=outcome.detail)
        case UnderWay():
            return replace(primary, state="switching", detail=outcome.detail)
        case MustWait():
            return replace(primary, state="waiting", detail=outcome.detail)
        case NotAvailable():
            return replace(primary, state="not_available", detail=outcome.detail)
        case SwitchFailed():
            return replace(primary, state="failed", detail=outcome.detail)
        case Unreachable():
            return replace(primary, detail=outcome.detail)
        case _:
            assert_never(outcome)


def _given_up(primary: Primary, outcome: MustWait) -> Primary:
    """Nothing is under way, and nothing is begun any more."""
    detail = f"the evacuation has ended: {outcome.detail}"
    return replace(primary, state="failed" if primary.state == "switching" else "not_available", detail=detail)


def _minutes(time: timedelta) -> int:
    return int(time / timedelta(minutes=1))
