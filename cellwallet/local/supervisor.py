"""Keeps parts running: starts each as soon as what it needs is there, restarts what dies, stops all in order.

Only the part that died is started again, at once if it had been ready, with growing pauses if it never was. Knows
processes and readiness, and nothing of what the parts are for.
"""

import asyncio
import contextlib
import math
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, assert_never

from cellwallet.local.child import Child, describe_exit, spawn
from cellwallet.local.identity import leashed
from cellwallet.local.parts import SERVICE_PATIENCE_S, Condition, Database, Part, Service, Task
from cellwallet.local.postgres import DataMustFitError, PostgresMustStartError
from cellwallet.local.probe import is_ok
from cellwallet.local.programs import quiet_environment

POLL_S = 0.05
RESTART_PAUSE_FIRST_S = 0.1
RESTART_PAUSE_MAX_S = 5.0
SPARE_PAUSE_MAX_S = 30.0
"""What others go on without is tried for ever, and a copy that fails is work for those who serve."""
START_ATTEMPTS_MAX = 5
"""For a part that has not been ready since the platform started: then the platform cannot start."""
DATABASE_PATIENCE_S = 60.0
TROUBLE_PATIENCE_S = 2.0
"""A database that cannot be provisioned may just be dying."""
LOG_TAIL_LINES = 15

State = Literal["waiting", "starting", "ready", "restarting", "stopped", "failed"]


class PartMustStartError(Exception):
    """A part could not be started; the message ends with what it logged."""


class RunningPart:
    """The present state of a part; read by everybody, changed by the supervisor alone."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.state: State = "waiting"
        self.child: Child | None = None
        self.restarts = 0
        self.started_at_s = 0.0
        """On the clock of `time.time()`; of the present process."""
        self.missing = ""
        """What a condition still waits for; of a process that does not get ready, what it or we said last."""
        self.failure: Exception | None = None
        """Why it was given up."""
        self.became_ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child and not self.child.has_ended else None

    def described(self) -> dict[str, Any]:
        """For other programs."""
        service = self.part if isinstance(self.part, Service) else None
        return {
            "name": self.part.name,
            "pid": self.pid,
            "state": self.state,
            "started_at_s": self.started_at_s,
            "restarts": self.restarts,
            "url": service and service.ready_url.removesuffix("/readyz"),
            "admin_url": service and service.admin_url,
        }


Observer = Callable[[RunningPart], None]
"""Called at every change of a part's state or process."""


