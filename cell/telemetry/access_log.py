"""One structured line per request, written off its path.

A request pays for noting down some references; ten times a second a background task makes JSON of what came together
and writes it in one go. The memory in between is bounded: a line that does not fit is dropped and counted, because a
log that cannot be written must not stop money. Fields and their names are those of the ordinary log events.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import BinaryIO, ClassVar, Final, Protocol

import orjson

LINES_PER_TURN: Final = 100
"""Lines rendered before the event loop gets its turn: about 0.2 ms."""
PATH_MAX: Final = 200
"""Characters of a path that are logged; a wallet's routes need about 60."""

_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class Asked(Protocol):
    """What of a command is logged."""

    KIND: ClassVar[str]

    @property
    def wallet_id(self) -> str: ...

    @property
    def transaction_id(self) -> str: ...


class AccessLine:
    """What is told of one request; filled in as it becomes known."""

    __slots__ = (
        "duration_s",
        "kind",
        "method",
        "path",
        "reason",
        "request_id",
        "seq",
        "started_at_s",
        "status",
        "trace_id",
        "transaction_id",
        "vendor",
        "wallet_id",
    )

    def __init__(self, request_id: str, method: str, path: str, started_at_s: float) -> None:
        """`started_at_s` is an instant of `time.perf_counter`."""
        self.request_id = request_id
        self.method = method
        self.path = path
        self.started_at_s = started_at_s
        self.vendor: str | None = None
        self.trace_id: str | None = None
        self.wallet_id: str | None = None
        self.transaction_id: str | None = None
        self.kind: str | None = None
        self.seq: int | None = None
        self.status = 0
        self.reason: str | None = None
        self.duration_s = 0.0

    def asked(self, command: Asked) -> None:
        self.wallet_id = command.wallet_id
        self.transaction_id = command.transaction_id
        self.kind = command.KIND


class AccessLog:
    """The lines between a request and the log.

    `on_drop` is told how many were lost; `errors_only` is for log levels above `info`.
    """

    def __init__(
        self,
        *,
        cell_id: str,
        lines_max: int,
        period_ms: int,
        on_drop: Callable[[int], None],
        errors_only: bool = False,
        stream: BinaryIO | None = None,
    ) -> None:
        self._cell_id = cell_id
        self._lines_max = lines_max
        self._period_s = period_ms / 1_000
        self._on_drop = on_drop
        self._least_status = 500 if errors_only else 0
        self._stream = stream or sys.stdout.buffer
        self._lines: list[AccessLine] = []
        self._is_stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self, line: AccessLine) -> None:
        if line.status < self._least_status:
            return
        if len(self._lines) < self._lines_max:
            self._lines.append(line)
        else:
            self._on_drop(1)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="access log")

    async def stop(self) -> None:
        """Write what is left."""
        self._is_stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                await asyncio.wait_for(self._is_stopping.wait(), self._period_s)
            except TimeoutError:
                await self._write_out()
        await self._write_out()

    async def _write_out(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        rendered = bytearray()
        wall_clock_ahead_s = time.time() - time.perf_counter()
        for first in range(0, len(lines), LINES_PER_TURN):
            rendered += self._render(lines[first : first + LINES_PER_TURN], wall_clock_ahead_s)
            await asyncio.sleep(0)
        try:
            await asyncio.to_thread(self._write, rendered)  # a pipe may be full; the event loop must not wait for it
        except (OSError, ValueError):  # gone, full or closed; the next attempt may fare better
            self._on_drop(len(lines))

    def _write(self, rendered: bytearray) -> None:
        self._stream.write(rendered)
        self._stream.flush()

    def _render(self, lines: Sequence[AccessLine], wall_clock_ahead_s: float) -> bytearray:
        rendered = bytearray()
        for line in lines:
            try:
                rendered += render(line, self._cell_id, wall_clock_ahead_s)
            except orjson.JSONEncodeError:  # text that UTF-8 cannot carry: one line is lost, not the log
                self._on_drop(1)
        return rendered


def render(line: AccessLine, cell_id: str, wall_clock_ahead_s: float) -> bytes:
    """The line as JSON; its timestamp is the instant of the answer."""
    answered_at_s = line.started_at_s + line.duration_s + wall_clock_ahead_s
    return orjson.dumps(
        {
            "event": "request",
            "timestamp": datetime.fromtimestamp(answered_at_s, UTC),
            "level": "error" if line.status >= 500 else "info",
            "cell": cell_id,
            "request_id": line.request_id,
            "trace_id": line.trace_id,
            "method": line.method,
            "path": line.path[:PATH_MAX],
            "vendor": line.vendor,
            "wallet_id": line.wallet_id,
            "transaction_id": line.transaction_id,
            "kind": line.kind,
            "seq": line.seq,
            "status": line.status,
            "reason": line.reason,
            "duration_ms": round(line.duration_s * 1_000, 3),
        },
        option=_OPTIONS,
    )
