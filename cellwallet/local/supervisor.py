"""Keeps parts running: starts each as soon as what it needs is there, restarts what dies, stops all in order.

Only the part that died is started again, at once if it had been ready, with growing pauses if it never was. Knows
processes and readiness, and nothing of what the parts are for.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, assert_never

from cellwallet.local.child import Child, describe_exit, spawn
from cellwallet.local.identity import leashed
from cellwallet.local.parts import SERVICE_PATIENCE_S, Condition, Database, Part, Service, Task
from cellwallet.local.postgres import PostgresMustStartError
from cellwallet.local.probe import is_ok
from cellwallet.local.programs import quiet_environment

POLL_S = 0.05
RESTART_PAUSE_FIRST_S = 0.1
RESTART_PAUSE_MAX_S = 5.0
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
        """What a condition still waits for."""
        self.failure: Exception | None = None
        """Why it was given up."""
        self.became_ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child and not self.child.has_ended else None


Observer = Callable[[RunningPart], None]
"""Called at every change of a part's state or process."""


class Supervisor:
    def __init__(self, observe: Observer) -> None:
        self.parts: dict[str, RunningPart] = {}
        self._observe = observe
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops_now = False

    def add(self, parts: Iterable[Part]) -> None:
        """Start them, each when what it needs is ready; also while others run already."""
        added = [RunningPart(part) for part in parts]
        self.parts |= {running.part.name: running for running in added}
        for running in added:
            task = asyncio.create_task(self._live(running), name=running.part.name)
            self._tasks[running.part.name] = task

    async def wait_until_ready(self, names: Iterable[str] | None = None, *, timeout_s: float) -> None:
        """Until every part (of these names) has been ready once.

        Raises:
            PartMustStartError: one of them cannot, or not in time; the message says why.

        """
        wanted = [self.parts[name] for name in (self.parts if names is None else names)]
        deadline = time.monotonic() + timeout_s
        while late := [running for running in wanted if not running.became_ready.is_set()]:
            for running in late:
                if running.failure is not None:
                    raise PartMustStartError(str(running.failure)) from running.failure
            if time.monotonic() > deadline:
                raise PartMustStartError(f"not ready in {timeout_s:.0f} s: {_what_is_missing(late)}")
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Services by rank, then databases, so that everybody can finish with what it uses."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._stop_in_order(list(self.parts.values()))

    async def remove(self, names: Iterable[str]) -> None:
        """Stop these for good, services by rank and then databases; nobody else may need them."""
        leaving = [self.parts[name] for name in names]
        tasks = [self._tasks[running.part.name] for running in leaving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stop_in_order(leaving)
        for running in leaving:
            del self.parts[running.part.name], self._tasks[running.part.name]

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
            running.failure = error
            self._change(running, "failed")

    async def _keep_running(self, running: RunningPart, part: Database | Service) -> None:
        pause_s = RESTART_PAUSE_FIRST_S
        attempts = 0
        while True:
            was_ready = await self._run_or_note(running, part)
            attempts = 0 if was_ready else attempts + 1
            if attempts >= START_ATTEMPTS_MAX and not running.became_ready.is_set():
                raise PartMustStartError(f"{part.name} does not start\n{_log_tail(_log_of(part))}")
            running.restarts += 1
            self._change(running, "restarting")
            if was_ready:
                pause_s = RESTART_PAUSE_FIRST_S
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RESTART_PAUSE_MAX_S)

    async def _run_or_note(self, running: RunningPart, part: Database | Service) -> bool:
        """One life; once the part has been ready, trouble with starting it again (a full disk) is tried again."""
        try:
            return await self._run_until_end(running, part)
        except (OSError, PostgresMustStartError) as error:
            if not running.became_ready.is_set():
                raise
            _note(_log_of(part), f"{part.name} cannot be started: {error}")
            return False

    async def _run_until_end(self, running: RunningPart, part: Database | Service) -> bool:
        """One life of the process; whether it was ready in it."""
        if isinstance(part, Database):
            await asyncio.to_thread(part.cluster.prepare)
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
        running.missing = ""
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
            running.became_ready.set()
        self._observe(running)


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
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} supervisor: {text}\n")


def _what_is_missing(late: list[RunningPart]) -> str:
    """What is being waited for, and what the first late service logged last."""
    working = [running for running in late if running.state != "waiting"]
    said = ", ".join(running.missing or running.part.name for running in working)
    tails = [_log_tail(running.part.log) for running in working if isinstance(running.part, Service)]
    return "\n".join([said, *tails[:1]])


def _log_tail(log: Path) -> str:
    if not log.exists():
        return "(nothing was logged)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
