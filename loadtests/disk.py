"""How much of the time small synced writes stand still: on a shared machine the disk has neighbours as processors have.

What PostgreSQL promises it has synced: where the disk holds a sync for a tenth of a second, so does every commit, and
no rate has a p99 below that. Knows nothing of databases.
"""

import os
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

STALL_S: Final = 0.02
"""A sync that takes longer stood still; on a disk at peace it takes a tenth of a millisecond."""
PERIOD_S: Final = 0.02
"""Far more seldom than a loaded database syncs, so that the watch is no load itself."""
_PAGE: Final = bytes(4_096)


class DiskWatch:
    """Writes and syncs one page of a file over and over, in a thread of its own, while it is open."""

    def __init__(self, folder: Path) -> None:
        """`folder` is on the disk that is meant; nothing is left in it."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as the watch
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._is_over = threading.Event()
        self._stalled_s = 0.0
        self._elapsed_s = 0.0

    def __enter__(self) -> Self:
        self._sync()  # the first makes the file, which is more than a sync
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._file.close()

    @property
    def stalled_share(self) -> float:
        """Of the time so far, the part in which a sync took longer than `STALL_S`."""
        return self._stalled_s / self._elapsed_s if self._elapsed_s else 0.0

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._is_over.is_set():
            took_s = self._sync()
            if took_s > STALL_S:
                self._stalled_s += took_s
            self._elapsed_s = time.monotonic() - began_s
            self._is_over.wait(PERIOD_S)

    def _sync(self) -> float:
        began_s = time.monotonic()
        os.pwrite(self._file.fileno(), _PAGE, 0)
        os.fdatasync(self._file.fileno())
        return time.monotonic() - began_s
