"""What processes used, from /proc: CPU time, memory, and how busy the machine was with others meanwhile.

The others' share is part of every figure: a shared machine is no measuring device, and this says how much of one.
"""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from cellwallet.local.processes import PROC, processes_in
from contract.values import value

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@value
class Usage:
    """Between two looks."""

    elapsed_s: float
    api_cpu_s: float
    postgres_cpu_s: float
    """Of the standby too, if there is one."""
    router_cpu_s: float
    """Of whatever stands between the generator and the API; 0 = nothing does."""
    machine_busy_s: float
    """CPU time of everybody, all cores."""
    api_memory_mb: float
    """Resident memory of the largest API process, at the end."""

    def others_cores(self, *, ours_s: float) -> float:
        """Cores that were busy with neither the API, PostgreSQL, the router nor us (`ours_s`)."""
        known_s = self.api_cpu_s + self.postgres_cpu_s + self.router_cpu_s + ours_s
        return max(0.0, self.machine_busy_s - known_s) / self.elapsed_s


class Meter:
    """Looks once when it is made and once more at the end."""

    def __init__(
        self,
        *,
        api_pids: Sequence[int],
        cluster_folder: Path,
        standby_folder: Path | None = None,
        router_pids: Sequence[int] = (),
    ) -> None:
        self._api_pids = api_pids
        self._router_pids = router_pids
        self._cluster_folders = [cluster_folder, *([standby_folder] if standby_folder else [])]
        self._before = self._look()

    def read(self) -> Usage:
        before, after = self._before, self._look()
        return Usage(
            elapsed_s=after[0] - before[0],
            api_cpu_s=after[1] - before[1],
            postgres_cpu_s=after[2] - before[2],
            router_cpu_s=after[3] - before[3],
            machine_busy_s=after[4] - before[4],
            api_memory_mb=max((memory_mb(pid) for pid in self._api_pids), default=0.0),
        )

    def _look(self) -> tuple[float, float, float, float, float]:
        api, router = (sum(map(cpu_s, pids)) for pids in (self._api_pids, self._router_pids))
        return time.monotonic(), api, sum(map(cpu_of_cluster, self._cluster_folders)), router, machine_busy_s()


def cpu_s(pid: int) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    own, _ = _cpu_of(pid)
    return own


def cpu_of_cluster(folder: Path) -> float:
    """Of the processes of a PostgreSQL cluster, those that have ended included: the postmaster has waited for them."""
    times = [_cpu_of(process.pid) for process in processes_in(folder)]
    return sum(own + ended for own, ended in times)


def memory_mb(pid: int) -> float:
    return _status_mb(pid, "VmRSS")


def memory_peak_mb(pid: int) -> float:
    return _status_mb(pid, "VmHWM")


def machine_busy_s() -> float:
    """Since the machine's start, all cores: everything that is neither idle, waiting for a disk, nor stolen."""
    user, nice, system, _, _, interrupts, soft_interrupts, _ = _machine_ticks()
    return (user + nice + system + interrupts + soft_interrupts) / _TICKS_PER_S


def machine_stolen_s() -> float:
    """Since the machine's start, all cores: ready to run, and held by the host."""
    return _machine_ticks()[7] / _TICKS_PER_S


def machine_cores() -> int:
    return os.cpu_count() or 1


def _machine_ticks() -> list[int]:
    fields = (PROC / "stat").read_text().partition("\n")[0].split()[1:9]
    return [int(field) for field in fields]


def _cpu_of(pid: int) -> tuple[float, float]:
    """Of the process itself, and of its children that have ended and were waited for."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    fields = stat.rpartition(")")[2].split()
    own, system, children, children_system = map(int, fields[11:15])
    return (own + system) / _TICKS_PER_S, (children + children_system) / _TICKS_PER_S


def _status_mb(pid: int, name: str) -> float:
    try:
        lines: Iterable[str] = (PROC / str(pid) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = next((line for line in lines if line.startswith(f"{name}:")), "0 0 kB")
    return int(found.split()[1]) / 1_024
