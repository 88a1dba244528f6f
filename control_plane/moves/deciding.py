"""What a move needs next: one step at a time, decided from the record and from what both cells say.

The mover holds nothing authoritative. Killed anywhere, it looks at both cells again, and this function tells how to go
on: before the grant back to an owner that serves, after it always forward. `InHand` is what one mover knows of its own
attempt; losing it costs a fence, never money.
"""

from datetime import datetime, timedelta

from control_plane.moves.model import CellSeen, MoveRecord
from control_plane.moves.ordering import SOURCE_STATES
from control_plane.moves.policy import MovePolicy
from control_plane.moves.reasons import StopReason
from control_plane.moves.states import PAST_SEALED, MoveEvent
from control_plane.moves.steps import (
    Activate,
    Advance,
    Announce,
    AwaitRouters,
    CopyPass,
    Discard,
    GrantUnits,
    InHand,
    Look,
    Pass,
    Publish,
    ReadGrants,
    Seal,
    SendDelta,
    Stage,
    Step,
    Stop,
    Surroundings,
    TakeFence,
    TakeFenceDown,
    TakeUp,
    Tombstone,
    Wait,
    Withdraw,
)

FENCE_RESERVE = timedelta(milliseconds=150)
"""So close to its deadline a fence is not granted any more: the watchdog of the source is about to take it down."""
_GIVEN = frozenset({"granted", "moved"})
_COMING = frozenset({"staging", "staged"})
_SERVING = frozenset({"active", "fenced", "granted"})


def next_step(move: MoveRecord, hand: InHand, around: Surroundings, policy: MovePolicy, now: datetime) -> Step:
    if hand.grants and move.state not in PAST_SEALED:
        return Advance(event=MoveEvent.SOURCE_GRANTED)
    match move.state:
        case "granted":
            return _after_the_grant(hand, around, move)
        case "activated":
            return Publish()
        case "published":
            return _after_publication(move)
        case "stopping":
            return _giving_back(move, hand, around)
        case "sealed":
            return _sealed(move, hand, around, policy, now)
        case "copying":
            return _copying(move, hand, around, policy, now)
        case "planned" | "announced":
            return _preparing(move, hand, around, policy)
        case _:
            raise ValueError(f"move {move.id} has ended as {move.state}")


def _preparing(move: MoveRecord, hand: InHand, around: Surroundings, policy: MovePolicy) -> Step:
    if move.stop is not None:
        return Advance(event=MoveEvent.STOP_ORDERED)
    if not move.in_hand:
        return TakeUp()
    if around.source is None or around.target is None:
        return Look()
    if _has_given(around.source, hand):
        return ReadGrants()
    obstacle = _worn_out(hand, policy) or _obstacle(move, around.source, around.target, around, policy)
    if obstacle is not None:
        return obstacle
    if move.announced_version is None:
        return Announce()
    if move.state == "planned":
        return Advance(event=MoveEvent.ROUTERS_ACKNOWLEDGED) if around.is_acknowledged else AwaitRouters()
    return _staging(move, hand, around.target) or Advance(event=MoveEvent.TARGET_STAGED)


def _worn_out(hand: InHand, policy: MovePolicy) -> Stop | None:
    if hand.setbacks < policy.setbacks_max:
        return None
    detail = f"{hand.setbacks} attempts failed, at last: {hand.setback}"
    return Stop(kind="aborted", reason=StopReason.ATTEMPTS_MUST_SUCCEED, detail=detail)


