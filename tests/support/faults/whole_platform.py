"""The platform as people run it: `cellwallet up --detach` in a folder of its own, seen through what it writes there."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellwallet.local.control import PlatformMustRunError, request
from cellwallet.local.folder import DataFolder
from cellwallet.local.identity import leashed
from cellwallet.local.ports import FIRST, LAST, is_free
from cellwallet.local.processes import processes_in
from cellwallet.local.programs import our_code
from cellwallet.local.stack import Stack, read_stack, stack_path

REPOSITORY = Path(__file__).parents[3]
COMMAND_TIMEOUT_S = 240.0
POLL_S = 0.05
MUTANT_PROCESS = Path(__file__).with_name("mutant_process.py")


class WholePlatform:
    """`Site` of the whole platform; the router is the only entrance."""

    def __init__(self, data: Path) -> None:
        self.folder = DataFolder(data)
        self._port = next(port for port in range(FIRST + os.getpid() % (LAST - FIRST), LAST) if is_free(port))

    @property
    def stack(self) -> Stack:
        return read_stack(self.folder.path)

    @property
    def entrances(self) -> tuple[str, ...]:
        return (self.stack.router_url,)

    @property
    def databases(self) -> Mapping[str, str]:
        return {cell.id: cell.database_url for cell in self.stack.cells}

    @property
    def token(self) -> str:
        return self.stack.tokens.vendor

    def url_of(self, part: str) -> str:
        url: str = self._processes()[part]["url"]
        return url

    def pids(self, part: str) -> tuple[int, ...]:
        main = self._processes()[part]["pid"]
        if main is None:
            return ()
        if not part.endswith("-postgres"):
            return (main,)
        data_folder = self.folder.postgres(part.removesuffix("-postgres")) / "pgdata"
        return (main, *(process.pid for process in processes_in(data_folder) if process.pid != main))

    async def is_back(self, part: str, *, not_pid: int) -> bool:
        process = (await asyncio.to_thread(self._processes)).get(part, {})
        return process.get("state") == "ready" and process.get("pid") not in {None, not_pid}

    async def is_whole(self) -> bool:
        """Whether every part is ready."""
        try:
            processes = await asyncio.to_thread(self._processes)
        except PlatformMustRunError:
            return False
        return bool(processes) and all(one["state"] == "ready" for one in processes.values())

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of everything that runs."""
        return tuple(self._processes())

    def up(self, *, cells: int | None = None, options: Sequence[str] = ()) -> None:
        count = () if cells is None else ("--cells", str(cells))
        self.run("up", "--detach", "--port", str(self._port), "--shared-buffers-mb", "64", *count, *options)

    def up_as(self, mutant: str, *options: str) -> "subprocess.Popen[bytes]":
        """With a supervisor that lacks something; ready when it returns."""
        wanted = ("--port", str(self._port), "--shared-buffers-mb", "64", *options)
        command = [sys.executable, "-P", str(MUTANT_PROCESS), mutant, "cellwallet", "up"]
        self.folder.logs.mkdir(parents=True, exist_ok=True)
        with self.folder.log("supervisor").open("ab") as log:
            process = subprocess.Popen(
                leashed([*command, "--data", str(self.folder.path), *wanted], parent_signal=signal.SIGTERM),
                cwd=REPOSITORY,
                env={**os.environ, **our_code()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ends_s = time.monotonic() + COMMAND_TIMEOUT_S
        while not stack_path(self.folder.path).exists():
            assert process.poll() is None, self.folder.log("supervisor").read_text()
            assert time.monotonic() < ends_s, "the mutant is not ready in time"
            time.sleep(POLL_S)
        return process

    def standby(self, cell: str) -> dict[str, Any]:
        """How the two databases of a cell are, by the platform's own account."""
        told = request(self.folder.control_socket, "status")["standbys"]
        return next(one for one in told if one["cell"] == cell)

    def database_of(self, cell: str, *, role: str) -> str:
        """The part that is the cell's primary, or its standby, at present."""
        is_first = (self.standby(cell)["primary"] == "first") == (role == "primary")
        return f"{cell}-postgres" if is_first else f"{cell}-second-postgres"

    async def is_protected(self, cell: str, *, promotions: int) -> bool:
        """After so many changes of roles, what the cell acknowledges is in two places."""
        told = await asyncio.to_thread(self.standby, cell)
        return bool(told["is_protected"]) and told["promotions"] == promotions

    def audit(self) -> dict[str, Any]:
        """The full audit of every cell and of the fleet."""
        answer = self.run("audit", "--full", "--json", may_fail=True)
        report: dict[str, Any] = json.loads(answer.stdout)
        return report

    def run(self, verb: str, *arguments: str, may_fail: bool = False) -> "subprocess.CompletedProcess[str]":
        answer = subprocess.run(
            [sys.executable, "-m", "cellwallet", verb, *arguments, "--data", str(self.folder.path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
        assert may_fail or answer.returncode == 0, f"cellwallet {verb}: {answer.stdout}{answer.stderr}"
        return answer

    def kill_everything(self) -> None:
        """SIGKILL to the supervisor and to every process of the platform, at once."""
        pids = [pid for part in self._processes() for pid in self.pids(part)]
        for pid in (self.stack.supervisor_pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Whatever state it is in, nothing of it runs afterwards."""
        for pid in self._known_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.run("down", may_fail=True)
        holder = self.folder.holder()
        if holder is not None:
            os.kill(holder.pid, signal.SIGKILL)
        self.folder.end_leftovers()
        assert self.folder.recorded_and_running() == []

    def _processes(self) -> dict[str, dict[str, Any]]:
        """What runs, by the names of the parts; tasks that have ended are no processes any more."""
        described = request(self.folder.control_socket, "status")["processes"]
        return {one["name"]: one for one in described if not one["name"].endswith("-migrate")}

    def _known_pids(self) -> list[int]:
        try:
            return [one["pid"] for one in self._processes().values() if one["pid"]]
        except PlatformMustRunError:
            return []


@contextlib.contextmanager
def whole_platform(data: Path, *, cells: int | None = None, options: Sequence[str] = ()) -> Iterator[WholePlatform]:
    platform = WholePlatform(data)
    try:
        platform.up(cells=cells, options=options)
        yield platform
    finally:
        platform.end()