class Supervisor:
    def __init__(self, observe: Observer) -> None:
        self.parts: dict[str, RunningPart] = {}
        self._observe = observe
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Of each part: it is replaced, or leaves, and never both."""
        self._stops_now = False

    def add(self, parts: Iterable[Part]) -> None:
        """Start them, each when what it needs is ready; also while others run already."""
        added = [RunningPart(part) for part in parts]
        self.parts |= {running.part.name: running for running in added}
        for running in added:
            task = asyncio.create_task(self._live(running), name=running.part.name)
            self._tasks[running.part.name] = task

    async def wait_until_ready(self, names: Iterable[str] | None = None, *, timeout_s: float) -> list[RunningPart]:
        """Until every part (of these names) has been ready once, but for those that others go on without.

        The conditions that it was patient with, and that are missing all the same.

        Raises:
            PartMustStartError: one of them cannot, or not in time; the message says why.

        """
        wanted = [self.parts[name] for name in (self.parts if names is None else names)]
        if late := await _wait_for_all(wanted, lambda part, _: _is_needed(part), for_s=timeout_s):
            raise PartMustStartError(f"not ready in {timeout_s:.0f} s: {_what_is_missing(late)}")
        await _wait_for_all(wanted, lambda part, waited_s: waited_s < _patience_s(part))
        return [one for one in wanted if _patience_s(one.part) and not one.became_ready.is_set()]

    async def stop(self) -> None:
        """Services by rank, then databases, so that everybody can finish with what it uses."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._stop_in_order(list(self.parts.values()))

    async def remove(self, names: Collection[str]) -> None:
        """Stop these for good, services by rank and then databases; nobody else may need them. Who has left, has."""
        async with contextlib.AsyncExitStack() as held:
            for name in sorted(set(names)):
                await held.enter_async_context(self._changing[name])
            leaving = [self.parts[name] for name in sorted(set(names)) if name in self.parts]
            tasks = [self._tasks[running.part.name] for running in leaving]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_in_order(leaving)
            for running in leaving:
                del self.parts[running.part.name], self._tasks[running.part.name]

    async def replace(self, part: Part) -> None:
        """Stop the part of this name and start this one in its place; returns when it is being started.

        It stays known all the while, with the process of before until there is another one. One that has left, or is
        just leaving, is not brought back.
        """
        async with self._changing[part.name]:
            if part.name not in self.parts:
                return
            running = self.parts[part.name]
            task = self._tasks[part.name]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._stop_in_order([running])
            running.part, running.failure, running.missing = part, None, ""
            running.became_ready = asyncio.Event()
            self._tasks[part.name] = asyncio.create_task(self._live(running), name=part.name)

    def stop_now(self) -> None:
        """The second Ctrl-C: nobody finishes; PostgreSQL recovers at its next start."""
        self._stops_now = True
        for running in self.parts.values():
            if running.child is not None:
                running.child.send(_immediate_signal(running.part))

    # The life of one part.

    async def _live(self, running: RunningPart) -> None:
        try:
            for need in running.part.needs:
                await self.parts[need].became_ready.wait()
            match running.part:
                case Database() as database:
                    await self._keep_running(running, database)
                case Service() as service:
                    await self._keep_running(running, service)
                case Task() as task:
                    await self._run_once(running, task)
                case Condition() as condition:
                    await self._wait_for(running, condition)
                case _ as never:
                    assert_never(never)
        except Exception as error:  # noqa: BLE001 - the boundary of a process: whatever it is, this part cannot start
            running.failure, running.missing = error, str(error).partition("\n")[0]
            self._change(running, "failed")

    async def _keep_running(self, running: RunningPart, part: Database | Service) -> None:
        pause_s = RESTART_PAUSE_FIRST_S
        attempts = 0
        while True:
            was_ready = await self._run_or_note(running, part)
            is_spare = _is_spare(part)
            attempts = 0 if was_ready or is_spare else attempts + 1
            if attempts >= START_ATTEMPTS_MAX and not running.became_ready.is_set():
                raise PartMustStartError(f"{part.name} does not start\n{_log_tail(_log_of(part))}")
            running.restarts += 1
            running.missing = "" if was_ready else _log_tail(_log_of(part), lines=1)
            self._change(running, "restarting")
            if was_ready:
                pause_s = RESTART_PAUSE_FIRST_S
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, SPARE_PAUSE_MAX_S if is_spare else RESTART_PAUSE_MAX_S)

    async def _run_or_note(self, running: RunningPart, part: Database | Service) -> bool:
        """One life. Trouble with a start (a full disk) is tried again after a good one, and with a spare always."""
        try:
            return await self._run_until_end(running, part)
        except (OSError, PostgresMustStartError) as error:
            may_come = _is_spare(part) and not isinstance(error, DataMustFitError)
            if not running.became_ready.is_set() and not may_come:
                raise
            _note(_log_of(part), f"{part.name} cannot be started: {error}")
            return False

    async def _run_until_end(self, running: RunningPart, part: Database | Service) -> bool:
        """One life of the process; whether it was ready in it."""
        if isinstance(part, Database):
            part = await _prepared(part)
        child = self._spawn(running, part)
        ended = asyncio.create_task(child.wait())
        watching = asyncio.create_task(self._become_ready(running, part))
        try:
            await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({ended}, timeout=TROUBLE_PATIENCE_S if _has_failed(watching) else None)
        finally:
            ended.cancel()
            watching.cancel()
            await asyncio.gather(ended, watching, return_exceptions=True)
        if not child.has_ended:
            watching.result()  # raises what went wrong while the process itself is well
        _note(_log_of(part), f"{part.name} (pid {child.pid}) {describe_exit(await child.wait())}")
        return not _has_failed(watching)

    async def _become_ready(self, running: RunningPart, part: Database | Service) -> None:
        while not await _is_ready(part):  # noqa: ASYNC110 - no event tells when another process is ready
            await asyncio.sleep(POLL_S)
        if isinstance(part, Database) and not running.became_ready.is_set():
            await asyncio.to_thread(part.provision, part.cluster)
        self._change(running, "ready")

    async def _run_once(self, running: RunningPart, task: Task) -> None:
        code = await self._spawn(running, task).wait()
        if code != 0:
            raise PartMustStartError(f"{task.name} {describe_exit(code)}\n{_log_tail(task.log)}")
        self._change(running, "ready")

    async def _wait_for(self, running: RunningPart, condition: Condition) -> None:
        self._change(running, "starting")
        while (missing := await condition.why_not()) is not None:
            running.missing = missing
            await asyncio.sleep(POLL_S)
        self._change(running, "ready")

    def _spawn(self, running: RunningPart, part: Database | Service | Task) -> Child:
        if isinstance(part, Database):
            command, environment = part.cluster.command(), quiet_environment()
        else:
            command = leashed(list(part.command), parent_signal=signal.SIGKILL)
            environment = quiet_environment(part.environment)
        running.child = spawn(command, environment=environment, log=_log_of(part))
        running.started_at_s = time.time()
        self._change(running, "starting")
        return running.child

    async def _stop_in_order(self, stopping: list[RunningPart]) -> None:
        services = [running for running in stopping if not isinstance(running.part, Database)]
        for rank in sorted({_rank(running) for running in services}):
            await asyncio.gather(*(self._stop(running) for running in services if _rank(running) == rank))
        await asyncio.gather(*(self._stop(one) for one in stopping if isinstance(one.part, Database)))

    async def _stop(self, running: RunningPart) -> None:
        if running.child is None:
            return
        if self._stops_now:
            running.child.send(_immediate_signal(running.part))
        number, patience_s = _way_to_stop(running.part)
        await running.child.stop(number, patience_s=patience_s)
        if not isinstance(running.part, Task):
            self._change(running, "stopped")

    def _change(self, running: RunningPart, state: State) -> None:
        running.state = state
        if state == "ready":
            running.missing = ""
            running.became_ready.set()
        self._observe(running)


