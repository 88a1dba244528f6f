"""One rollout from where it is towards its end: look, decide (control_plane/rollouts), act, record; again.

Holds nothing that matters between two steps. What was done and not recorded is found again by what the cells run.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from time import perf_counter
from typing import Any, assert_never

import structlog

from contract.fleet import AuditVerdict
from contract.ids import CellId
from control_plane.cell_admin import CellAdmin, RefusedByCell
from control_plane.crash_points import CrashPoints
from control_plane.fleet.model import Cell, Unreachable
from control_plane.releaser.figures import Figures, FiguresSource
from control_plane.releaser.log import OpenWork, ReleaseLog
from control_plane.releaser.substrate import ImageOrder, Outcome, Substrate, Taken
from control_plane.rollouts import steps
from control_plane.rollouts.deciding import next_step
from control_plane.rollouts.gates import idle_in, obstacle_of, without_retired
from control_plane.rollouts.judging import Judgement, judge, verdict_of
from control_plane.rollouts.model import Deployment, JudgedWindow, RolloutRecord
from control_plane.rollouts.planning import SERVING_STATES
from control_plane.rollouts.reasons import RolloutReason
from control_plane.rollouts.restoring import first_wave_back
from control_plane.rollouts.states import RolloutEvent
from control_plane.store.judgements import Evidence
from control_plane.store.leases import Lease

log = structlog.get_logger()


class RolloutRun:
    def __init__(
        self,
        *,
        records: ReleaseLog,
        substrate: Substrate,
        source: FiguresSource,
        cells: CellAdmin,
        crash_points: CrashPoints,
    ) -> None:
        self._records = records
        self._substrate = substrate
        self._source = source
        self._cells = cells
        self._crash_points = crash_points
        self._prepared: set[tuple[str, CellId]] = set()
        """Rollout and cell; forgotten with the process, which costs an attempt more."""

    async def turn(self, work: OpenWork, rollout: RolloutRecord, lease: Lease) -> bool:
        """One step; whether another one may follow at once.

        Raises:
            DatabaseMustBeReadyError: the control plane's database is gone; another turn goes on from the facts.

        """
        rollout = without_retired(rollout, work.grounds)
        around = await self._around(work, rollout, lease)
        step = next_step(rollout, around, work.now)
        if isinstance(step, steps.Wait):
            await self._wait(lease, rollout, step)
            return False
        started = perf_counter()
        is_done = await self._do(work, rollout, step, lease)
        duration_ms = (perf_counter() - started) * 1000
        name, facts = _named(step), _facts(step)
        log.info("rollout_step", rollout=rollout.id, wave=rollout.wave, step=name, done=is_done, **(facts or {}))
        if is_done:
            await self._records.tell(rollout, at=work.now, step=name, duration_ms=duration_ms, facts=facts)
        return is_done

    async def _around(self, work: OpenWork, rollout: RolloutRecord, lease: Lease) -> steps.Surroundings:
        since = work.now
        if rollout.state in {"updating", "baking"}:
            since = await self._source.watch(_serving(work), now=work.now, window=rollout.policy.window)
        wanted = sorted(_cells_to_look_at(rollout))
        seen = await asyncio.gather(*(self._substrate.look(cell, rollout.release.image) for cell in wanted))
        return steps.Surroundings(
            cells=dict(zip(wanted, seen, strict=True)),
            obstacle=obstacle_of(rollout, work.grounds),
            fence=lease.fence,
            watched_since=since,
            prepared=frozenset(cell for of, cell in self._prepared if of == rollout.id),
            evacuated_zones=frozenset(work.grounds.evacuated_zones),
            zones_back_at=work.grounds.zones_back_at,
        )

    async def _do(self, work: OpenWork, rollout: RolloutRecord, step: steps.Step, lease: Lease) -> bool:
        match step:
            case steps.Advance():
                is_done = await self._records.advance(lease, rollout, step.event)
                await self._crash_points.reach("rollout.advanced")
                return is_done
            case steps.Prepare():
                return await self._prepare(rollout, step, lease)
            case steps.PutImage():
                return await self._put_image(work, rollout, step, lease)
            case steps.NotePatched() | steps.NoteSettled() | steps.NoteRestoring() | steps.NoteRestored():
                is_done = await self._records.note(lease, rollout, step.deployment, _noted(step, work.now))
                await self._crash_points.reach("rollout.noted")
                return is_done
            case steps.Judge():
                return await self._judge(work, rollout, step, lease)
            case steps.AuditCells():
                return await self._audit(work, rollout, lease)
            case steps.StopRollout():
                return await self._records.fail(lease, rollout, step.kind, reason=step.reason, detail=step.detail)
            case steps.Wait():
                return False
            case _:
                assert_never(step)

    async def _prepare(self, rollout: RolloutRecord, step: steps.Prepare, lease: Lease) -> bool:
        outcome = await self._substrate.prepare(step.cell, rollout.release.image)
        if isinstance(outcome, Taken):
            self._prepared.add((rollout.id, step.cell))
        await self._crash_points.reach("rollout.prepared")
        return isinstance(outcome, Taken) or await self._not_taken(lease, rollout, step.cell, outcome)

    async def _put_image(self, work: OpenWork, rollout: RolloutRecord, step: steps.PutImage, lease: Lease) -> bool:
        deployment = step.deployment
        await self._crash_points.reach("rollout.before_image")
        outcome = await self._substrate.put_image(
            ImageOrder(
                cell=deployment.cell,
                zone=deployment.zone,
                expected=step.expected,
                image=step.image,
                fence=lease.fence,
            )
        )
        await self._crash_points.reach("rollout.image_put" if rollout.stop is None else "rollout.image_put_back")
        if not isinstance(outcome, Taken):
            return await self._not_taken(lease, rollout, deployment.cell, outcome)
        if step.expected == step.image:
            return True  # nothing was replaced: the fence alone counts
        is_back = rollout.state == "rolling_back"
        note: steps.Step = (
            steps.NoteRestoring(deployment=deployment) if is_back else steps.NotePatched(deployment=deployment)
        )
        return await self._records.note(lease, rollout, deployment, _noted(note, work.now))

    async def _judge(self, work: OpenWork, rollout: RolloutRecord, step: steps.Judge, lease: Lease) -> bool:
        """Siblings are the cells that serve and of which nothing was updated yet."""
        cells = {cell.id: cell for cell in _serving(work)}
        wave = [work_cell for work_cell in work.cells if work_cell.id in rollout.cells_in_hand]
        others = [cell for cell in cells.values() if cell.id not in rollout.updated_cells]
        figures = await self._source.figures(
            [*wave, *(one for one in others if one not in wave)], began_at=step.began_at, ended_at=step.ended_at
        )
        judgement = judge(
            {cell.id: figures.cells.get(cell.id) for cell in wave},
            {cell.id: figures.cells.get(cell.id) for cell in others},
            rollout.policy,
            idle=idle_in(rollout, work.grounds),
        )
        verdict, detail = verdict_of(judgement, step.doubt)
        window = JudgedWindow(
            wave=rollout.wave,
            began_at=step.began_at,
            ended_at=step.ended_at,
            verdict=verdict,
            is_grave=judgement.is_grave,
            detail=detail,
        )
        await self._crash_points.reach("rollout.judged")
        return await self._records.judge(lease, rollout, window, _evidence(figures, judgement, others))

    async def _audit(self, work: OpenWork, rollout: RolloutRecord, lease: Lease) -> bool:
        cells = [cell for cell in work.cells if cell.id in rollout.cells_in_hand]
        answers = await asyncio.gather(*(self._cells.audit(cell) for cell in cells))
        await self._crash_points.reach("rollout.audited")
        for cell, answer in zip(cells, answers, strict=True):
            if isinstance(answer, AuditVerdict) and not answer.clean:
                detail = f"the audit of {cell.id} found {len(answer.findings)} differences: {answer.findings[:1]}"
                reason = RolloutReason.LEDGER_MUST_BE_WHOLE
                return await self._records.fail(lease, rollout, "failed", reason=reason, detail=detail)
        for cell, answer in zip(cells, answers, strict=True):
            if isinstance(answer, RefusedByCell | Unreachable):
                detail = f"{cell.id}: {answer.detail}"
                await self._wait(lease, rollout, _wait_for(RolloutReason.AUDIT_MUST_BE_POSSIBLE, detail))
                return False
        return await self._records.advance(lease, rollout, RolloutEvent.BOOKS_BALANCED)

    async def _not_taken(self, lease: Lease, rollout: RolloutRecord, cell: CellId, outcome: Outcome) -> bool:
        is_gone = isinstance(outcome, Unreachable)
        reason = RolloutReason.CELLS_MUST_BE_REACHABLE if is_gone else RolloutReason.SUBSTRATE_MUST_ACCEPT
        detail = "" if isinstance(outcome, Taken) else outcome.detail
        await self._wait(lease, rollout, _wait_for(reason, f"{cell}: {detail}"))
        return False

    async def _wait(self, lease: Lease, rollout: RolloutRecord, step: steps.Wait) -> None:
        """Told once for as long as it lasts."""
        if (rollout.waiting_reason, rollout.waiting_detail) != (step.reason, step.detail):
            log.info("rollout_waits", rollout=rollout.id, state=rollout.state, reason=step.reason, detail=step.detail)
            await self._records.wait(lease, rollout, reason=step.reason, detail=step.detail)


def _serving(work: OpenWork) -> list[Cell]:
    return [cell for cell in work.cells if cell.state in SERVING_STATES or _is_ready(cell)]


def _is_ready(cell: Cell) -> bool:
    """An empty or spare cell is updated too, and somebody has to look at it."""
    return cell.state in {"ready", "empty"}


def _cells_to_look_at(rollout: RolloutRecord) -> set[CellId]:
    if rollout.state in {"updating", "baking", "auditing"}:
        return set(rollout.cells_in_hand)
    if rollout.state == "rolling_back":
        back = range(first_wave_back(rollout), rollout.wave + 1)
        return {one.cell for one in rollout.deployments if one.wave in back}
    return set()


def _noted(step: steps.Step, now: datetime) -> Deployment:
    match step:
        case steps.NotePatched():
            return replace(step.deployment, state="patched", patched_at=now)
        case steps.NoteSettled():
            return replace(step.deployment, state="settled", settled_at=now)
        case steps.NoteRestoring():
            return replace(step.deployment, state="restoring", turned_back_at=step.deployment.turned_back_at or now)
        case steps.NoteRestored():
            return replace(step.deployment, state="restored")
        case _:
            raise ValueError(f"{step} notes nothing of a deployment")


def _wait_for(reason: RolloutReason, detail: str) -> steps.Wait:
    return steps.Wait(reason=reason, detail=detail)


def _evidence(figures: Figures, judgement: Judgement, others: list[Cell]) -> Evidence:
    numbers: Mapping[CellId, Any] = {
        cell: None if found is None else asdict(found) for cell, found in figures.cells.items()
    }
    return Evidence(
        document={
            "asked": figures.questions,
            "figures": numbers,
            "compared_with": sorted(cell.id for cell in others),
            "findings": [asdict(one) for one in judgement.findings],
        }
    )


def _named(step: steps.Step) -> str:
    """`PutImage` is told as `put_image`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()


def _facts(step: steps.Step) -> dict[str, Any] | None:
    match step:
        case steps.Advance():
            return {"event": step.event}
        case steps.Prepare():
            return {"cell": step.cell}
        case steps.PutImage():
            return {"cell": step.deployment.cell, "zone": step.deployment.zone, "image": step.image}
        case steps.NotePatched() | steps.NoteSettled() | steps.NoteRestoring() | steps.NoteRestored():
            return {"cell": step.deployment.cell, "zone": step.deployment.zone}
        case steps.Judge():
            return {"from": step.began_at.isoformat(), "to": step.ended_at.isoformat()}
        case steps.StopRollout():
            return {"reason": step.reason, "detail": step.detail}
        case _:
            return None
