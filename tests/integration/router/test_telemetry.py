"""What the router tells of itself: one line per request, figures, traces."""

import asyncio
import threading
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from router_under_test import NewCell, NewRouter, running_router
from signed_directory import Signer, directory_document, wallet_in
from stand_in_cell import Reply, Seen

from router import line_writer
from router.line_writer import LineWriter

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


async def test_every_request_is_one_line(new_cell: NewCell, new_router: NewRouter) -> None:
    cell = await new_cell("a")
    document = directory_document({"a": [cell.url]})
    router = await new_router(document=document)
    wallet = wallet_in(document, "a")
    await router.post(f"/v1/wallets/{wallet}/debit", x_request_id="one", traceparent=TRACEPARENT)
    await router.get("/v1/nothing", x_request_id="two")
    await router.client.get("/healthz")
    await router.client.get("/readyz")
    for _ in range(500):
        if len(router.lines()) == 2:
            break
        await asyncio.sleep(0.005)
    first, second = router.lines()
    assert first.pop("duration_ms") > 0
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "request",
        "level": "info",
        "router": "router-1",
        "request_id": "one",
        "trace_id": TRACE_ID,
        "route": "POST /v1/wallets/{wallet_id}/debit",
        "wallet_id": wallet,
        "cell": "a",
        "status": 200,
        "sendings": 1,
    }
    assert (second["request_id"], second["status"], second["cell"], second["sendings"]) == ("two", 404, None, 0)


async def test_figures_tell_cells_and_classes_apart(new_cell: NewCell, new_router: NewRouter) -> None:
    cell = await new_cell("a")
    document = directory_document({"a": [cell.url], "b": ["http://127.0.0.1:9"]}, version=12)
    router = await new_router(document=document)
    for _ in range(3):
        await router.get(f"/v1/wallets/{wallet_in(document, 'a')}")
    await router.get(f"/v1/wallets/{wallet_in(document, 'b')}", x_deadline_ms="100")
    await router.get("/v1/nothing")
    figures = await router.figures()
    assert figures['router_requests_total{cell="a",status="2xx"}'] == 3
    assert figures['router_requests_total{cell="b",status="5xx"}'] == 1
    assert figures['router_requests_total{cell="router",status="4xx"}'] == 1
    assert figures['router_request_seconds_count{cell="a"}'] == 3
    assert figures['router_request_seconds_bucket{cell="a",le="+Inf"}'] == 3
    assert figures['router_in_flight{cell="a"}'] == 0
    assert figures['router_breaker_state{cell="a",instance=""}'] == 0
    assert figures['router_breaker_state{cell="b",instance="http://127.0.0.1:9"}'] == 2
    assert figures['router_sent_again_total{cause="unsent"}'] >= 1
    assert figures["router_directory_version"] == 12
    assert figures["router_log_lines_dropped_total"] == 0


async def test_spans_join_the_vendors_trace_and_lead_the_cells(
    new_cell: NewCell, tmp_path: Path, signer: Signer
) -> None:
    exported: list[bytes] = []

    async def collect(seen: Seen) -> Reply:
        exported.append(seen.body)
        return Reply(body=b"")

    cell, collector = await new_cell("a"), await new_cell("collector", collect)
    document = directory_document({"a": [cell.url]})
    async with running_router(tmp_path, signer, document=document, otlp_endpoint=collector.url) as router:
        path = f"/v1/wallets/{wallet_in(document, 'a')}"
        await router.get(path, traceparent=TRACEPARENT, x_request_id="mine")
        await router.get(path)
    spans = [
        span
        for body in exported
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    first, second = spans
    assert first.name == "GET /v1/wallets/{wallet_id}"
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE_ID, "00f067aa0ba902b7")
    assert cell.seen[0].header("traceparent") == f"00-{TRACE_ID}-{first.span_id.hex()}-01"
    facts = {fact.key: fact.value for fact in first.attributes}
    assert facts["cellwallet.request_id"].string_value == "mine"
    assert facts["http.response.status_code"].int_value == 200
    assert second.trace_id.hex() in (cell.seen[1].header("traceparent") or "")


class StuckStream:
    """A pipe whose reader has stopped."""

    def __init__(self) -> None:
        self.is_read = threading.Event()
        self.written = b""

    def write(self, piece: bytes) -> int:
        self.is_read.wait(10)
        self.written += piece
        return len(piece)

    def flush(self) -> None:
        pass


def test_a_reader_that_stops_does_not_stop_the_router(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "PIECES_WAITING_MAX", 4)
    stream = StuckStream()
    writer = LineWriter(stream)  # type: ignore[arg-type]
    writer.start()
    for number in range(20):
        writer.write(b"%d\n" % number)
    assert 14 <= writer.lines_dropped <= 16, "four wait, one is being written"
    stream.is_read.set()
    writer.close()
    assert stream.written.count(b"\n") + writer.lines_dropped == 20


def test_a_reader_that_is_gone_does_not_stop_the_router() -> None:
    class Gone(StuckStream):
        def write(self, piece: bytes) -> int:
            raise BrokenPipeError(len(piece))

    writer = LineWriter(Gone())  # type: ignore[arg-type]
    writer.start()
    for _ in range(3_000):
        writer.write(b"line\n")
    writer.close(timeout_s=0.01)
    assert writer.lines_dropped > 0
