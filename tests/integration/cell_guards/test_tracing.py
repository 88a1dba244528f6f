"""Traces reach a collector: a span per request, one per batch, and links between them."""

import asyncio
import io
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cell.telemetry import AccessLine, AccessLog, Metrics, Telemetry, Tracing, start_tracing

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01".encode()
NOT_SAMPLED = f"00-{TRACE}-{SPAN}-00".encode()


class Collector:
    """Takes what OTLP over HTTP brings."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        app = web.Application()
        app.add_routes([web.post("/v1/traces", self._take)])
        self.server = TestServer(app, host="127.0.0.1")

    @property
    def spans(self) -> dict[str, list[Span]]:
        named: dict[str, list[Span]] = {}
        for request in self.requests:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        named.setdefault(span.name, []).append(span)
        return named

    async def _take(self, request: web.Request) -> web.Response:
        self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    await collector.server.start_server()
    try:
        yield collector
    finally:
        await collector.server.close()


@pytest.fixture
def tracing(collector: Collector) -> Tracing:
    tracing = start_tracing(
        endpoint=str(collector.server.make_url("/")), cell_id="cell-a", zone="zone-1", software_version="1.2.3"
    )
    assert tracing is not None
    return tracing


@pytest.fixture
def telemetry(tracing: Tracing, metrics: Metrics) -> Telemetry:
    log = AccessLog(cell_id="cell-a", lines_max=99, period_ms=1, on_drop=metrics.lines_dropped, stream=io.BytesIO())
    return Telemetry(metrics=metrics, access_log=log, tracing=tracing)


def _attributes(span: Span) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in span.attributes}


def _line(request_id: str) -> AccessLine:
    line = AccessLine(request_id, "POST", "/v1/wallets/w/debit", time.perf_counter())
    line.kind, line.wallet_id, line.seq = "debit", "w", 7
    return line


async def test_a_request_continues_the_callers_trace(
    collector: Collector, tracing: Tracing, telemetry: Telemetry
) -> None:
    assert telemetry.trace_id(SAMPLED) == TRACE
    telemetry.answered(_line("r-1"), 201, None)
    await asyncio.to_thread(tracing.stop)
    (span,) = collector.spans["POST debit"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
    attributes = _attributes(span)
    assert attributes["cellwallet.request_id"] == "r-1"
    assert attributes["http.response.status_code"] == 201
    assert attributes["cellwallet.seq"] == 7
    assert "cellwallet.reason" not in attributes
    (resource,) = (request.resource_spans[0].resource for request in collector.requests)
    named = {pair.key: pair.value.string_value for pair in resource.attributes}
    assert (named["service.name"], named["service.instance.id"]) == ("cell", "cell-a")


async def test_without_a_caller_a_trace_begins_here(
    collector: Collector, tracing: Tracing, telemetry: Telemetry
) -> None:
    trace_id = telemetry.trace_id(b"nonsense")
    assert trace_id is not None
    telemetry.answered(_line("r-1"), 500, "request_must_not_break_the_cell")
    await asyncio.to_thread(tracing.stop)
    (span,) = collector.spans["POST debit"]
    assert (span.trace_id.hex(), span.parent_span_id) == (trace_id, b"")
    assert span.status.code == 2


async def test_a_batch_links_to_its_requests(collector: Collector, tracing: Tracing, telemetry: Telemetry) -> None:
    async def request(number: int, batch: "asyncio.Queue[object]", go: asyncio.Event) -> None:
        telemetry.trace_id(None)
        await batch.put(tracing.link())
        await go.wait()
        telemetry.answered(_line(f"r-{number}"), 201, None)

    queue: asyncio.Queue[object] = asyncio.Queue()
    go = asyncio.Event()
    requests = [asyncio.create_task(request(number, queue, go)) for number in range(3)]
    links = [await queue.get() for _ in requests]
    with tracing.batch("0", [*links, None]):  # type: ignore[list-item]
        pass
    go.set()
    await asyncio.gather(*requests)
    await asyncio.to_thread(tracing.stop)
    (batch,) = collector.spans["batch"]
    spans = collector.spans["POST debit"]
    assert len({span.trace_id for span in spans}) == 3
    assert {(link.trace_id, link.span_id) for link in batch.links} == {(span.trace_id, span.span_id) for span in spans}
    assert _attributes(batch) == {"cellwallet.lane": "0", "cellwallet.commands": 4}


async def test_what_the_caller_does_not_sample_is_not_sent(
    collector: Collector, tracing: Tracing, telemetry: Telemetry
) -> None:
    assert telemetry.trace_id(NOT_SAMPLED) == TRACE
    telemetry.answered(_line("r-1"), 201, None)
    await asyncio.to_thread(tracing.stop)
    assert collector.spans == {}


async def test_a_request_that_was_refused_before_it_began_has_no_span(
    collector: Collector, tracing: Tracing, telemetry: Telemetry
) -> None:
    telemetry.answered(_line("r-1"), 401, "token_must_be_valid")
    assert tracing.link() is None
    await asyncio.to_thread(tracing.stop)
    assert collector.spans == {}
