"""Whole lines to standard output, by a thread: a reader of the logs that stops reading must not stop the router.

Lines beyond a bound are dropped and counted.
"""

import queue
import threading
from typing import BinaryIO

PIECES_WAITING_MAX = 1_024
"""Pieces of one or more lines; at 64 access lines a piece this is several seconds of full load."""


class LineWriter:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pieces: queue.Queue[bytes | None] = queue.Queue(maxsize=PIECES_WAITING_MAX)
        self._thread = threading.Thread(target=self._write_all, name="line-writer", daemon=True)
        self.lines_dropped = 0

    def start(self) -> None:
        self._thread.start()

    def write(self, piece: bytes) -> None:
        """Never blocks."""
        try:
            self._pieces.put_nowait(piece)
        except queue.Full:
            self.lines_dropped += piece.count(b"\n")

    def close(self, *, timeout_s: float = 2.0) -> None:
        """Write what is left, unless nobody reads it."""
        try:
            self._pieces.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _write_all(self) -> None:
        while (piece := self._pieces.get()) is not None:
            try:
                self._stream.write(piece)
                self._stream.flush()
            except (OSError, ValueError):
                return  # the reader is gone for good; the queue fills, and what comes then is counted as dropped
