"""Rollouts and evacuations as answers."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from control_plane.api.rollout_bodies import (
    DeploymentAnswer,
    EvacuationAnswer,
    JudgedByBody,
    PrimaryAnswer,
    RolloutAnswer,
    RolloutStepAnswer,
    WaveAnswer,
    WholeRolloutAnswer,
    WindowAnswer,
)
from control_plane.evacuations.model import EvacuationRecord
from control_plane.fleet.instants import instant_text
from control_plane.rollouts.model import Deployment, RolloutRecord
from control_plane.rollouts.planning import RolloutOrder, RolloutPlan
from control_plane.store.rollout_pages import ShownStep, ShownWindow


def answer_of(rollout: RolloutRecord) -> RolloutAnswer:
    return RolloutAnswer.model_validate(_facts(rollout))


def whole_answer_of(rollout: RolloutRecord, steps: Sequence[ShownStep]) -> WholeRolloutAnswer:
    told = {
        "processes": [_deployment(one) for one in rollout.deployments],
        "steps": [step_answer_of(one) for one in steps],
    }
    return WholeRolloutAnswer.model_validate(_facts(rollout) | told)


def planned_answer_of(order: RolloutOrder, plan: RolloutPlan) -> RolloutAnswer:
    """Of a dry run."""
    return RolloutAnswer(
        rollout_id=None,
        label=order.release.label,
        image=order.release.image,
        state="planned",
        is_paused=False,
        stop=None,
        reason=None,
        detail=None,
        waiting_reason=None,
        waiting_detail=None,
        waves=[WaveAnswer(name=wave.name, cells=list(wave.cells)) for wave in plan.waves],
        wave=0,
        waves_passed=0,
        deployments=len(plan.deployments),
        deployments_done=sum(one.state == "left" for one in plan.deployments),
        windows_good=0,
        windows_bad=0,
        judged_by=JudgedByBody.model_validate(asdict(order.policy)),
        ordered_by=None,
        ordered_at=None,
        ended_at=None,
    )


def step_answer_of(step: ShownStep) -> RolloutStepAnswer:
    return RolloutStepAnswer(
        at=instant_text(step.at),
        wave=step.wave,
        step=step.step,
        duration_ms=round(step.duration_ms, 3),
        facts=None if step.facts is None else dict(step.facts),
    )


def window_answer_of(shown: ShownWindow) -> WindowAnswer:
    window = shown.window
    return WindowAnswer(
        wave=window.wave,
        began_at=instant_text(window.began_at),
        ended_at=instant_text(window.ended_at),
        verdict=window.verdict,
        is_grave=window.is_grave,
        detail=window.detail,
        evidence=dict(shown.evidence),
    )


def evacuation_answer_of(evacuation: EvacuationRecord) -> EvacuationAnswer:
    return EvacuationAnswer(
        evacuation_id=evacuation.id,
        kind=evacuation.kind,
        zone=evacuation.zone,
        state=evacuation.state,
        is_end_ordered=evacuation.is_end_ordered,
        expires_at=instant_text(evacuation.expires_at),
        announced_version=evacuation.announced_version,
        primaries=[PrimaryAnswer(cell=one.cell, state=one.state, detail=one.detail) for one in evacuation.primaries],
        cordon=evacuation.cordon,
        reason=evacuation.reason,
        detail=evacuation.detail,
        ordered_by=evacuation.ordered_by,
        ordered_at=instant_text(evacuation.ordered_at),
        ended_at=_instant(evacuation.ended_at),
    )


def _facts(rollout: RolloutRecord) -> dict[str, object]:
    return {
        "rollout_id": rollout.id,
        "label": rollout.release.label,
        "image": rollout.release.image,
        "state": rollout.state,
        "is_paused": rollout.is_paused,
        "stop": rollout.stop,
        "reason": rollout.reason,
        "detail": rollout.detail,
        "waiting_reason": rollout.waiting_reason,
        "waiting_detail": rollout.waiting_detail,
        "waves": [WaveAnswer(name=wave.name, cells=list(wave.cells)) for wave in rollout.waves],
        "wave": rollout.wave,
        "waves_passed": rollout.waves_passed,
        "deployments": len(rollout.deployments),
        "deployments_done": _done(rollout),
        "windows_good": sum(one.verdict == "good" for one in rollout.windows),
        "windows_bad": sum(one.verdict == "bad" for one in rollout.windows),
        "judged_by": asdict(rollout.policy),
        "ordered_by": rollout.ordered_by,
        "ordered_at": instant_text(rollout.ordered_at),
        "ended_at": _instant(rollout.ended_at),
    }


def _done(rollout: RolloutRecord) -> int:
    wanted = {"settled", "left"} if rollout.stop is None else {"waiting", "restored", "left"}
    return sum(one.state in wanted for one in rollout.deployments)


def _deployment(one: Deployment) -> DeploymentAnswer:
    return DeploymentAnswer(
        cell=one.cell,
        zone=one.zone,
        wave=one.wave,
        state=one.state,
        previous_image=one.previous_image,
        patched_at=_instant(one.patched_at),
        settled_at=_instant(one.settled_at),
        turned_back_at=_instant(one.turned_back_at),
    )


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at)
