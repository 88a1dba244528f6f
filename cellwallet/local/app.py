"""The platform on one machine, put together: holds the data folder, runs the blueprint, keeps the stack file true.

The one place that knows all of `local`. What people see of it is the callers' affair: it tells them through `tell`.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cellwallet.local.blueprint import Blueprint
from cellwallet.local.control import listen
from cellwallet.local.drawn_stack import drawn_stack
from cellwallet.local.failover import Pair
from cellwallet.local.folder import DataFolder
from cellwallet.local.keys import LONG_S, Keys, ensure_keys
from cellwallet.local.logs import bound_logs
from cellwallet.local.members import Member, Members, ensure_members, record_retired
from cellwallet.local.pair_watch import PairWatch
from cellwallet.local.pairs import Pairs
from cellwallet.local.ports import Ports
from cellwallet.local.postgres import ClusterSettings
from cellwallet.local.primaries import Primaries
from cellwallet.local.probe import get
from cellwallet.local.releases import Releases, our_launch
from cellwallet.local.retirement import DataMustBeUnusedError, delete_data, kept_data, retired_cells
from cellwallet.local.stack import Stack, Tokens, stack_path, write_stack
from cellwallet.local.supervisor import PartMustStartError, RunningPart, Supervisor
from cellwallet.local.workloads import VERBS, Carrier
from contract.primaries import BRING
from contract.scopes import OPERATOR_SCOPES, VENDOR_SCOPES
from contract.values import value

CELLS_DEFAULT = 3
READY_TIMEOUT_S = 120.0
"""Far above what a start takes; a machine that needs longer has a problem worth reading about."""
LOGS_PERIOD_S = 10.0
RETIREMENTS_PERIOD_S = 5.0
"""Whoever retires a cell by HTTP alone need not tell us; the command line does, and does not wait."""
VENDOR, OPERATOR = "local-vendor", "local-operator"
"""Subjects of the two tokens in the stack file."""


@value
class Options:
    data: Path
    cells: int | None = None
    """None = as many as this data folder has, or three."""
    router_port: int | None = 8080
    """Wanted, not required; None = any."""
    api_processes: int = 2
    shared_buffers_mb: int = 256
    haproxy: Path | None = None
    """The program that serves vendors; None = the router does."""
    standbys: bool | None = None
    """Whether each cell's database has a standby; None = as this data folder has it, or none."""


@value
class Event:
    """Something that a person who waits wants to know."""

    name: str
    state: str
    elapsed_s: float
    detail: str = ""


Tell = Callable[[Event], None]


