"""The platform as people run it: `cellwallet up --detach` in a folder of its own, seen through what it writes there."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellwallet.local.control import PlatformMustRunError, request
from cellwallet.local.folder import DataFolder
from cellwallet.local.ports import FIRST, LAST, is_free
from cellwallet.local.processes import processes_in
from cellwallet.local.stack import Stack, read_stack

REPOSITORY = Path(__file__).parents[3]
COMMAND_TIMEOUT_S = 240.0


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

    def up(self, *, cells: int | None = None) -> None:
        count = () if cells is None else ("--cells", str(cells))
        self.run("up", "--detach", "--port", str(self._port), "--shared-buffers-mb", "64", *count)

    def audit(self) -> dict[str, Any]:
        """The full audit of every cell and of the fleet."""
        answer = self.run("audit", "--full", "--json", may_fail=True)
        report: dict[str, Any] = json.loads(answer.stdout)
        return report

    def run(self, verb: str, *arguments: str, may_fail: bool = False) -> "subprocess.CompletedProcess[str]":
        answer = subprocess.run(
            [sys.executable, "-m", "cellwallet", verb, "--data", str(self.folder.path), *arguments],
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
def whole_platform(data: Path, *, cells: int | None = None) -> Iterator[WholePlatform]:
    platform = WholePlatform(data)
    try:
        platform.up(cells=cells)
        yield platform
    finally:
        platform.end()
