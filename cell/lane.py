"""One queue in front of the write path: who waits, how long, and who is turned away.

Everything is bounded: queue, batch, time. A batch whose commit was lost sight of runs again, in the same order, before
all others. Knows the store only as a port and nothing of HTTP or rules.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import structlog

from cell.commit import commit
from cell.ledger.commands import Command
from cell.ledger.footprint import footprint
from cell.ledger.outcomes import Outcome, Rejected
from cell.parking import PROBE_PERIOD_S, Parking
from cell.ports import LedgerSession, StoreBusyError, StoreLostError
from cell.telemetry import Metrics, Tracing
from cell.waiting_rooms import LOOK_PERIOD_S, WAIT_MAX_S, WaitingRooms
from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.values import value

RECONNECT_DELAY_MAX_S: Final = 1.0
BUSY_MAX: Final = 5
"""Times in a row that a batch may find the database busy for no lock's sake (a full disk, say); then it is told so."""

log = structlog.get_logger()


@value
class LaneLimits:
    batch_max: int
    queue_max: int
    patience_s: float
    """How long a command waits for a lost database before it is told so."""
    moving_wait_s: float = WAIT_MAX_S
    """How long a command waits for a unit that is moving before it is told so."""
    company: int = 16
    """Commands that are worth a batch of their own."""
    gathering_s: float = 0.001
    """A batch costs as much as a dozen commands, so where commands come in numbers, fewer than `company` wait so long
    for more: at 7,000 per second two processes on two cores had a p99 of 17, not 45 ms. A lone one never waits."""


class _Waiting:
    """A command in the queue, and the caller behind it."""

    __slots__ = ("answer", "command", "deadline_at_s", "link", "moving", "queued_at_s")

    def __init__(
        self,
        command: Command,
        answer: "asyncio.Future[Outcome]",
        *,
        deadline_at_s: float,
        queued_at_s: float,
        link: Any,
    ) -> None:
        self.link = link
        self.command = command
        self.answer = answer
        self.deadline_at_s = deadline_at_s
        self.queued_at_s = queued_at_s
        self.moving: Rejected | None = None
        """What it is told if its unit is still moving when it has waited for long enough."""


