"""Waiting for a machine that others leave alone: a benchmark next to a compiler measures the compiler.

Rounds are chosen by how noisy they were and never by what came out, and how noisy they were is told.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loadtests.disk import DiskWatch
from loadtests.disturbance import MachineWatch
from loadtests.figures import Round
from loadtests.usage import machine_busy_s

CALM_CORES = 0.15
"""Cores that are busy while nothing of ours runs; a machine is never quite still."""
CALM_DISK_SHARE = 0.005
"""Of the time in which syncs stand still while nothing of ours writes: half of what a p99 may have."""
NOISY_CORES = 0.2
"""A round during which others kept more busy than this is made again."""
NOISE_MAX_CORES = 0.3
"""With more than this busy before it begins, a measurement says more of others than of the cell."""
ATTEMPTS_MAX = 4
WINDOW_S = 1.0


def measured_calmly(run: Callable[[], Round], *, patience_s: float, folder: Path) -> Round:
    """The calmest of a few attempts, each begun when the machine is calm or the patience is over; 0 = just run.

    `folder` is on the disk whose calm is meant. Whether it stood still, and whether the host kept processors back, is
    told and does not choose among the attempts: while we work, both may be because of us.
    """
    attempts: list[Round] = []
    while True:
        if patience_s:
            wait_until_calm(patience_s, folder)
        with MachineWatch(folder) as seen:
            one = run()
        attempts.append(replace(one, disk_stalled_share=seen.disk_stalled_share, stolen_share=seen.stolen_share))
        if not patience_s or one.others_cores <= NOISY_CORES or len(attempts) == ATTEMPTS_MAX:
            return min(attempts, key=lambda one: one.others_cores)


def wait_until_calm(patience_s: float, folder: Path) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with DiskWatch(folder) as disk:
            cores = busy_cores()
        if cores < CALM_CORES and disk.stalled_share <= CALM_DISK_SHARE:
            return


def busy_cores() -> float:
    """Cores that are busy now; with nothing of ours running yet, with others."""
    busy_s, began_s = machine_busy_s(), time.monotonic()
    time.sleep(WINDOW_S)
    return (machine_busy_s() - busy_s) / (time.monotonic() - began_s)
