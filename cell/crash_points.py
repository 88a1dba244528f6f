"""Named places where a process may be told to die, so that tests can kill it exactly between two steps.

Off unless a file is set, and armed only while that file names a point: reaching the point takes the file away and ends
the process as kill -9 would. A file that says `POINT always` stays, and so does everybody who gets there. No money path
asks; only steps between cells do, which wait for a network anyway.
"""

import os
import signal
from pathlib import Path
from typing import Final

SAGA_POINTS: Final = (
    "transfer.sent",
    "transfer.receiving",
    "transfer.received",
    "transfer.answered",
    "transfer.finished",
    "group.started",
    "leg.preparing",
    "leg.prepared",
    "group.answered",
    "group.decided",
    "leg.ending",
    "leg.ended",
    "group.told",
)
MOVE_POINTS: Final = (
    "move.staging",
    "move.rows_taken",
    "move.fenced",
    "move.staged",
    "move.granted",
    "move.activated",
    "move.tombstoned",
    "move.cleaned",
)
POINTS: Final = SAGA_POINTS + MOVE_POINTS
ALWAYS: Final = "always"


class CrashPoints:
    def __init__(self, file: Path | None) -> None:
        self._file = file

    def reach(self, point: str) -> None:
        """Returns unless a test wants this process dead here."""
        if self._file is None:
            return
        try:
            armed, *repeat = self._file.read_text().split() or [""]
            if armed != point:
                return
            if repeat != [ALWAYS]:
                self._file.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
