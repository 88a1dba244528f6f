"""Named places where a worker may be told to die or to wait, so that tests can kill it, or others, between two steps.

Off unless a file is set, and armed only while that file names a point: reaching the point takes the file away and ends
the process as kill -9 would. A file that says `POINT always` stays, and so does everybody who gets there. One that says
`POINT hold` becomes `FILE.held`, with the point and the pid of who is there: that step waits until the file is taken
away, for a bounded time, while the rest of the process goes on.
"""

import asyncio
import os
import signal
import time
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
ROLLOUT_POINTS: Final = (
    "rollout.before_image",
    "rollout.prepared",
    "rollout.image_put",
    "rollout.image_put_back",
    "rollout.noted",
    "rollout.judged",
    "rollout.audited",
    "rollout.advanced",
)
"""Of whoever carries rollouts out: the first before, the others right after what they name; `noted` and `advanced`
after it was recorded."""
EVACUATION_POINTS: Final = (
    "evacuation.routers_acknowledged",
    "evacuation.switched",
    "evacuation.primaries_left",
    "evacuation.cordoned",
    "evacuation.end_ordered",
    "evacuation.traffic_returned",
)
"""Each right after what it names has been seen or done, and before it is recorded."""
ALWAYS: Final = "always"
HOLD: Final = "hold"
HELD_MAX_S: Final = 30.0
"""A test that died must not keep a process for ever."""
POLL_S: Final = 0.01


class CrashPoints:
    def __init__(self, file: Path | None) -> None:
        self._file = file

    async def reach(self, point: str) -> None:
        """Returns at once, unless a test wants this process dead or held here."""
        if self._file is None:
            return
        held = self._obey(self._file, point)
        if held is not None:
            await self._wait(held)

    async def _wait(self, held: Path) -> None:
        ends_s = time.monotonic() + HELD_MAX_S
        while held.exists() and time.monotonic() < ends_s:  # noqa: ASYNC110, ASYNC240 - no event of another process
            await asyncio.sleep(POLL_S)

    def _obey(self, file: Path, point: str) -> Path | None:
        """The file to be held by, if so."""
        try:
            armed, *how = file.read_text().split() or [""]
            if armed != point:
                return None
            if how == [HOLD]:
                held = file.rename(f"{file}.held")
                held.write_text(f"{point} {os.getpid()}")
                return held
            if how != [ALWAYS]:
                file.unlink()
        except FileNotFoundError:
            return None
        os.kill(os.getpid(), signal.SIGKILL)
        return None
