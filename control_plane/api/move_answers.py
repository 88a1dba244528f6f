"""Moves as answers, and refusals of moves as problems."""

from collections.abc import Sequence
from datetime import datetime

from contract.reasons import Reason
from control_plane.api.move_bodies import MoveAnswer, MovedUnitAnswer, MoveStepAnswer, WholeMoveAnswer
from control_plane.api.move_reasons import MoveProblem
from control_plane.api.problems import Refusal, cell_must_exist
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.instants import instant_text
from control_plane.fleet.model import Unreachable
from control_plane.moves.isolating import IsolationReason, IsolationRefused
from control_plane.moves.model import MovedUnit, MoveRecord
from control_plane.moves.ordering import MoveRefused, OrderReason
from control_plane.store.move_pages import UnitCounts
from control_plane.store.moves import MoveStep


def answer_of(move: MoveRecord, counts: UnitCounts | None = None) -> MoveAnswer:
    """`counts` where the record came without its units."""
    return MoveAnswer.model_validate(_facts(move, counts or _counted(move)))


def unit_answer_of(unit: MovedUnit) -> MovedUnitAnswer:
    return MovedUnitAnswer(
        unit=unit.unit,
        result=unit.result,
        from_epoch=unit.from_epoch,
        portion=unit.portion,
        wallets=unit.wallets,
        entries=unit.entries,
        fence_no=unit.fence_no,
        digest=unit.digest,
        granted_at=_instant(unit.granted_at),
        pause_ms=None if unit.pause_ms is None else round(unit.pause_ms, 3),
        tombstoned_at=_instant(unit.tombstoned_at),
        cleaned_at=_instant(unit.cleaned_at),
    )


def step_answer_of(step: MoveStep) -> MoveStepAnswer:
    return MoveStepAnswer(
        at=instant_text(step.at),
        portion=step.portion,
        step=step.step,
        duration_ms=round(step.duration_ms, 3),
        facts=None if step.facts is None else dict(step.facts),
    )


def whole_answer_of(move: MoveRecord, counts: UnitCounts, steps: Sequence[MoveStep]) -> WholeMoveAnswer:
    told = {"difference": move.difference, "steps": [step_answer_of(step) for step in steps]}
    return WholeMoveAnswer.model_validate(_facts(move, counts) | told)


def refusal_of(outcome: MoveRefused | IsolationRefused | Unreachable) -> Refusal:
    if isinstance(outcome, Unreachable):
        return Refusal(reason=Reason.CELL_MUST_BE_REACHABLE, detail=outcome.detail)
    if outcome.reason is OrderReason.CELL_MUST_EXIST:
        return cell_must_exist(outcome.detail.split()[2])
    if outcome.reason in {OrderReason.DIRECTORY_MUST_BE_PUBLISHED, IsolationReason.DIRECTORY_MUST_BE_PUBLISHED}:
        return Refusal(reason=PlatformReason.DIRECTORY_MUST_BE_PUBLISHED, detail=outcome.detail)
    if outcome.reason is IsolationReason.WALLET_MUST_EXIST:
        return Refusal(reason=Reason.WALLET_MUST_EXIST, detail=outcome.detail)
    facts = outcome.facts if isinstance(outcome, MoveRefused) else None
    return Refusal(reason=MoveProblem(outcome.reason.value), detail=outcome.detail, facts=facts)


def _counted(move: MoveRecord) -> UnitCounts:
    return UnitCounts(
        units=len(move.units),
        in_hand=len(move.in_hand),
        moved=len(move.moved),
        left=sum(unit.result == "left" for unit in move.units),
        moved_with_wallets=sum(bool(unit.wallets) for unit in move.moved),
        pause_ms_max=max((unit.pause_ms for unit in move.units if unit.pause_ms is not None), default=None),
    )


def _facts(move: MoveRecord, counts: UnitCounts) -> dict[str, object]:
    return {
        "move_id": move.id,
        "state": move.state,
        "from_cell": move.from_cell,
        "to_cell": move.to_cell,
        "purpose": move.purpose,
        "wallet_id": move.wallet_id,
        "units": counts.units,
        "units_in_hand": counts.in_hand,
        "units_moved": counts.moved,
        "units_left": counts.left,
        "units_with_wallets_moved": counts.moved_with_wallets,
        "portion": move.portion,
        "stop": move.stop,
        "reason": move.reason,
        "detail": move.detail,
        "copied_rows": move.copied_rows,
        "copied_bytes": move.copied_bytes,
        "copy_ms": round(move.copy_ms, 3),
        "pause_ms_max": None if counts.pause_ms_max is None else round(counts.pause_ms_max, 3),
        "ordered_by": move.ordered_by,
        "ordered_at": instant_text(move.ordered_at),
        "ended_at": _instant(move.ended_at),
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
