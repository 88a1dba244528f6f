"""The caller's trace: believed where it is well-formed, ignored where it is not."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.telemetry import AccessLog, Metrics, Telemetry, start_tracing
from cell.telemetry.tracing import TraceParent, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("raw", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_believed(raw: str, *, is_sampled: bool) -> None:
    assert parse_traceparent(raw.encode()) == TraceParent(trace_id=TRACE, span_id=SPAN, is_sampled=is_sampled)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"0g-{TRACE}-{SPAN}-01",
    ],
)
def test_ignored(raw: str) -> None:
    assert parse_traceparent(raw.encode()) is None


def test_no_header_is_no_trace() -> None:
    assert parse_traceparent(None) is None


@given(raw=st.binary(max_size=80) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{30,33}-[0-9a-f]{16}-..", fullmatch=True))
def test_what_is_believed_is_hex(raw: bytes) -> None:
    parent = parse_traceparent(raw)
    if parent is not None:
        assert re.fullmatch(r"[0-9a-f]{32} [0-9a-f]{16}", f"{parent.trace_id} {parent.span_id}")


def test_without_an_endpoint_there_is_no_tracing_and_still_a_trace_id() -> None:
    tracing = start_tracing(endpoint="", cell_id="cell-a", zone="zone-1", software_version="1")
    assert tracing is None
    metrics = Metrics(cell_id="cell-a", zone="zone-1", software_version="1")
    log = AccessLog(cell_id="cell-a", lines_max=1, period_ms=1, on_drop=metrics.lines_dropped, stream=io.BytesIO())
    telemetry = Telemetry(metrics=metrics, access_log=log, tracing=tracing)
    assert telemetry.trace_id(f"00-{TRACE}-{SPAN}-01".encode()) == TRACE
    assert telemetry.trace_id(b"nonsense") is None
    assert telemetry.trace_id(None) is None