class Lane:
    def __init__(
        self,
        name: str,
        session: LedgerSession,
        limits: LaneLimits,
        metrics: Metrics,
        tracing: Tracing | None,
        on_moving: Callable[[], None] | None = None,
    ) -> None:
        """`on_moving` is told when a command meets a unit that moves."""
        self.name = name
        self.is_connected = False
        self._session = session
        self._limits = limits
        self._metrics = metrics
        self._tracing = tracing
        self._queue: deque[_Waiting] = deque()
        self._parking: Parking[_Waiting] = Parking(_wallets_of)
        self._rooms: WaitingRooms[_Waiting] = WaitingRooms(_wallet_of, _is_answered)
        self._on_moving = on_moving
        self._busy_in_a_row = 0
        self._in_flight: Sequence[_Waiting] = ()
        self._is_filled = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._lost_at_s: float | None = None
        self._has_company = False
        """Whether the last batch had more than one command: then more are likely on their way."""

    def submit(self, command: Command, *, deadline_at_s: float) -> "asyncio.Future[Outcome]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        now_s = loop.time()
        if len(self._queue) + len(self._parking.aside) + len(self._rooms) >= self._limits.queue_max:
            answer.set_result(_OVERLOADED)
        elif self._lost_at_s is not None and now_s - self._lost_at_s > self._limits.patience_s:
            answer.set_result(_UNREACHABLE)
        else:
            link = None if self._tracing is None else self._tracing.link()
            self._queue.append(_Waiting(command, answer, deadline_at_s=deadline_at_s, queued_at_s=now_s, link=link))
            if not self._is_filled.is_set():
                self._is_filled.set()
        return answer

    async def run(self) -> None:
        """Until cancelled. A bug in here must not end the lane: nobody would notice but the callers."""
        while True:
            try:
                await self._turn()
            except Exception as error:
                log.exception("lane failed", lane=self.name)
                self._lose(self._in_flight, StoreLostError(repr(error)))
                self._in_flight = ()

    async def _turn(self) -> None:
        if not self.is_connected:
            await self._connect()
        if not self._queue:
            await self._wait_for_work()
        if self._parking.is_due(asyncio.get_running_loop().time()):
            await self._look_at_parked()
        if self._rooms.is_due(asyncio.get_running_loop().time()):
            self._queue.extendleft(self._rooms.try_again(asyncio.get_running_loop().time()))
        if self._has_company and len(self._queue) < self._limits.company:
            await asyncio.sleep(self._limits.gathering_s)
        await self._work()

    async def _wait_for_work(self) -> None:
        self._is_filled.clear()
        if not self._parking.aside and not self._rooms:
            self._is_idle.set()
            await self._is_filled.wait()
            self._is_idle.clear()
            return
        try:
            await asyncio.wait_for(self._is_filled.wait(), LOOK_PERIOD_S if self._rooms else PROBE_PERIOD_S)
        except TimeoutError:
            return

    def sweep(self, now_s: float) -> None:
        """Answer those whose time is over: the queue's are dropped, a batch on its way is not touched."""
        is_lost = self._lost_at_s is not None
        for waiting in self._rooms.waiting:
            if now_s >= waiting.queued_at_s + self._limits.moving_wait_s and waiting.moving is not None:
                _answer(waiting, waiting.moving)
        for waiting in (*self._queue, *self._parking.aside, *self._rooms.waiting, *self._in_flight):
            if waiting.answer.done():
                continue
            if now_s >= waiting.deadline_at_s:
                waiting.answer.set_result(_UNREACHABLE if is_lost else _TOO_LATE)
            elif is_lost and now_s - waiting.queued_at_s > self._limits.patience_s:
                waiting.answer.set_result(_UNREACHABLE)
        if is_lost:
            self._queue = deque(waiting for waiting in self._queue if not waiting.answer.done())
        self._metrics.queue_depth(self.name, len(self._queue))

    async def drain(self) -> None:
        while (self._queue or self._parking.aside or self._rooms or self._in_flight) and self.is_connected:
            self._is_idle.clear()
            await self._is_idle.wait()

    async def close(self) -> None:
        for waiting in (*self._queue, *self._parking.aside, *self._rooms.waiting, *self._in_flight):
            _answer(waiting, _UNREACHABLE)
        await self._session.close()

    async def _connect(self) -> None:
        delay_s = 0.05
        while True:
            try:
                await self._session.connect()
            except StoreLostError as error:
                if self._lost_at_s is None:
                    self._lost_at_s = asyncio.get_running_loop().time()
                    log.warning("database lost", lane=self.name, error=str(error))
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter is no secret
                delay_s = min(delay_s * 2, RECONNECT_DELAY_MAX_S)
            else:
                log.info("database connected", lane=self.name)
                self.is_connected = True
                self._lost_at_s = None
                return

    async def _work(self) -> None:
        now_s = asyncio.get_running_loop().time()
        batch = self._take(now_s)
        if not batch:
            return
        self._in_flight = batch
        self._has_company = len(batch) > 1
        try:
            outcomes = await self._commit(batch)
        except StoreLostError as error:
            self._lose(batch, error)
        except StoreBusyError as error:
            await self._step_back(batch, error)
        else:
            self._busy_in_a_row = 0
            self._metrics.batch(self.name, len(batch), asyncio.get_running_loop().time() - now_s)
            self._resolve(batch, outcomes)
        self._in_flight = ()

    async def _commit(self, batch: Sequence[_Waiting]) -> list[Outcome]:
        commands = [waiting.command for waiting in batch]
        if self._tracing is None:
            return await commit(self._session, commands)
        with self._tracing.batch(self.name, [waiting.link for waiting in batch]):
            return await commit(self._session, commands)

    def _take(self, now_s: float) -> list[_Waiting]:
        """The next batch, in order of arrival, without those whose callers are gone or out of time."""
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._limits.batch_max:
            waiting = self._queue.popleft()
            if waiting.answer.done():
                continue
            if now_s >= waiting.deadline_at_s:
                waiting.answer.set_result(_TOO_LATE)
                continue
            if not self._parking.takes(waiting) and not self._rooms.takes(waiting):
                batch.append(waiting)
        if batch:
            self._metrics.time_in_queue(now_s - batch[0].queued_at_s)
        return batch

    def _resolve(self, batch: Iterable[_Waiting], outcomes: Iterable[Outcome]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Rejected) and self._waits_for_its_unit(waiting, outcome):
                continue
            if isinstance(outcome, Rejected) and outcome.cause is not None:
                self._metrics.poisoned()
                log.error("command poisoned its batch", cause=outcome.cause, **_named(waiting.command))
            _answer(waiting, outcome)
            if self._rooms:
                self._queue.extendleft(reversed(self._rooms.decided(waiting)))

    def _waits_for_its_unit(self, waiting: _Waiting, outcome: Rejected) -> bool:
        """Whether it was set aside: nothing was recorded, and in a moment it can be decided, here or elsewhere."""
        if outcome.problem.reason is not Reason.WALLET_IS_MOVING or waiting.answer.done():
            return False
        now_s = asyncio.get_running_loop().time()
        if now_s >= min(waiting.queued_at_s + self._limits.moving_wait_s, waiting.deadline_at_s):
            return False
        waiting.moving = outcome
        self._rooms.admit((outcome.problem.facts or {}).get("unit", -1), waiting, now_s)
        if self._on_moving is not None:
            self._on_moving()
        return True

    def _lose(self, batch: Sequence[_Waiting], error: StoreLostError) -> None:
        """What was sent may be committed: the same commands run again, in the same order, before all others."""
        self._metrics.ambiguous(len(batch))
        log.warning("batch is ambiguous", lane=self.name, commands=len(batch), error=str(error))
        self.is_connected = False
        self._lost_at_s = asyncio.get_running_loop().time()
        self._is_idle.set()  # whoever drains must not wait for a database that may never come back
        self._queue.extendleft(reversed([waiting for waiting in batch if not waiting.answer.done()]))

    async def _step_back(self, batch: Sequence[_Waiting], error: StoreBusyError) -> None:
        """Nothing was written: set aside what is held by somebody else, and go on with the rest."""
        self._metrics.busy()
        self._busy_in_a_row += 1
        log.info("batch was busy", lane=self.name, commands=len(batch), error=str(error))
        await self._session.abandon()
        try:
            held = await self._session.held_wallets(sorted({one for waiting in batch for one in _wallets_of(waiting)}))
        except StoreLostError as lost:
            self._lose(batch, lost)
            return
        if held:
            log.warning("wallets are held by somebody else", lane=self.name, wallets=len(held))
            self._parking.close(held, asyncio.get_running_loop().time())
            self._busy_in_a_row = 0
        elif self._busy_in_a_row > BUSY_MAX:
            self._busy_in_a_row = 0
            for waiting in batch:
                _answer(waiting, _UNREACHABLE)
        self._queue.extendleft(reversed([waiting for waiting in batch if not waiting.answer.done()]))
        await asyncio.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - jitter is no secret

    async def _look_at_parked(self) -> None:
        try:
            held = await self._session.held_wallets(sorted(self._parking.held))
        except StoreLostError as error:
            self._lose((), error)
            return
        free = self._parking.reopen(held, asyncio.get_running_loop().time())
        self._queue.extendleft(reversed([waiting for waiting in free if not waiting.answer.done()]))


def _wallets_of(waiting: _Waiting) -> tuple[WalletId, ...]:
    return footprint(waiting.command).wallet_ids


def _wallet_of(waiting: _Waiting) -> WalletId:
    return waiting.command.wallet_id


def _is_answered(waiting: _Waiting) -> bool:
    return waiting.answer.done()


def _named(command: Command) -> dict[str, str]:
    """What of a command may stand in a log: details and context may not, they can be erased elsewhere."""
    return {"kind": command.KIND, "wallet_id": command.wallet_id, "transaction_id": command.transaction_id}


def _answer(waiting: _Waiting, outcome: Outcome) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(outcome)


_OVERLOADED = Rejected(
    problem=Problem(reason=Reason.CELL_MUST_HAVE_CAPACITY, detail="The queue of the cell is full; nothing was decided.")
)
_UNREACHABLE = Rejected(
    problem=Problem(
        reason=Reason.CELL_MUST_BE_REACHABLE,
        detail="The cell's database cannot be reached; the same id is safe to send again.",
    )
)
_TOO_LATE = Rejected(
    problem=Problem(
        reason=Reason.DEADLINE_MUST_NOT_PASS,
        detail="The deadline passed before an answer was known; the same id is safe to send again.",
    )
)
