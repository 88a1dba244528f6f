"""What is told of each request, in one place for the routes: its log line, its figures, its span."""

import time
from collections.abc import Mapping

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

    def answered_items(
        self, accepted: Mapping[str, int], replayed: Mapping[str, int], refused: Mapping[str, int]
    ) -> None:
        """Of one request with many commands, by kind; the refused by reason."""
        for counted, by_name in (
            (self._metrics.accepted, accepted),
            (self._metrics.replayed, replayed),
            (self._metrics.refused, refused),
        ):
            for name, times in by_name.items():
                counted(name, times=times)

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
