"""What /proc tells of a process: whether a recorded one is still the same, and who works in a folder.

A pid alone says nothing, for pids are used again; with its start and the machine's boot it names one process for ever.
"""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from contract.values import value

PROC = Path("/proc")
POLL_S = 0.02


@value
class ProcessIdentity:
    pid: int
    started_ticks: int
    boot_id: str


def identity_of(pid: int) -> ProcessIdentity | None:
    """None when there is no such process, or when it is dead and only waits for its parent."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program is in brackets and may hold anything, blanks and brackets included.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return ProcessIdentity(pid=pid, started_ticks=int(fields[19]), boot_id=_boot_id())


def is_running(process: ProcessIdentity) -> bool:
    return identity_of(process.pid) == process


def processes_in(folder: Path) -> list[ProcessIdentity]:
    """Processes that work in the folder; every process of a PostgreSQL cluster works in the cluster's."""
    wanted = folder.resolve()
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit() and _works_in(entry, wanted):
            identity = identity_of(int(entry.name))
            found += [identity] if identity else []
    return found


def end(processes: Iterable[ProcessIdentity], number: signal.Signals, *, patience_s: float) -> None:
    """Send the signal to those that are still the same, and kill what remains after the patience."""
    remaining = [process for process in processes if is_running(process)]
    for process in remaining:
        _send(process, number)
    remaining = _wait_for_end(remaining, patience_s=patience_s)
    for process in remaining:
        _send(process, signal.SIGKILL)
    _wait_for_end(remaining, patience_s=patience_s)


def _wait_for_end(processes: list[ProcessIdentity], *, patience_s: float) -> list[ProcessIdentity]:
    deadline = time.monotonic() + patience_s
    while (remaining := [process for process in processes if is_running(process)]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return remaining


def _send(process: ProcessIdentity, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


def _works_in(entry: Path, wanted: Path) -> bool:
    try:
        return (entry / "cwd").readlink() == wanted
    except OSError:  # gone meanwhile, or not ours to look at
        return False


def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
