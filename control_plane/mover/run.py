"""One move from where it is to its end: look, decide (control_plane/moves), act, record; again.

Every wait is bounded and told; what a cell refuses is told with its reason. Between the fence and the activation
nothing is written that can wait.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import assert_never

import structlog

from contract.moves import Fences, Grants, StagedUnits, Survey, UnitsNow
from control_plane.crash_points import CrashPoints
from control_plane.fleet.model import Unreachable
from control_plane.mover.acts import Acts, Clock, fences_of
from control_plane.mover.copying import Copied, Failure, Sleep
from control_plane.mover.history import StepHistory
from control_plane.mover.log import Grounds, MoveLog, NotPublished
from control_plane.mover.metrics import MoverMetrics
from control_plane.mover.setbacks import Again, Quarantine, WaitFor, told, verdict_on
from control_plane.moves import steps
from control_plane.moves.deciding import next_step
from control_plane.moves.model import CellSeen, MoveRecord
from control_plane.moves.policy import MovePolicy
from control_plane.moves.portions import candidates_of, next_portion
from control_plane.moves.publication import Shown
from control_plane.moves.reasons import StopReason
from control_plane.moves.states import PAST_SEALED, MoveEvent
from control_plane.moves.steps import InHand, Step, Surroundings
from control_plane.store.moves import Recorded

log = structlog.get_logger()

RETRY_S = 0.25
"""Before a cell that did not answer, or a gate that was shut, is tried again."""
ROUTERS_POLL_S = 0.02
ROUTERS_WAIT_S = 15.0
"""Longer than a router's lease (10 s): whoever is silent is not waited for any more."""
_CUT = (steps.TakeFence, steps.SendDelta, steps.Seal, steps.GrantUnits, steps.Activate, steps.Advance)


