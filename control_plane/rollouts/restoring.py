"""The way back of a rollout: every deployment that it changed runs again what is recorded of it, the last wave first.

All cells of a wave go back at once. Where a replacement takes nothing away, so do all zones of a cell; elsewhere zone
by zone, for two zones of a cell must not be without processes at the same time. What does not come back is not waited
for for ever: the others still run what was found bad, and while the rollout is open no other release can be ordered.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from control_plane.rollouts.model import CellSeen, Deployment, RolloutRecord, ZoneSeen
from control_plane.rollouts.reasons import RolloutReason
from control_plane.rollouts.settling import why_not_settled
from control_plane.rollouts.states import RolloutEvent
from control_plane.rollouts.steps import (
    Advance,
    NotePatched,
    NoteRestored,
    NoteRestoring,
    PutImage,
    Step,
    Surroundings,
    Wait,
)


def restoring_step(rollout: RolloutRecord, around: Surroundings, now: datetime) -> Step:
    waits: list[Wait] = []
    for wave in range(rollout.wave, first_wave_back(rollout) - 1, -1):
        for deployment in _turn([one for one in rollout.deployments if one.wave == wave], around, rollout, now):
            step = _restore(rollout, deployment, around, now)
            if step is None:
                continue
            if not isinstance(step, Wait):
                return step
            waits.append(step)
        if any(one.reason is RolloutReason.PROCESSES_MUST_BECOME_READY for one in waits):
            break  # never two zone groups at once, on the way back neither
    return waits[0] if waits else Advance(event=RolloutEvent.IMAGES_RESTORED)


def first_wave_back(rollout: RolloutRecord) -> int:
    """Waves that were judged good stay, unless everything is to go back."""
    return 0 if rollout.stop == "rolled_back" else rollout.waves_passed


def _turn(
    wave: Sequence[Deployment], around: Surroundings, rollout: RolloutRecord, now: datetime
) -> Sequence[Deployment]:
    """Those that may be worked on now: of a cell whose processes are replaced in place, one zone at a time.

    First comes what replaces nothing: fences for who may still be about to patch, and what was done and not recorded.
    """
    found: list[Deployment] = []
    for name in dict.fromkeys(one.cell for one in wave):
        own = [one for one in wave if one.cell == name]
        pending = [one for one in own if _is_pending(rollout, one, around, now)]
        found += [one for one in own if one not in pending]
        cell = around.cells.get(name)
        is_free = isinstance(cell, CellSeen) and cell.is_surging
        found += pending if is_free else sorted(pending, key=lambda one: not _is_short(one, around))[:1]
    return found


def _is_pending(rollout: RolloutRecord, deployment: Deployment, around: Surroundings, now: datetime) -> bool:
    """It is on its way back. A zone that is there no more holds nobody up."""
    cell = around.cells.get(deployment.cell)
    is_gone = isinstance(cell, CellSeen) and cell.zone(deployment.zone) is None
    is_on_its_way = deployment.state in {"patched", "settled", "restoring"}
    return is_on_its_way and not is_gone and not _is_late(rollout, deployment, now)


def _is_short(deployment: Deployment, around: Surroundings) -> bool:
    """Of processes already; another zone of the cell must not be as well."""
    cell = around.cells.get(deployment.cell)
    zone = cell.zone(deployment.zone) if isinstance(cell, CellSeen) else None
    return zone is not None and why_not_settled(zone, zone.image) is not None


def _is_late(rollout: RolloutRecord, deployment: Deployment, now: datetime) -> bool:
    patience = timedelta(seconds=rollout.policy.settle_max_s)
    return deployment.turned_back_at is not None and now - deployment.turned_back_at > patience


def _restore(rollout: RolloutRecord, deployment: Deployment, around: Surroundings, now: datetime) -> Step | None:
    """None = there is nothing to do about it any more."""
    if deployment.state in {"restored", "left"}:
        return None
    name = f"{deployment.cell} in zone {deployment.zone}"
    cell = around.cells.get(deployment.cell)
    if not isinstance(cell, CellSeen):
        return Wait(reason=RolloutReason.CELLS_MUST_BE_REACHABLE, detail=f"{name} cannot be looked at")
    zone = cell.zone(deployment.zone)
    if zone is None:
        return None  # somebody took it away, and nothing runs there any more
    if zone.image == rollout.release.image:
        return _back_from_release(rollout, deployment)
    if deployment.state == "waiting":
        return _shut_out(deployment, zone, around)
    if zone.image != deployment.previous_image:
        detail = f"{name} was told by somebody else to run {zone.image}"
        return Wait(reason=RolloutReason.IMAGE_MUST_BE_THE_RECORDED_ONE, detail=detail)
    if deployment.state != "restoring":
        return NoteRestoring(deployment=deployment)
    why_not = why_not_settled(zone, deployment.previous_image)
    if why_not is None:
        return NoteRestored(deployment=deployment)
    if _is_late(rollout, deployment, now):
        return None  # it is told what it ran before, and more cannot be done: the next release may be what helps it
    return Wait(reason=RolloutReason.PROCESSES_MUST_BECOME_READY, detail=f"{name}: {why_not}")


def _back_from_release(rollout: RolloutRecord, deployment: Deployment) -> Step:
    if deployment.state == "waiting":
        return NotePatched(deployment=deployment)
    return PutImage(deployment=deployment, expected=rollout.release.image, image=deployment.previous_image)


def _shut_out(deployment: Deployment, zone: ZoneSeen, around: Surroundings) -> Step | None:
    """A worker that has lost its lease may still be about to patch what is waiting: our fence stops it."""
    if zone.image != deployment.previous_image or zone.fence >= around.fence:
        return None
    return PutImage(deployment=deployment, expected=deployment.previous_image, image=deployment.previous_image)
