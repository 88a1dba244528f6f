"""Named places where the mover may be told to die, so that tests can kill it exactly between two steps.

Off unless a file is set, and armed only while that file names a point: reaching the point takes the file away and ends
the process as kill -9 would. A file that says `POINT always` stays, and so does everybody who gets there.
"""

import os
import signal
from pathlib import Path
from typing import Final

POINTS: Final = (
    "move.taken_up",
    "move.announced",
    "move.staged",
    "move.copied",
    "move.fenced",
    "move.delta_sent",
    "move.sealed",
    "move.granted",
    "move.activated",
    "move.published",
    "move.tombstoned",
    "move.fence_taken_down",
    "move.discarded",
    "move.withdrawn",
)
"""Each right after what it names has been done, and before it is recorded."""
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