class MoveRun:
    def __init__(
        self,
        *,
        acts: Acts,
        moves: MoveLog,
        policy: MovePolicy,
        crash_points: CrashPoints,
        metrics: MoverMetrics,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self._acts = acts
        self._moves = moves
        self._policy = policy
        self._crash_points = crash_points
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep
        self._hand = InHand()
        self._source: CellSeen | None = None
        self._target: CellSeen | None = None
        self._grounds: Grounds | None = None
        self._history = StepHistory(moves)
        self._started: float | None = None
        """When the fence was ordered."""
        self._is_interrupted = False

    def interrupt(self) -> None:
        """A long copy is left at its next page: the move was stopped, or the process is about to end."""
        self._is_interrupted = True

    async def run(self, move_id: str, *, is_ending: Callable[[], bool] = lambda: False) -> None:
        """Until the move has ended, or the process is to end and nobody waits behind a fence.

        Raises:
            DatabaseMustBeReadyError: the control plane's database is gone; another run goes on from the facts.

        """
        move = await self._moves.read(move_id)
        while move is not None and move.is_open and not (is_ending() and self._may_pause(move)):
            move = await self.turn(move) or await self._read_again(move)
        if move is not None:
            await self._history.tell(move)

    async def turn(self, move: MoveRecord) -> MoveRecord | None:
        """One step; None when the record is no longer what it was."""
        step = next_step(move, self._hand, await self._around(move), self._policy, self._clock())
        if not isinstance(step, _CUT):
            await self._history.tell(move)
        started, at = perf_counter(), self._clock()
        following = await self._do(move, step)
        if not isinstance(step, steps.Look | steps.Wait | steps.Advance | steps.AwaitRouters):
            self._history.note(move, step, self._hand, at=at, started=started)
        if following is not None and not following.is_open:
            self._metrics.ended.labels(state=following.state).inc()
            await self._history.tell(following)
        return following

    async def _around(self, move: MoveRecord) -> Surroundings:
        if self._grounds is None or not (self._hand.fences or self._hand.grants):
            self._grounds = await self._moves.grounds(move)
        return Surroundings(
            source=self._source,
            target=self._target,
            source_state=self._grounds.source_state,
            target_state=self._grounds.target_state,
            is_acknowledged=self._grounds.is_acknowledged,
        )

    async def _do(self, move: MoveRecord, step: Step) -> MoveRecord | None:  # one line for each kind of step
        match step:
            case steps.Look():
                return await self._look(move)
            case steps.TakeUp():
                return await self._take_up(move)
            case steps.Announce():
                return await self._show(move, "moving", "move.announced")
            case steps.AwaitRouters():
                return await self._await_routers(move)
            case steps.Stage():
                return await self._stage(move)
            case steps.CopyPass():
                return await self._copy(move, step)
            case steps.TakeFence():
                return await self._fence(move)
            case steps.SendDelta():
                return await self._send_delta(move)
            case steps.Seal():
                return await self._seal(move)
            case steps.GrantUnits():
                return await self._grant(move)
            case steps.ReadGrants():
                return await self._read_grants(move)
            case steps.Activate():
                return await self._activate(move)
            case steps.Publish():
                return await self._show(move, "moved", "move.published")
            case steps.Tombstone():
                return await self._tombstone(move)
            case steps.TakeFenceDown():
                return await self._take_fence_down(move)
            case steps.Discard():
                return await self._discard(move)
            case steps.Withdraw():
                return await self._show(move, "staying", "move.withdrawn")
            case steps.Advance():
                return await self._advance(move, step.event)
            case steps.Stop():
                return await self._moves.stop(move, step.kind, step.reason, step.detail, None)
            case steps.Wait():
                return await self._wait(move, step.reason, step.detail)
            case _:
                assert_never(step)

    async def _look(self, move: MoveRecord) -> MoveRecord | None:
        source, target = await self._acts.look(move)
        self._source = source if isinstance(source, CellSeen) else None
        self._target = target if isinstance(target, CellSeen) else None
        for answer in (source, target):
            if not isinstance(answer, CellSeen):
                return await self._failed(move, answer)
        return move

    async def _take_up(self, move: MoveRecord) -> MoveRecord | None:
        candidates = candidates_of(move, portion_max=self._policy.portion_max)
        seen = await self._acts.survey(move, move.from_cell, candidates)
        if not isinstance(seen, CellSeen):
            return await self._failed(move, seen)
        chosen = next_portion(candidates, seen.units)
        await self._crash_points.reach("move.taken_up")
        self._begin_again()
        surveys = [
            Survey(unit=one.unit, state=one.state, epoch=one.epoch, wallets=one.wallets, entries=one.entries)
            for one in (seen.units[unit] for unit in chosen)
        ]
        return await self._moves.take_up(move, surveys)

    async def _show(self, move: MoveRecord, shown: Shown, point: str) -> MoveRecord | None:
        outcome = await self._moves.show(move, shown)
        if isinstance(outcome, NotPublished):
            return await self._wait(move, StopReason.DIRECTORY_MUST_BE_PUBLISHED, outcome.detail)
        await self._crash_points.reach(point)
        return outcome

    async def _await_routers(self, move: MoveRecord) -> MoveRecord | None:
        waited_s = 0.0
        while not (await self._moves.grounds(move)).is_acknowledged:
            if waited_s >= ROUTERS_WAIT_S:
                detail = f"not every live router has applied directory {move.announced_version}"
                return await self._wait(move, StopReason.ROUTERS_MUST_ACKNOWLEDGE, detail)
            await self._sleep(ROUTERS_POLL_S)
            waited_s += ROUTERS_POLL_S
        return move

    async def _stage(self, move: MoveRecord) -> MoveRecord | None:
        answer = await self._acts.stage(move)
        if not isinstance(answer, UnitsNow):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.staged")
        self._hand = replace(self._hand, is_staged=True, is_given_back=False)
        self._source = self._target = None
        return move

    async def _copy(self, move: MoveRecord, step: steps.CopyPass) -> MoveRecord | None:
        self._is_interrupted = False
        copied = await self._acts.copy(
            move, step.unit, is_first=step.is_first, may_go_on=lambda: not self._is_interrupted
        )
        if not isinstance(copied, Copied):
            return await self._failed(move, copied)
        await self._crash_points.reach("move.copied")
        if not self._is_interrupted:
            done = steps.Pass(unit=step.unit, rows=copied.rows, ms=copied.ms)
            self._hand = replace(self._hand, passes=(*self._hand.passes, done))
        return await self._count(move, copied)

    async def _fence(self, move: MoveRecord) -> MoveRecord | None:
        self._started = perf_counter()
        fenced_at = self._clock()
        answer = await self._acts.fence(move)
        if not isinstance(answer, Fences):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.fenced")
        self._hand = replace(self._hand, fences=answer.fences, fenced_at=fenced_at, not_before=None)
        return move

    async def _send_delta(self, move: MoveRecord) -> MoveRecord | None:
        copied = await self._acts.delta(move, await self._moves.exiled_slots())
        if isinstance(copied, CellSeen):
            await self._take_fence_down(move)
            now_full = {unit.unit: {"wallets": unit.wallets} for unit in copied.units.values() if unit.wallets}
            return await self._moves.note(move, Recorded(units=now_full))
        if not isinstance(copied, Copied):
            return await self._failed(move, copied)
        await self._crash_points.reach("move.delta_sent")
        self._hand = replace(self._hand, is_delta_sent=True)
        return move

    async def _seal(self, move: MoveRecord) -> MoveRecord | None:
        answer = await self._acts.seal(move, self._hand.fences or fences_of(self._hand.grants))
        if not isinstance(answer, StagedUnits):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.sealed")
        self._hand = replace(self._hand, staged=answer.staged)
        return move

    async def _grant(self, move: MoveRecord) -> MoveRecord | None:
        answer = await self._acts.grant(move, StagedUnits(staged=self._hand.staged))
        if not isinstance(answer, Grants):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.granted")
        self._hand = replace(self._hand, grants=answer.grants)
        return move

    async def _read_grants(self, move: MoveRecord) -> MoveRecord | None:
        grants = await self._acts.read_grants(move)
        if not isinstance(grants, tuple):
            return await self._failed(move, grants)
        if any((one.move_id, one.to_cell) != (move.id, move.to_cell) for one in grants):
            self._hand = replace(self._hand.afresh(), is_given_elsewhere=True)
        else:
            self._hand = replace(self._hand.afresh(), grants=grants)
        return move

    async def _activate(self, move: MoveRecord) -> MoveRecord | None:
        answer = await self._acts.activate(move, self._hand.grants)
        if not isinstance(answer, UnitsNow):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.activated")
        epochs = {unit.unit: unit.to_epoch for unit in move.in_hand}
        late = [now.unit for now in answer.units if (now.epoch or 0) < epochs[now.unit]]
        if late:
            return await self._failed(move, Unreachable(detail=f"unit {late[0]} does not serve in {move.to_cell} yet"))
        pause_ms = None if self._started is None else (perf_counter() - self._started) * 1000
        if pause_ms is not None:
            self._metrics.pause.observe(pause_ms / 1000)
        return await self._advanced(move, MoveEvent.TARGET_ACTIVATED, Recorded(all_in_hand={"pause_ms": pause_ms}))

    async def _tombstone(self, move: MoveRecord) -> MoveRecord | None:
        answer = await self._acts.tombstone(move)
        if not isinstance(answer, UnitsNow):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.tombstoned")
        self._metrics.units.inc(len(move.in_hand))
        facts = {"result": "moved", "tombstoned_at": self._clock()}
        self._begin_again()
        return await self._moves.note(move, Recorded(all_in_hand=facts, move={"reason": None, "detail": None}))

    async def _take_fence_down(self, move: MoveRecord) -> MoveRecord | None:
        answer = await self._acts.unfence(move)
        self._forget()
        if not isinstance(answer, UnitsNow):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.fence_taken_down")
        self._hand = self._hand.set_back("the fence was taken down", not_before=self._hand.not_before)
        return move

    async def _discard(self, move: MoveRecord) -> MoveRecord | None:
        answer = await self._acts.discard(move)
        if not isinstance(answer, UnitsNow):
            return await self._failed(move, answer)
        await self._crash_points.reach("move.discarded")
        self._hand = replace(
            self._hand,
            is_staged=False,
            is_given_back=True,
            must_discard=False,
            discards=self._hand.discards + 1,
            passes=(),
        )
        self._source = self._target = None
        return move

    async def _advance(self, move: MoveRecord, event: MoveEvent) -> MoveRecord | None:
        if event is MoveEvent.DIGESTS_AGREED:
            agreed = {one.unit: {"fence_no": one.fence_no, "digest": one.digest} for one in self._hand.staged}
            return await self._advanced(move, event, Recorded(units=agreed))
        if event is MoveEvent.SOURCE_GRANTED:
            now = self._clock()
            granted = {one.unit: {"grant": one.model_dump(mode="json"), "granted_at": now} for one in self._hand.grants}
            return await self._advanced(move, event, Recorded(units=granted))
        is_over = move.stop is None and move.reason is not None
        cleared = {"reason": None, "detail": None} if is_over else None
        return await self._advanced(move, event, Recorded(move=cleared))

    async def _advanced(self, move: MoveRecord, event: MoveEvent, recorded: Recorded) -> MoveRecord | None:
        following = await self._moves.advance(move, event, recorded)
        if following is not None:
            log.info("move_advanced", move=move.id, portion=move.portion, by=event, state=following.state)
        return following

    async def _count(self, move: MoveRecord, copied: Copied) -> MoveRecord | None:
        self._metrics.rows.inc(copied.rows)
        self._metrics.bytes.inc(copied.bytes)
        facts = {
            "copied_rows": move.copied_rows + copied.rows,
            "copied_bytes": move.copied_bytes + copied.bytes,
            "copy_ms": move.copy_ms + copied.ms,
        }
        return await self._moves.note(move, Recorded(move=facts))

    async def _wait(self, move: MoveRecord, reason: str, detail: str) -> MoveRecord | None:
        """Told once for as long as it lasts; after it both cells are looked at again."""
        self._source = self._target = None
        if move.stop is None and move.reason != reason:
            log.info("move_waits", move=move.id, state=move.state, reason=reason, detail=detail)
            move = await self._moves.note(move, Recorded(move={"reason": reason, "detail": detail})) or move
        await self._sleep(RETRY_S)
        return await self._moves.read(move.id)

    async def _failed(self, move: MoveRecord, failure: Failure) -> MoveRecord | None:
        """What a cell did not do: looked into again, given up, or waited for. No fence is left standing for it."""
        self._metrics.setbacks.inc()
        log.info("cell_failed", move=move.id, state=move.state, failure=told(failure))
        if self._hand.fences and move.state not in PAST_SEALED:
            await self._acts.unfence(move)
        verdict = verdict_on(failure, move, self._hand, self._clock(), chance=random.random())  # noqa: S311
        self._source = self._target = None
        self._hand = verdict.hand
        match verdict:
            case Again():
                return move
            case WaitFor():
                return await self._wait(move, verdict.reason, verdict.detail)
            case Quarantine():
                return await self._quarantine(move, verdict)

    async def _quarantine(self, move: MoveRecord, verdict: Quarantine) -> MoveRecord | None:
        """The source serves again already; what the two disagree on is written down."""
        difference = {"refusal": dict(verdict.facts), "units": await self._acts.differences(move)}
        log.error("digests_must_match", move=move.id, difference=difference)
        return await self._moves.stop(move, "quarantined", verdict.reason, verdict.detail, difference)

    def _may_pause(self, move: MoveRecord) -> bool:
        return not self._hand.fences and move.state not in {"sealed", "granted"}

    def _forget(self) -> None:
        self._hand = replace(self._hand.afresh(), grants=())
        self._source = self._target = None

    def _begin_again(self) -> None:
        self._hand, self._started = InHand(), None
        self._source = self._target = None

    async def _read_again(self, move: MoveRecord) -> MoveRecord | None:
        self._forget()
        return await self._moves.read(move.id)
