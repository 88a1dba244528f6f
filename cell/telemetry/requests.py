"""What is told of each request, in one place for the routes: its log line, its figures, its span."""

import time

from cell.telemetry.access_log import AccessLine, AccessLog
from cell.telemetry.metrics import Metrics
from cell.telemetry.tracing import Tracing, parse_traceparent


class Telemetry:
    """The routes' only way to logs, figures and traces."""

    def __init__(self, *, metrics: Metrics, access_log: AccessLog, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._tracing = tracing

    def trace_id(self, traceparent: bytes | None) -> str | None:
        """The trace that this request belongs to. With tracing on, its span begins here and ends in `answered`."""
        parent = parse_traceparent(traceparent)
        if self._tracing is not None:
            return self._tracing.begin_request(parent)
        return None if parent is None else parent.trace_id

    def accepted(self, kind: str, *, is_replay: bool) -> None:
        if is_replay:
            self._metrics.replayed(kind)
        else:
            self._metrics.accepted(kind)

    def read(self, read: str) -> None:
        self._metrics.read(read)

    def answered(self, line: AccessLine, status: int, reason: str | None) -> None:
        """The last word on a request; `reason` is the code of its problem."""
        line.status = status
        line.reason = reason
        line.duration_s = time.perf_counter() - line.started_at_s
        self._metrics.answered(line.duration_s)
        if reason is not None:
            self._metrics.refused(reason)
        self._access_log.note(line)
        if self._tracing is not None:
            self._tracing.end_request(line)
