"""What a measurement suffered from its machine: a disk that stood still, and processors that the host kept for itself.

Both hold a commit for a tenth of a second and more, so no rate has a p99 below that while they do, and both look from
the inside like a slow program. They are told with every figure and never choose among figures.
"""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtests.disk import DiskWatch
from loadtests.usage import machine_cores, machine_stolen_s


class MachineWatch:
    """Looks on while it is open."""

    def __init__(self, folder: Path) -> None:
        """`folder` is on the disk that is meant."""
        self._disk = DiskWatch(folder)
        self._began_s = self._stolen_before_s = 0.0
        self.stolen_share = 0.0
        """Of the time of all processors, once it is closed: wanted by this machine, spent by its host."""

    def __enter__(self) -> Self:
        self._disk.__enter__()
        self._began_s, self._stolen_before_s = time.monotonic(), machine_stolen_s()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_s = time.monotonic() - self._began_s
        self.stolen_share = (machine_stolen_s() - self._stolen_before_s) / (elapsed_s * machine_cores())
        self._disk.__exit__(kind, error, trace)

    @property
    def disk_stalled_share(self) -> float:
        return self._disk.stalled_share