def _obstacle(
    move: MoveRecord, source: CellSeen, target: CellSeen, around: Surroundings, policy: MovePolicy
) -> Stop | Wait | TakeFenceDown | None:
    """The gates: what must hold before anything is told to anyone."""
    if around.target_state != "active":
        detail = f"cell {move.to_cell} is {around.target_state}"
        return Stop(kind="aborted", reason=StopReason.TARGET_CELL_MUST_BE_ACTIVE, detail=detail)
    if around.source_state not in SOURCE_STATES:
        detail = f"cell {move.from_cell} is {around.source_state}"
        return Stop(kind="aborted", reason=StopReason.SOURCE_CELL_MUST_BE_SERVING, detail=detail)
    foreign = next((unit for unit in move.in_hand if not _is_owner(source, unit.unit, unit.from_epoch)), None)
    if foreign is not None:
        seen = source.units[foreign.unit]
        detail = f"unit {foreign.unit} is {seen.state or 'unknown'} there at epoch {seen.epoch}"
        return Stop(kind="aborted", reason=StopReason.SOURCE_MUST_OWN_UNITS, detail=detail)
    if any(source.units[unit.unit].state == "fenced" for unit in move.in_hand):
        return TakeFenceDown()
    serving = next((unit for unit in move.in_hand if target.units[unit.unit].state in _SERVING), None)
    if serving is not None:
        detail = f"unit {serving.unit} is {target.units[serving.unit].state} in {move.to_cell} too"
        return Stop(kind="aborted", reason=StopReason.TARGET_MUST_NOT_OWN_UNITS, detail=detail)
    if source.schema_revision != target.schema_revision:
        detail = f"{move.from_cell} has {source.schema_revision}, {move.to_cell} has {target.schema_revision}"
        return Wait(reason=StopReason.SCHEMAS_MUST_BE_EQUAL, detail=detail)
    offset = abs(source.clock_offset_ms - target.clock_offset_ms)
    if offset > policy.clock_offset_max_ms:
        detail = f"the clocks of the two databases are {offset:.0f} ms apart"
        return Wait(reason=StopReason.CLOCKS_MUST_AGREE, detail=detail)
    if policy.is_synchrony_required and not (source.is_synchronous and target.is_synchronous):
        return Wait(reason=StopReason.STANDBYS_MUST_BE_SYNCHRONOUS, detail="a commit does not wait for a standby")
    return None


def _is_owner(source: CellSeen, unit: int, epoch: int) -> bool:
    seen = source.units[unit]
    return seen.state in {"active", "fenced"} and seen.epoch == epoch


def _staging(move: MoveRecord, hand: InHand, target: CellSeen) -> Step | None:
    """What is missing until the target takes rows for every unit in hand.

    What was sealed under a fence that is gone takes rows, and is sealed again, under the next one.
    """
    states = {target.units[unit.unit].state for unit in move.in_hand}
    if hand.must_discard and states & _COMING:
        return Discard()
    return None if hand.is_staged and states <= _COMING else Stage()


def _copying(move: MoveRecord, hand: InHand, around: Surroundings, policy: MovePolicy, now: datetime) -> Step:
    if hand.fences:
        return _under_the_fence(move, hand, policy, now)
    if around.source is None or around.target is None:
        return Look()
    if _has_given(around.source, hand):
        return ReadGrants()
    if move.stop is not None:
        return Advance(event=MoveEvent.STOP_ORDERED)
    obstacle = _worn_out(hand, policy) or _obstacle(move, around.source, around.target, around, policy)
    if obstacle is not None:
        return obstacle
    return _staging(move, hand, around.target) or _copy_or_fence(move, hand, policy, now)


def _copy_or_fence(move: MoveRecord, hand: InHand, policy: MovePolicy, now: datetime) -> Step:
    if hand.not_before is not None and now < hand.not_before:
        detail = "a writer held a wallet for too long; the fence is tried again in a moment"
        return Wait(reason=StopReason.LOCKS_MUST_BE_FREE, detail=detail)
    for unit in move.in_hand:
        step = _converging(unit.unit, [one for one in hand.passes if one.unit == unit.unit], policy)
        if step is not None and unit.wallets:
            return step
    return TakeFence()


