"""The platform of a run: two cells, a file that arms the cells' crash points and one for the mover's, and its logs."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from crash_matrix.crash_file import CrashFile
from crash_matrix.pairs import Part
from faults.site import kill_now
from faults.whole_platform import WholePlatform, whole_platform

from cellwallet.local.ports import FIRST, LAST, is_free

CELLS = 2
MOVER = "mover"
MUTATED = Path(__file__).parent / "mutated"
MUTANT = "CRASH_MATRIX_MUTANT"

PATIENT: Mapping[str, str] = {"CONTROL_PLANE_MOVE_CONVERGED_MS": "500", "CONTROL_PLANE_MOVE_PASSES_MAX": "40"}
"""On a busy machine a pass over a few rows takes long: no reason to leave a unit where it is."""

RECOVERERS: Mapping[str, str] = {
    "fences fell at their deadline": "watchdog",
    "a grant was pulled": "puller",
    "a staging was given up": "leftovers",
}
"""What a cell logs when it goes on without a mover."""
OTHER_PORTS_FROM = 1_000
"""Above the ports that the platform looks at first."""


class MatrixFleet:
    def __init__(self, platform: WholePlatform, *, cells: CrashFile, mover: CrashFile) -> None:
        self.platform = platform
        self.of_cells = cells
        self.of_mover = mover
        self.killed: dict[str, int] = {}
        """What `kill` has hit since the last case: process to the pid that it had."""

    def names(self, part: Part, *, source: str, target: str) -> list[str]:
        """The processes that are this part, as the supervisor calls them."""
        running = self.platform.parts
        fixed = {
            Part.MOVER: [MOVER],
            Part.ROUTER: ["router"],
            Part.CONTROL_PLANE: ["control-plane", "control-plane-postgres"],
            Part.SOURCE_POSTGRES: [f"{source}-postgres"],
            Part.TARGET_POSTGRES: [f"{target}-postgres"],
            Part.SOURCE_API: [name for name in running if name.startswith(f"{source}-api-")],
            Part.TARGET_API: [name for name in running if name.startswith(f"{target}-api-")],
        }
        return fixed[part]

    def kill(self, *parts: Part, source: str, target: str) -> None:
        """SIGKILL to everything that they consist of."""
        for name in [name for part in parts for name in self.names(part, source=source, target=target)]:
            self.killed[name] = kill_now(self.platform, name)

    def unharmed(self) -> list[str]:
        """Who was to be killed and is still, or again, the process that it was: a blow that missed proves nothing."""
        return [name for name, pid in self.killed.items() if pid == 0 or pid in self.platform.pids(name)[:1]]

    def mover_pid(self) -> int | None:
        return next(iter(self.platform.pids(MOVER)), None)

    def disarm(self) -> None:
        self.of_cells.clear()
        self.of_mover.clear()

    def log_sizes(self) -> dict[Path, int]:
        return {log: log.stat().st_size for log in self.platform.folder.logs.glob("*.log")}

    def recoverers_since(self, sizes: Mapping[Path, int]) -> list[str]:
        """Who of the cells' duties has said that it went on by itself."""
        said = []
        for log in sorted(self.platform.folder.logs.glob("*-api-*.log")):
            with log.open(errors="replace") as lines:
                lines.seek(sizes.get(log, 0))
                text = lines.read()
            said += [who for words, who in RECOVERERS.items() if words in text]
        return list(dict.fromkeys(said))

    @contextlib.contextmanager
    def another_mover(self, **settings: str) -> Iterator[int]:
        """The platform's own mover stands still; one with other settings works in its place until the block ends."""
        own = self.mover_pid()
        if own is None:
            raise ProcessLookupError("the mover does not run")
        environment = _environment_of(own) | settings | {"CONTROL_PLANE_MOVER_PORT": str(_free_port())}
        os.kill(own, signal.SIGSTOP)
        log = self.platform.folder.log("another-mover")
        try:
            with log.open("ab") as output:
                other = subprocess.Popen(
                    [sys.executable, "-P", "-m", "control_plane", "mover"],
                    env=environment,
                    cwd="/",
                    stdout=output,
                    stderr=output,
                )
            try:
                yield other.pid
            finally:
                other.kill()
                other.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(own, signal.SIGCONT)


@contextlib.contextmanager
def matrix_fleet(folder: Path, *, mutant: str = "") -> Iterator[MatrixFleet]:
    """Runs until the block ends. `mutant`: the platform with one protection taken away (mutated/sitecustomize.py)."""
    folder.mkdir(parents=True, exist_ok=True)
    cells, mover = CrashFile(folder / "cells-die-at"), CrashFile(folder / "mover-dies-at")
    told = {**PATIENT, "CELL_CRASH_FILE": cells.path, "CONTROL_PLANE_CRASH_FILE": mover.path}
    if mutant:
        told |= {MUTANT: mutant, "PYTHONPATH": str(MUTATED)}
    with _told(told), whole_platform(folder / "platform", cells=CELLS) as platform:
        yield MatrixFleet(platform, cells=cells, mover=mover)


@contextlib.contextmanager
def _told(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text


def _environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().partition("=")[::2] for entry in entries if entry)


def _free_port() -> int:
    first = FIRST + (os.getpid() + OTHER_PORTS_FROM) % (LAST - FIRST)
    return next(port for port in range(first, LAST) if is_free(port))