async def _wait_for_all(
    parts: list[RunningPart], is_waited_for: Callable[[Part, float], bool], *, for_s: float = math.inf
) -> list[RunningPart]:
    """Those that are still waited for when time is up. Raises PartMustStartError: any one has been given up."""
    began_s = time.monotonic()
    while True:
        waited_s = time.monotonic() - began_s
        late = [one for one in parts if not one.became_ready.is_set()]
        for one in late:
            if one.failure is not None:
                raise PartMustStartError(str(one.failure)) from one.failure
        missing = [one for one in late if is_waited_for(one.part, waited_s)]
        if not missing or waited_s > for_s:
            return missing
        await asyncio.sleep(POLL_S)


def _is_needed(part: Part) -> bool:
    return not _is_spare(part) and not _patience_s(part)


def _is_spare(part: Part) -> bool:
    return isinstance(part, Database) and part.is_spare is not None and part.is_spare()


def _patience_s(part: Part) -> float:
    return (part.patience_s or 0.0) if isinstance(part, Condition) else 0.0


async def _prepared(part: Database) -> Database:
    """As what it is to run this time, and ready to."""
    chosen = part if part.choose is None else replace(part, cluster=await part.choose())
    await asyncio.to_thread(chosen.cluster.prepare)
    return chosen


async def _is_ready(part: Database | Service) -> bool:
    if isinstance(part, Database):
        return await asyncio.to_thread(part.cluster.is_ready)
    return await is_ok(part.ready_url)


def _rank(running: RunningPart) -> int:
    return running.part.stop_rank if isinstance(running.part, Service) else 0


def _way_to_stop(part: Part) -> tuple[signal.Signals, float]:
    if isinstance(part, Database):
        return signal.SIGINT, DATABASE_PATIENCE_S
    return (part.stop_signal, part.patience_s) if isinstance(part, Service) else (signal.SIGTERM, SERVICE_PATIENCE_S)


def _immediate_signal(part: Part) -> signal.Signals:
    return signal.SIGQUIT if isinstance(part, Database) else signal.SIGKILL


def _log_of(part: Database | Service | Task) -> Path:
    return part.cluster.log if isinstance(part, Database) else part.log


def _has_failed(watching: asyncio.Task[None]) -> bool:
    return watching.done() and (watching.cancelled() or watching.exception() is not None)


def _note(log: Path, text: str) -> None:
    with contextlib.suppress(OSError), log.open("a") as file:  # a full disk is no reason to stop watching
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} supervisor: {text.rstrip()}\n")


def _what_is_missing(late: list[RunningPart]) -> str:
    """What is being waited for, and what the first late service logged last."""
    working = [running for running in late if running.state != "waiting"]
    said = ", ".join(
        running.missing if isinstance(running.part, Condition) else running.part.name for running in working
    )
    tails = [_log_tail(running.part.log) for running in working if isinstance(running.part, Service)]
    return "\n".join([said, *tails[:1]])


def _log_tail(log: Path, *, lines: int = LOG_TAIL_LINES) -> str:
    if not log.exists():
        return "(nothing was logged)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
