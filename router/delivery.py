"""Brings one request to a cell that answers it: choose, send, follow, wait, send again, until an answer is final.

This is the only place where requests leave for cells. What to do next is decided by the pure rules in `routing/`; here
are the clock, the dice and the sockets.
"""

import asyncio
import random
import zlib
from collections.abc import Callable

from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason
from router.answers import Answer, problem_answer
from router.cell_connections import CellAnswer, CellConnections
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.request import Request
from router.routing.choice import NO_MAP, Forward, Refuse, choose, choose_instances
from router.routing.directory import AFFINITY_BUCKETS, Cell, Instance
from router.routing.headers import relayed
from router.routing.health import FleetHealth
from router.routing.journey import SLOW_S, AskAgain, Journey, Silence
from router.routing.learning import hint_of

RETRY_AFTER_S = 1

Choice = Callable[[float], Forward | Refuse]


class Delivery:
    def __init__(
        self,
        *,
        live_map: LiveMap,
        health: FleetHealth,
        connections: CellConnections,
        metrics: RouterMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._live_map = live_map
        self._health = health
        self._connections = connections
        self._metrics = metrics
        self._clock = clock
        self._recoveries: dict[str, asyncio.Event] = {}
        """For each cell that requests are waiting for: set when it answers again."""
        self._jitter = random.Random().random  # noqa: S311 - spreads retries, guards nothing

    async def to_wallet(self, request: Request, wallet_id: WalletId) -> Answer:
        """The answer of the cell that owns the wallet."""
        request.wallet_id = wallet_id
        return await self._deliver(request, lambda now: self._choose_owner(wallet_id, now), wallet_id)

    async def to_cell(
        self, request: Request, cell: Cell, *, bucket: int | None = None, is_patient: bool = True
    ) -> Answer:
        """The answer of this cell; without patience it is asked only as long as no wait is needed."""
        if bucket is None:
            bucket = zlib.crc32(request.request_id.encode()) % AFFINITY_BUCKETS
        return await self._deliver(
            request, lambda now: choose_instances(cell, bucket, self._health, now), None, is_patient=is_patient
        )

    async def _deliver(
        self, request: Request, choice: Choice, wallet_id: WalletId | None, *, is_patient: bool = True
    ) -> Answer:
        journey = Journey(request.deadline)
        while True:
            now = self._clock()
            if now >= journey.deadline:
                return too_late(request)
            decision = choice(now)
            if isinstance(decision, Refuse):
                cell_id = decision.cell_id
                step = self._refused(request, journey, decision)
            else:
                cell_id = decision.cell.id
                step = await self._send_once(request, journey, decision, wallet_id)
            request.cell_id = cell_id
            if isinstance(step, Answer):
                return step
            wait_s = step.at - self._clock()
            if wait_s > 0 and not is_patient:
                return unreachable(request, f"Cell {cell_id} does not answer.")
            if wait_s > 0 and cell_id is not None:
                await self._wait(cell_id, wait_s, ends_with_recovery=isinstance(decision, Refuse))

    def _choose_owner(self, wallet_id: WalletId, now: float) -> Forward | Refuse:
        directory = self._live_map.current
        return NO_MAP if directory is None else choose(directory, wallet_id, self._health, now)

    def _refused(self, request: Request, journey: Journey, refuse: Refuse) -> Answer | AskAgain:
        step = journey.may_wait_until(refuse.ask_again_at, jitter=self._jitter())
        if isinstance(step, AskAgain):
            return step
        return problem_answer(refuse.problem, request_id=request.request_id, retry_after_s=refuse.retry_after_s)

    async def _send_once(
        self, request: Request, journey: Journey, forward: Forward, wallet_id: WalletId | None
    ) -> Answer | AskAgain:
        instance = journey.next_instance(forward.instances)
        request.sendings += 1
        sent_at = self._clock()
        outcome = await self._exchange(request, journey, forward, instance, sent_at)
        if isinstance(outcome, CellAnswer):
            self._answered(forward, instance)
            return self._judge(request, journey, forward, outcome, wallet_id)
        return self._fell_silent(request, journey, forward, instance, outcome, sent_at)

    async def _exchange(
        self, request: Request, journey: Journey, forward: Forward, instance: Instance, now: float
    ) -> CellAnswer | Silence:
        """One attempt, within the bulkhead of its cell."""
        health = self._health.cell(forward.cell.id)
        promising = forward.instances[: forward.promising]
        has_alternative = not health.is_half_full and journey.has_alternative(promising, instance)
        answer_by = journey.answer_by(now, has_alternative=has_alternative)
        pool = self._connections.pool(instance.url)
        health.sent(instance.url, now)
        health.in_flight += 1
        try:
            connection = pool.take() or await pool.connect(answer_by - now)
            if connection is None:
                return Silence.UNSENT
            wire = self._on_the_wire(request, forward, pool.authority)
            return await connection.exchange(wire, answer_by - self._clock())
        finally:
            health.in_flight -= 1

    def _on_the_wire(self, request: Request, forward: Forward, authority: bytes) -> bytes:
        left_ms = max(1, int((request.deadline - self._clock()) * 1_000))
        directory = self._live_map.current
        epoch = b"" if forward.epoch is None else b"x-unit-epoch: %d\r\n" % forward.epoch
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%bx-deadline-ms: %d\r\nx-router-version: %d\r\n%b\r\n%b" % (
            request.method.encode(),
            request.target,
            authority,
            request.head_for_cells(),
            left_ms,
            directory.version if directory is not None else 0,
            epoch,
            request.body,
        )

    def _judge(
        self,
        request: Request,
        journey: Journey,
        forward: Forward,
        cell_answer: CellAnswer,
        wallet_id: WalletId | None,
    ) -> Answer | AskAgain:
        """Whether the cell's answer is for the vendor."""
        answer = Answer(
            status=cell_answer.status,
            headers=relayed(cell_answer.headers),
            body=cell_answer.body,
            rest=cell_answer.rest,
        )
        if answer.status < 500 and answer.status != 421:
            return answer
        problem = answer.problem
        if answer.status == 421 and wallet_id is not None:
            return self._follow(request, journey, forward, wallet_id, problem or {})
        if problem is None:
            return _unexplained(request, forward, answer.status)
        if problem.get("reason") == Reason.WALLET_IS_MOVING and answer.status == 503:
            step = journey.is_moving(now=self._clock(), jitter=self._jitter())
            if isinstance(step, AskAgain):
                self._metrics.sent_again("moving")
                return step
        return answer

    def _follow(
        self,
        request: Request,
        journey: Journey,
        forward: Forward,
        wallet_id: WalletId,
        facts: dict[str, object],
    ) -> Answer | AskAgain:
        """The cell does not own the wallet: learn who does, and ask there once."""
        hint = hint_of(facts)
        if hint is not None:
            self._live_map.learn(hint, asked=wallet_id)
        directory = self._live_map.current
        owner = directory.owner_of(wallet_id).cell if directory is not None else None
        has_new_owner = owner is not None and owner.id != forward.cell.id
        step = journey.was_misdirected(has_new_owner=has_new_owner, now=self._clock())
        if isinstance(step, AskAgain):
            self._metrics.sent_again("misdirected")
            return step
        if hint is not None and directory is not None and hint.cell is not None and hint.cell not in directory.index_of:
            return unreachable(request, f"Cell {hint.cell} is not on the router's map yet.")
        moving = Problem(reason=Reason.WALLET_IS_MOVING, detail="The wallet is changing cells.")
        return problem_answer(moving, request_id=request.request_id, retry_after_s=RETRY_AFTER_S)

    def _fell_silent(
        self,
        request: Request,
        journey: Journey,
        forward: Forward,
        instance: Instance,
        silence: Silence,
        sent_at: float,
    ) -> Answer | AskAgain:
        now = self._clock()
        health = self._health.cell(forward.cell.id)
        speaks_against_it = silence is not Silence.TIMED_OUT or now - sent_at >= SLOW_S
        step, is_round_over = journey.fell_silent(instance, forward.instances, now=now, jitter=self._jitter())
        if speaks_against_it:
            health.instance(instance.url).failed(now)
            if is_round_over:
                health.breaker.failed(now)
        if isinstance(step, AskAgain):
            self._metrics.sent_again(silence.value)
            return step
        if silence is Silence.TIMED_OUT:
            return too_late(request)
        return unreachable(request, f"Cell {forward.cell.id} does not answer.")

    def _answered(self, forward: Forward, instance: Instance) -> None:
        self._health.cell(forward.cell.id).answered(instance.url)
        if self._recoveries and (recovery := self._recoveries.pop(forward.cell.id, None)) is not None:
            recovery.set()

    async def _wait(self, cell_id: str, wait_s: float, *, ends_with_recovery: bool) -> None:
        """Wait in the bulkhead of the cell: a waiting request takes room like one under way."""
        health = self._health.cell(cell_id)
        health.in_flight += 1
        try:
            if ends_with_recovery:
                recovery = self._recoveries.setdefault(cell_id, asyncio.Event())
                async with asyncio.timeout(wait_s):
                    await recovery.wait()
            else:
                await asyncio.sleep(wait_s)
        except TimeoutError:
            pass  # the cell may be asked again all the same
        finally:
            health.in_flight -= 1


def too_late(request: Request) -> Answer:
    problem = Problem(reason=Reason.DEADLINE_MUST_NOT_PASS, detail="There was no answer before the deadline.")
    return problem_answer(problem, request_id=request.request_id)


def unreachable(request: Request, detail: str) -> Answer:
    problem = Problem(reason=Reason.CELL_MUST_BE_REACHABLE, detail=detail)
    return problem_answer(problem, request_id=request.request_id, retry_after_s=RETRY_AFTER_S)


def _unexplained(request: Request, forward: Forward, status: int) -> Answer:
    """A failure that is no problem document did not come from the cell's own code; the vendor gets one all the same."""
    if status != 500:
        return unreachable(request, f"Cell {forward.cell.id} answered {status} without a reason.")
    detail = f"Cell {forward.cell.id} failed on this request."
    problem = Problem(reason=Reason.REQUEST_MUST_NOT_BREAK_THE_CELL, detail=detail)
    return problem_answer(problem, request_id=request.request_id)
