"""What a rollout needs next: one step at a time, decided from the record and from what the cells run.

The worker holds nothing that matters. Killed anywhere, it looks at the record and at the cells again, and this function
tells how to go on: what was changed and not recorded is found by what runs, and nothing is changed twice.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from control_plane.rollouts.judging import has_passed, why_failed
from control_plane.rollouts.model import CellSeen, Deployment, RolloutRecord, ZoneSeen
from control_plane.rollouts.reasons import RolloutReason
from control_plane.rollouts.restoring import restoring_step
from control_plane.rollouts.settling import has_failed, why_not_settled
from control_plane.rollouts.states import RolloutEvent
from control_plane.rollouts.steps import (
    Advance,
    AuditCells,
    Judge,
    NotePatched,
    NoteSettled,
    Prepare,
    PutImage,
    Step,
    StopRollout,
    Surroundings,
    Wait,
)

_DONE = frozenset({"settled", "left"})


def next_step(rollout: RolloutRecord, around: Surroundings, now: datetime) -> Step:
    if rollout.state == "rolling_back":
        return restoring_step(rollout, around, now)
    if rollout.stop is not None:
        return Advance(event=RolloutEvent.STOP_ORDERED)
    match rollout.state:
        case "planned":
            return _waiting_for(around) or Advance(event=RolloutEvent.GATES_OPENED)
        case "updating":
            return _updating(rollout, around, now)
        case "baking":
            return _baking(rollout, around, now)
        case "auditing":
            return _paused(rollout) or _astray(rollout, around) or AuditCells()
        case "passed":
            is_last = rollout.wave + 1 == len(rollout.waves)
            return Advance(event=RolloutEvent.LAST_WAVE_PASSED if is_last else RolloutEvent.NEXT_WAVE)
        case _:
            raise ValueError(f"rollout {rollout.id} has ended as {rollout.state}")


def _waiting_for(around: Surroundings) -> Wait | None:
    if around.obstacle is None:
        return None
    return Wait(reason=around.obstacle.reason, detail=around.obstacle.detail)


def _paused(rollout: RolloutRecord) -> Wait | None:
    if not rollout.is_paused:
        return None
    return Wait(reason=RolloutReason.ROLLOUT_MUST_NOT_BE_PAUSED, detail="an operator has paused it")


def _updating(rollout: RolloutRecord, around: Surroundings, now: datetime) -> Step:
    """First what is under way, then what comes next."""
    in_hand = [one for one in rollout.in_wave if one.state == "patched"]
    waits: list[Wait] = []
    for deployment in in_hand:
        step = _follow(rollout, deployment, around, now)
        if not isinstance(step, Wait):
            return step
        waits.append(step)
    following = _next_of(rollout.in_wave)
    if not following and not in_hand:
        return Advance(event=RolloutEvent.WAVE_SETTLED)
    for deployment in following:
        step = _begin(rollout, deployment, around, has_place=len(in_hand) < rollout.policy.at_once)
        if not isinstance(step, Wait):
            return step
        waits.append(step)
    return waits[0]


def _next_of(wave: Sequence[Deployment]) -> list[Deployment]:
    """Those of the first zone in which not everything is settled."""
    zone = next((one.zone for one in wave if one.state not in _DONE), None)
    return [one for one in wave if one.zone == zone and one.state == "waiting"]


def _follow(rollout: RolloutRecord, deployment: Deployment, around: Surroundings, now: datetime) -> Step:
    """A deployment that was told to run the release."""
    there, is_late = seen_of(deployment, around), _is_late(rollout, deployment, around, now)
    if isinstance(there, Wait):
        return there if not is_late else _not_ready(deployment, there.detail)
    _, zone = there
    if zone.image != rollout.release.image:
        return foreign(deployment, zone)
    why_not = why_not_settled(zone, rollout.release.image)
    if why_not is None:
        return NoteSettled(deployment=deployment)
    if deployment.zone in around.evacuated_zones:
        detail = f"{named(deployment)}: {why_not}, and nothing may be placed there"
        return Wait(reason=RolloutReason.EVACUATION_MUST_HAVE_ENDED, detail=detail)
    has_given_up = has_failed(zone, rollout.release.image) and not _was_closed(deployment, around)
    if has_given_up or is_late:
        return _not_ready(deployment, why_not)
    return Wait(reason=RolloutReason.PROCESSES_MUST_BECOME_READY, detail=f"{named(deployment)}: {why_not}")


def _was_closed(deployment: Deployment, around: Surroundings) -> bool:
    """Since it was changed its zone was closed: what the substrate says of its progress was said of the zone."""
    back_at = around.zones_back_at.get(deployment.zone)
    return back_at is not None and deployment.patched_at is not None and back_at > deployment.patched_at


def _is_late(rollout: RolloutRecord, deployment: Deployment, around: Surroundings, now: datetime) -> bool:
    """Its time begins anew when its zone may be used again."""
    if deployment.patched_at is None or deployment.zone in around.evacuated_zones:
        return False
    began_at = max(deployment.patched_at, around.zones_back_at.get(deployment.zone, deployment.patched_at))
    return now - began_at > timedelta(seconds=rollout.policy.settle_max_s)


def _not_ready(deployment: Deployment, why_not: str) -> StopRollout:
    return StopRollout(
        kind="failed",
        reason=RolloutReason.PROCESSES_MUST_BECOME_READY,
        detail=f"{named(deployment)} did not become ready: {why_not}",
    )


def _begin(rollout: RolloutRecord, deployment: Deployment, around: Surroundings, *, has_place: bool) -> Step:
    there = seen_of(deployment, around)
    if isinstance(there, Wait):
        return there
    cell, zone = there
    if zone.image == rollout.release.image:
        return NotePatched(deployment=deployment)
    if not has_place:
        return Wait(reason=RolloutReason.PROCESSES_MUST_BECOME_READY, detail="others of its wave are being replaced")
    closed = _waiting_for(around)
    if closed is not None:
        return closed
    if zone.image != deployment.previous_image:
        return foreign(deployment, zone)
    match cell.preparation:
        case "absent":
            return Prepare(cell=deployment.cell)
        case "running":
            detail = f"the schema of {deployment.cell} is being migrated"
            return Wait(reason=RolloutReason.SCHEMA_MUST_BE_MIGRATED, detail=detail)
        case "failed" if deployment.cell not in around.prepared:
            return Prepare(cell=deployment.cell)  # it failed under an earlier order: this one is another attempt
        case "failed":
            detail = f"the schema of {deployment.cell} could not be migrated"
            return StopRollout(kind="failed", reason=RolloutReason.SCHEMA_MUST_BE_MIGRATED, detail=detail)
        case "done":
            return PutImage(deployment=deployment, expected=deployment.previous_image, image=rollout.release.image)


def _baking(rollout: RolloutRecord, around: Surroundings, now: datetime) -> Step:
    failure = why_failed(rollout.windows, rollout.policy)
    if failure is not None:
        return StopRollout(kind="failed", reason=RolloutReason.WINDOWS_MUST_BE_GOOD, detail=failure)
    astray = _astray(rollout, around)
    if has_passed(rollout.windows, rollout.policy):
        return _paused(rollout) or astray or Advance(event=RolloutEvent.WINDOWS_WERE_GOOD)
    last = rollout.windows[-1] if rollout.windows else None
    began_at = max(around.watched_since, rollout.changed_at if last is None else last.ended_at)
    ends_at = began_at + rollout.policy.window
    if now >= ends_at:
        return Judge(began_at=began_at, ended_at=ends_at, doubt=None if astray is None else astray.detail)
    if last is not None and last.verdict != "good":
        return Wait(
            reason=RolloutReason.WINDOWS_MUST_BE_CONCLUSIVE, detail=f"the last one was {last.verdict}: {last.detail}"
        )
    return Wait(reason=RolloutReason.WINDOW_MUST_BE_OVER, detail=f"{wave_name(rollout)} is watched")


def _astray(rollout: RolloutRecord, around: Surroundings) -> Wait | None:
    """Why what is watched is not the wave as it was settled: somebody set another image, or processes are missing."""
    for deployment in rollout.in_wave:
        there = seen_of(deployment, around)
        if isinstance(there, Wait):
            return there
        _, zone = there
        if zone.image != rollout.release.image:
            return foreign(deployment, zone)
        why_not = why_not_settled(zone, rollout.release.image)
        if why_not is not None:
            return Wait(reason=RolloutReason.PROCESSES_MUST_BECOME_READY, detail=f"{named(deployment)}: {why_not}")
    return None


def wave_name(rollout: RolloutRecord) -> str:
    return rollout.waves[rollout.wave].name


def seen_of(deployment: Deployment, around: Surroundings) -> tuple[CellSeen, ZoneSeen] | Wait:
    cell = around.cells.get(deployment.cell)
    if not isinstance(cell, CellSeen):
        detail = f"{deployment.cell}: {cell.detail if cell is not None else 'it was not looked at'}"
        return Wait(reason=RolloutReason.CELLS_MUST_BE_REACHABLE, detail=detail)
    zone = cell.zone(deployment.zone)
    if zone is None:
        return Wait(reason=RolloutReason.CELLS_MUST_BE_REACHABLE, detail=f"{named(deployment)} is not there")
    return cell, zone


def foreign(deployment: Deployment, zone: ZoneSeen) -> Wait:
    """Somebody else decided otherwise meanwhile: that is never overwritten."""
    detail = f"{named(deployment)} was told by somebody else to run {zone.image}"
    return Wait(reason=RolloutReason.IMAGE_MUST_BE_THE_RECORDED_ONE, detail=detail)


def named(deployment: Deployment) -> str:
    return f"{deployment.cell} in zone {deployment.zone}"
