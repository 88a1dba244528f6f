"""What follows from a cell that does not answer, or says no: try again, wait, or give the move up.

Before the grant a setback counts, and too many end the move; after it the move only ever waits and goes on.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from contract.moves import MoveReason
from contract.values import value
from control_plane.fleet.model import Unreachable
from control_plane.mover.asking import StepRefused
from control_plane.mover.copying import CopyStuck, Failure
from control_plane.moves.model import MoveRecord
from control_plane.moves.reasons import StopReason
from control_plane.moves.states import PAST_SEALED
from control_plane.moves.steps import InHand

BACKOFF_S = 0.2
BACKOFF_MAX_S = 10.0
_PATIENT = frozenset({MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, MoveReason.CELL_MUST_NOT_BE_QUARANTINED})
"""What passes by itself, or by a person: not counted against the move."""


@value
class Again:
    """Look at both cells, and decide again."""

    hand: InHand


@value
class WaitFor:
    hand: InHand
    reason: str
    detail: str


@value
class Quarantine:
    hand: InHand
    reason: str
    detail: str
    facts: Mapping[str, Any]


Verdict = Again | WaitFor | Quarantine


def verdict_on(failure: Failure, move: MoveRecord, hand: InHand, now: datetime, *, chance: float) -> Verdict:
    """`chance` in 0..1 spreads the waits of movers that were refused together."""
    forgetting = replace(hand.afresh(), grants=())
    if isinstance(failure, Unreachable):
        after = hand.set_back(failure.detail) if hand.fences else forgetting
        return WaitFor(hand=replace(after, grants=()), reason=StopReason.CELL_MUST_BE_REACHABLE, detail=failure.detail)
    if isinstance(failure, CopyStuck):
        after = hand.set_back(failure.detail)
        return WaitFor(hand=after, reason=StopReason.CELL_MUST_ACCEPT, detail=failure.detail)
    forgetting = replace(forgetting, is_seal_void=failure.reason == MoveReason.UNIT_MUST_BE_STAGED)
    is_only_forward = move.state in PAST_SEALED or move.state == "stopping"
    if is_only_forward or failure.reason in _PATIENT:
        return WaitFor(hand=forgetting, reason=StopReason.CELL_MUST_ACCEPT, detail=told(failure))
    if _is_settled(failure.reason, hand):
        return Quarantine(hand=forgetting, reason=failure.reason, detail=failure.detail, facts=failure.facts)
    return Again(hand=_set_back(failure, hand, now, chance))


def told(failure: Failure) -> str:
    return f"{failure.reason}: {failure.detail}" if isinstance(failure, StepRefused) else failure.detail


def _is_settled(reason: str, hand: InHand) -> bool:
    """Digests that differ are not tried again; rows that do not fold are, once, from nothing."""
    if reason == MoveReason.ROWS_MUST_FOLD:
        return hand.discards > 0
    return reason == MoveReason.DIGESTS_MUST_MATCH


def _set_back(failure: StepRefused, hand: InHand, now: datetime, chance: float) -> InHand:
    not_before = None
    if failure.reason == MoveReason.LOCKS_MUST_BE_FREE:
        wait_s = min(BACKOFF_MAX_S, BACKOFF_S * 2**hand.setbacks) * (0.5 + chance)
        not_before = now + timedelta(seconds=wait_s)
    after = hand.set_back(told(failure), not_before=not_before)
    if failure.reason == MoveReason.ROWS_MUST_FOLD:
        return replace(after, must_discard=True)
    return replace(after, is_staged=after.is_staged and failure.reason != MoveReason.UNIT_MUST_BE_STAGING)