def _converging(unit: int, passes: list[Pass], policy: MovePolicy) -> CopyPass | Stop | None:
    """None = the target is so close behind that a fence may be taken."""
    if not passes:
        return CopyPass(unit=unit, is_first=True)
    done, last = len(passes) - 1, passes[-1]
    if done > 0 and last.ms < policy.converged_ms:
        return None
    if done < policy.passes_max:
        return CopyPass(unit=unit, is_first=False)
    if last.ms < policy.bearable_ms * (2 if last.rows <= policy.few_rows else 1):
        return None
    if done < policy.passes_max + policy.more_passes_max and last.ms < policy.outpaced_ms:
        return CopyPass(unit=unit, is_first=False)
    detail = f"unit {unit}: pass {done} took {last.ms:.0f} ms for {last.rows} rows; no fence was taken"
    return Stop(kind="aborted", reason=StopReason.UNIT_MUST_CONVERGE, detail=detail)


def _under_the_fence(move: MoveRecord, hand: InHand, policy: MovePolicy, now: datetime) -> Step:
    if move.stop is not None or not _stands(hand, policy, now):
        return TakeFenceDown()
    if not hand.is_delta_sent:
        return SendDelta()
    return Seal() if not hand.staged else Advance(event=MoveEvent.DIGESTS_AGREED)


def _stands(hand: InHand, policy: MovePolicy, now: datetime) -> bool:
    """By our clock, from before the order was sent: the fence stands at least as long as this says."""
    if hand.fenced_at is None:
        return False
    return now < hand.fenced_at + timedelta(milliseconds=policy.stands_ms) - FENCE_RESERVE


def _sealed(move: MoveRecord, hand: InHand, around: Surroundings, policy: MovePolicy, now: datetime) -> Step:
    if hand.staged and hand.fences:
        return GrantUnits() if _stands(hand, policy, now) else TakeFenceDown()
    if around.source is None:
        return Look()
    if _has_given(around.source, hand):
        return ReadGrants()
    if any(around.source.units[unit.unit].state == "fenced" for unit in move.in_hand):
        return TakeFenceDown()
    return Advance(event=MoveEvent.FENCE_LOST)


def _after_the_grant(hand: InHand, around: Surroundings, move: MoveRecord) -> Step:
    """Only forward. The target may have asked for the grant by itself and serve already."""
    if hand.grants and hand.is_seal_void and not hand.staged:
        return Seal() if hand.is_delta_sent else SendDelta()
    if hand.grants:
        return Activate()
    if around.target is not None and _serves_all(around.target, move):
        return Advance(event=MoveEvent.TARGET_ACTIVATED)
    return ReadGrants()


def _serves_all(target: CellSeen, move: MoveRecord) -> bool:
    return all(
        target.units[unit.unit].state == "active" and target.units[unit.unit].epoch == unit.to_epoch
        for unit in move.in_hand
    )


def _after_publication(move: MoveRecord) -> Step:
    if move.in_hand:
        return Tombstone()
    if move.stop is not None:
        return Advance(event=MoveEvent.STOP_ORDERED)
    return Advance(event=MoveEvent.NEXT_PORTION if move.waiting else MoveEvent.LAST_PORTION_DONE)


def _giving_back(move: MoveRecord, hand: InHand, around: Surroundings) -> Step:
    if not move.in_hand:
        return Advance(event=MoveEvent.UNITS_GIVEN_BACK)
    if around.source is None or around.target is None:
        return Look()
    if _has_given(around.source, hand):
        return ReadGrants()
    if any(around.source.units[unit.unit].state == "fenced" for unit in move.in_hand):
        return TakeFenceDown()
    if not hand.is_given_back and any(around.target.units[unit.unit].state in _COMING for unit in move.in_hand):
        return Discard()
    if move.announced_version is not None:
        return Withdraw()
    return Advance(event=MoveEvent.UNITS_GIVEN_BACK)


def _has_given(source: CellSeen, hand: InHand) -> bool:
    """Grants of a portion are all or none; a tombstone says the same, later."""
    return not hand.is_given_elsewhere and any(seen.state in _GIVEN for seen in source.units.values())