class Platform:
    """One run of the platform, from `up` to its end."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self._options = options
        self._tell = tell
        self._folder = DataFolder(options.data)
        self._began_s = time.monotonic()
        self._stop = asyncio.Event()
        self._is_ready = False
        self._pids: dict[str, int] = {}
        self._supervisor = Supervisor(self._observe)
        self._pairs = Pairs(self._observe_pair)
        self._primaries = Primaries(members=lambda: self._members.cells, watch_of=self._watch_of)
        self._membership = asyncio.Lock()
        """One cell comes or goes at a time."""
        self._members: Members
        self._blueprint: Blueprint
        self._carrier: Carrier
        self._tokens: Tokens
        self._console_url = ""

    async def run(self) -> bool:
        """Until a stop is asked for; whether it had become ready before.

        Raises:
            FolderMustBeFreeError: another platform runs with this folder.
            PartMustStartError: a part cannot start; everything that was started has been stopped.

        """
        async with AsyncExitStack() as ending:
            ending.enter_context(self._folder.held())
            self._listen_to_signals(ending)
            stack_path(self._folder.path).unlink(missing_ok=True)
            for name in await asyncio.to_thread(self._folder.end_leftovers):
                self._say(name, "ended", "left running by an earlier platform")
            self._prepare()
            ending.push_async_callback(self._stop_everything)
            self._pairs.start(self._blueprint.watches(*self._members.cells))
            self._supervisor.add(self._blueprint.parts(self._members))
            ending.push_async_callback(_end_task, asyncio.create_task(self._keep_logs_bounded()))
            ending.push_async_callback(_end_task, asyncio.create_task(self._follow_retirements()))
            control = await listen(self._folder.control_socket, self._respond)
            ending.callback(self._folder.control_socket.unlink, missing_ok=True)
            ending.callback(control.close)
            return await self._run_until_stopped()

    def stop(self) -> None:
        """Once: in order. Twice: at once."""
        if self._stop.is_set():
            self._supervisor.stop_now()
        self._stop.set()

    def _prepare(self) -> None:
        keys = ensure_keys(self._folder.keys)
        releases = Releases(self._folder.releases, our_launch(version("cellwallet")))
        self._tokens = _tokens(keys)
        self._members = self._recorded_members(cells=self._options.cells, standbys=self._options.standbys)
        self._blueprint = Blueprint(
            folder=self._folder,
            keys=keys,
            ports=Ports(self._folder.ports),
            releases=releases,
            router_port=self._options.router_port,
            databases=ClusterSettings(shared_buffers_mb=self._options.shared_buffers_mb),
            have_standbys=self._members.have_standbys,
            haproxy=self._options.haproxy,
        )
        self._carrier = Carrier(
            supervisor=self._supervisor,
            blueprint=self._blueprint,
            releases=releases,
            members=lambda: self._members.cells,
            log_of=self._folder.log,
        )

    async def _run_until_stopped(self) -> bool:
        readiness = asyncio.create_task(self._supervisor.wait_until_ready(timeout_s=READY_TIMEOUT_S))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({readiness, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not readiness.done():
            await _end_task(readiness)
            return False
        try:
            missing = readiness.result()
        except PartMustStartError:
            await _end_task(stopping)
            raise
        await self._become_ready(missing)
        await stopping
        return True

    async def _become_ready(self, missing: list[RunningPart]) -> None:
        self._console_url = await asyncio.to_thread(_console_url, self._blueprint.control_plane_url)
        write_stack(self._folder.path, self._stack())
        self._is_ready = True
        self._say_missing(missing)
        self._say("platform", "ready", self._blueprint.router_url)

    async def _stop_everything(self) -> None:
        self._is_ready = False
        stack_path(self._folder.path).unlink(missing_ok=True)
        self._say("platform", "stopping")
        await self._carrier.stop()
        await self._primaries.stop()
        await self._pairs.stop()
        await self._supervisor.stop()
        self._folder.record_processes({})
        self._say("platform", "stopped")

    # What changes while it runs.

    def _observe(self, running: RunningPart) -> None:
        self._say(running.part.name, running.state, running.missing)
        self._record_processes()

    def _observe_pair(self, cell: str, pair: Pair, why: str) -> None:
        self._say(f"{cell}-pair", pair.phase, why)
        if self._is_ready:
            with contextlib.suppress(OSError):
                write_stack(self._folder.path, self._stack())

    def _record_processes(self) -> None:
        pids = {name: one.child.pid for name, one in self._supervisor.parts.items() if one.child}
        if pids != self._pids:
            self._pids = pids
            with contextlib.suppress(OSError):  # a full disk must not end what runs well
                self._folder.record_processes(pids)
                if self._is_ready:
                    write_stack(self._folder.path, self._stack())

    async def _keep_logs_bounded(self) -> None:
        while True:
            await asyncio.sleep(LOGS_PERIOD_S)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(bound_logs, self._folder.logs)

    async def _follow_retirements(self) -> None:
        while True:
            await asyncio.sleep(RETIREMENTS_PERIOD_S)
            if self._is_ready:
                async with self._membership:
                    await self._let_retired_go()

    async def _let_retired_go(self) -> bool:
        """Stop the cells that the control plane has retired; False when it does not tell."""
        retired = await retired_cells(self._blueprint.control_plane_url, token=self._tokens.operator)
        for one in self._members.cells:
            if one.id in (retired or ()):
                record_retired(self._folder.members, one.id)
                self._members = self._recorded_members()
                self._say(one.id, "retired", "its processes stop, its data is kept")
                await self._pairs.stop(one.id)
                await self._supervisor.remove(self._blueprint.part_names(one))
                self._record_processes()
        return retired is not None

    def _recorded_members(self, *, cells: int | None = None, standbys: bool | None = None) -> Members:
        return ensure_members(
            self._folder.members,
            cells=cells,
            default_cells=CELLS_DEFAULT,
            api_processes=self._options.api_processes,
            standbys=standbys,
        )

    def _listen_to_signals(self, ending: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
            ending.callback(loop.remove_signal_handler, number)

    def _say(self, name: str, state: str, detail: str = "") -> None:
        self._tell(Event(name=name, state=state, elapsed_s=time.monotonic() - self._began_s, detail=detail))

    def _say_missing(self, missing: list[RunningPart]) -> None:
        """A start goes on without these: whoever started it must know."""
        for one in missing:
            self._say(one.part.name, "missing", f"what its cell acknowledges is in one place only; {one.missing}")

    # What other verbs ask for.

    async def _respond(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "status":
                return self._status()
            case str(verb) if verb in VERBS:
                return await self._carrier.respond(request)
            case "add_cell":
                async with self._membership:
                    return await self._add_cell()
            case "let_retired_cell_go":
                async with self._membership:
                    return await self._let_go(str(request.get("cell")), deletes_data=bool(request.get("delete_data")))
            case "halt_cell":
                async with self._membership:
                    return await self._halt_cell(str(request.get("cell")))
            case "resume_cell":
                async with self._membership:
                    return self._resume_cell(str(request.get("cell")))
            case verb if verb == BRING:
                return await self._primaries.respond(request)
            case "switch_over":
                return await self._pairs.switch_over(str(request.get("cell")))
            case other:
                return {"error": f"this platform does not know {other!r}"}

    def _status(self) -> dict[str, Any]:
        return {
            "state": "stopping" if self._stop.is_set() else "ready" if self._is_ready else "starting",
            "processes": [running.described() for running in self._supervisor.parts.values() if running.child],
            "standbys": [one | self._primaries.zones(one["cell"]) for one in self._pairs.described()],
        }

    async def _add_cell(self) -> dict[str, Any]:
        """A cell more, without units: giving it some is the control plane's decision."""
        if not self._is_ready:
            return {"error": "the platform must be ready before a cell is added"}
        self._members = self._recorded_members(cells=self._members.numbered + 1)
        added = self._members.cells[-1]
        parts = self._blueprint.cell_parts(added)
        self._pairs.start(self._blueprint.watches(added))
        self._supervisor.add(parts)
        try:
            names = [part.name for part in parts]
            self._say_missing(await self._supervisor.wait_until_ready(names, timeout_s=READY_TIMEOUT_S))
        except PartMustStartError as error:
            return {"error": f"{added.id} does not start: {error}"}
        write_stack(self._folder.path, self._stack())
        return {"cell": added.id}

    async def _halt_cell(self, cell: str) -> dict[str, Any]:
        """Its processes and its database stop, and are not started again until somebody says so."""
        halted = next((one for one in self._members.cells if one.id == cell), None)
        if halted is None or not self._is_ready:
            return {"error": f"{cell} must be a cell of this platform, and the platform ready"}
        names = [name for name in self._blueprint.part_names(halted) if name in self._supervisor.parts]
        await self._pairs.stop(cell)
        await self._supervisor.remove(names)
        self._record_processes()
        return {"cell": cell}

    def _resume_cell(self, cell: str) -> dict[str, Any]:
        """Answers before it is ready: a restored cell is not, and looks itself what it may do."""
        resumed = next((one for one in self._members.cells if one.id == cell), None)
        if resumed is None:
            return {"error": f"{cell} is no cell of this platform"}
        if self._blueprint.primary_name(resumed) not in self._supervisor.parts:
            self._pairs.start(self._blueprint.watches(resumed))
            self._supervisor.add(self._blueprint.cell_parts(resumed))
        return {"cell": cell}

    async def _let_go(self, cell: str, *, deletes_data: bool) -> dict[str, Any]:
        """Nobody's word but the control plane's ends a cell: a request only says that now is a good time to ask."""
        if not await self._let_retired_go() and cell not in self._members.retired:
            return {"error": "the control plane does not tell which cells are retired; the same command again goes on"}
        if cell not in self._members.retired:
            is_ours = any(one.id == cell for one in self._members.cells)
            return {"error": f"{cell} is not retired" if is_ours else f"{cell} is no cell of this data folder"}
        if deletes_data:
            try:
                await asyncio.to_thread(delete_data, self._folder, cell)
            except (DataMustBeUnusedError, OSError) as error:
                return {"error": f"the data of {cell} is not deleted: {error}"}
        return {"cell": cell, "data": kept_data(self._folder, cell)}

    def _watch_of(self, member: Member) -> PairWatch | None:
        pair = self._blueprint.pair(member)
        return None if pair is None else pair.watch

    def _stack(self) -> Stack:
        return drawn_stack(
            self._blueprint,
            self._members.cells,
            pids=self._pids,
            tokens=self._tokens,
            console_url=self._console_url,
            data=self._folder.path,
        )


def _tokens(keys: Keys) -> Tokens:
    return Tokens(
        vendor=keys.issued_token(VENDOR, VENDOR_SCOPES, expires_in_s=LONG_S),
        operator=keys.issued_token(OPERATOR, OPERATOR_SCOPES, expires_in_s=LONG_S),
    )


def _console_url(control_plane_url: str) -> str:
    """The console where there is one, else the description of the API."""
    console = get(f"{control_plane_url}/console/")
    exists = console is not None and console.status not in {404, 405}
    return f"{control_plane_url}{'/console/' if exists else '/docs'}"


async def _end_task(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
