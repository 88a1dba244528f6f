"""One run: the fleet of a seed lives through its faults, heals, and is judged."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from time import process_time
from typing import TypeVar

from history.model import Asked, Key

from contract.values import value
from simulation.checks import Watch, final_findings, unhealed
from simulation.fleet import Faults, SimulatedFleet, keep_up
from simulation.network import speaker, task_factory
from simulation.trace import Trace
from simulation.vendors import Clients
from simulation.virtual_time import RunStuckError, VirtualLoop, ruled

LOOK_PERIOD_S = 0.02
HEALING_LOOK_PERIOD_S = 0.25
FAULTS_S = (3.0, 6.0)
HEALED_WITHIN_S = 90.0
"""Of virtual time, after the last fault: above every patience and pause that the project has."""
ASKED_AGAIN_MAX = 60

T = TypeVar("T")
Changed = Callable[[SimulatedFleet], AbstractContextManager[object]]


@value
class Result:
    seed: int
    findings: tuple[str, ...]
    digest: str
    """Of everything that happened."""
    last: tuple[str, ...]
    events: int
    commands: int
    moves: dict[str, int]
    virtual_s: float
    cpu_s: float


def run(seed: int, changed: Changed | None = None) -> Result:
    """The fleet of this seed; `changed` is what a mutant does to it."""
    started_s = process_time()
    loop = VirtualLoop()
    loop.set_task_factory(task_factory)  # type: ignore[arg-type]
    trace, watch = Trace(loop), Watch()
    with ruled(loop, str(seed)), trace.listening(speaker):
        life = _Life(str(seed), trace, watch)
        with changed(life.fleet) if changed else nullcontext():
            try:
                loop.run_until_complete(life.live())
            except RunStuckError as error:
                watch.findings.append(f"stuck: {error}")
            finally:
                _end(loop)
    fleet = life.fleet
    ended = [move.state for move in fleet.records.moves.values()]
    clients: Clients | None = getattr(fleet, "clients", None)
    return Result(
        seed=seed,
        findings=(*watch.findings, *trace.alarms),
        digest=trace.digest,
        last=trace.last,
        events=trace.lines,
        commands=0 if clients is None else len(clients.history.attempts) + len(clients.others),
        moves={state: ended.count(state) for state in sorted(set(ended))},
        virtual_s=loop.now_s,
        cpu_s=process_time() - started_s,
    )


class _Life:
    def __init__(self, seed: str, trace: Trace, watch: Watch) -> None:
        self._dice = random.Random(f"{seed}/life")
        self._watch = watch
        self._trace = trace
        self._look_period_s = LOOK_PERIOD_S
        self.fleet = SimulatedFleet(seed, trace, watch.committed)
        self._faults = Faults(self.fleet, self.fleet._dice["faults"])

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch.fleet = self.fleet
        living = loop.create_task(self._phases())
        while not living.done() and not self._watch.findings:
            await asyncio.wait({living}, timeout=self._look_period_s)
            self._watch.between()
        living.cancel()
        await asyncio.wait({living})
        if not living.cancelled() and (error := living.exception()) is not None:
            raise error

    async def _phases(self) -> None:
        fleet, loop = self.fleet, asyncio.get_running_loop()
        fleet.start()
        await fleet.open_wallets()
        working = [loop.create_task(vendor.run()) for vendor in fleet.vendors()]
        supervisor = loop.create_task(keep_up(fleet, self._dice))
        await self._faults.run(until_s=loop.time() + self._dice.uniform(*FAULTS_S))
        supervisor.cancel()
        fleet.all_up()
        self._trace.note("fleet", "the faults are over")
        self._look_period_s = HEALING_LOOK_PERIOD_S
        await asyncio.sleep(0.5)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)  # what they were about to hear belongs to the history
        await self._heal()
        await self._ask_all_again()
        self._watch.findings += final_findings(fleet)

    async def _heal(self) -> None:
        ends_s = asyncio.get_running_loop().time() + HEALED_WITHIN_S
        while left := unhealed(self.fleet):
            if asyncio.get_running_loop().time() > ends_s:
                self._watch.findings += [f"unhealed: {one}" for one in left]
                return
            await asyncio.sleep(0.25)
        self._trace.note("fleet", "everything has healed")

    async def _ask_all_again(self) -> None:
        """Every command once more, until it is decided."""
        clients = self.fleet.clients
        contents: dict[Key, dict[Asked, None]] = {}
        for attempt in clients.history.attempts:
            contents.setdefault(attempt.asked.key, {})[attempt.asked] = None
        for _ in range(2):
            await self._each(contents.values(), self._ask_again)
            await self._each(clients.others, lambda one: clients.send_other(one, deadline_ms=2_500))
            await self._heal()  # what a transfer began only now has to arrive, too

    async def _ask_again(self, contents: Iterable[Asked]) -> object:
        """Of several contents under one id one was decided; nobody may have been told which."""
        for asked in contents:
            if (decision := await self.fleet.clients.send(asked, deadline_ms=2_500)) is not None:
                return decision
        return None

    async def _each(self, commands: Iterable[T], send: Callable[[T], Awaitable[object]]) -> None:
        gate = asyncio.Semaphore(8)

        async def one(command: T) -> None:
            async with gate:
                for _ in range(ASKED_AGAIN_MAX):
                    if await send(command) is not None:
                        return
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(one(command) for command in commands))


def _end(loop: VirtualLoop) -> None:
    """Nothing of a run outlives it."""
    for _ in range(3):
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1))
    loop.close()
