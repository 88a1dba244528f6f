"""Traces: the caller's trace id always, spans only where an OTLP endpoint is set.

OpenTelemetry is imported when tracing starts and not before (it is an extra). A request has a span, a batch has one
with links to the requests in it, because many requests share one commit. Which traces are kept is the SDK's affair
(`OTEL_TRACES_SAMPLER`; by default the caller's decision). Nothing is registered globally.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from cell.telemetry.access_log import AccessLine
from contract.values import value

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16


@value
class TraceParent:
    """The caller's place in a trace, in lower-case hex."""

    trace_id: str
    span_id: str
    is_sampled: bool


def parse_traceparent(raw: bytes | None) -> TraceParent | None:
    """None for a header that W3C Trace Context tells to ignore. Later versions may carry more behind the flags."""
    if raw is None:
        return None
    found = _TRACEPARENT.fullmatch(raw)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN or (version == b"00" and more):
        return None
    return TraceParent(trace_id=trace_id.decode(), span_id=span_id.decode(), is_sampled=bool(int(flags, 16) & 1))


def start_tracing(*, endpoint: str, cell_id: str, zone: str, software_version: str) -> "Tracing | None":
    """None without an endpoint: asking `is None` is then all that tracing costs."""
    if not endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    names = {
        "service.name": "cell",
        "service.namespace": "cellwallet",
        "service.instance.id": cell_id,
        "service.version": software_version,
        "cloud.availability_zone": zone,
    }
    provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


class Tracing:
    """Spans of requests and batches. A request's span belongs to the task that serves it."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        self._trace = trace
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("cell")
        self._request: ContextVar[Span | None] = ContextVar("request span", default=None)

    def begin_request(self, parent: TraceParent | None) -> str:
        """Begin the span of this task's request; the id of its trace."""
        context = None if parent is None else self._trace.set_span_in_context(self._remote(parent))
        span = self._tracer.start_span("request", context=context, kind=self._trace.SpanKind.SERVER)
        self._request.set(span)
        return self._trace.format_trace_id(span.get_span_context().trace_id)

    def end_request(self, line: AccessLine) -> None:
        """End it with what the access log tells too; a request that was refused before it began has no span."""
        span = self._request.get()
        if span is None:
            return
        self._request.set(None)
        span.update_name(f"{line.method} {line.kind or 'request'}")
        told: dict[str, Any] = {
            "http.request.method": line.method,
            "http.response.status_code": line.status,
            "cellwallet.request_id": line.request_id,
            "cellwallet.wallet_id": line.wallet_id,
            "cellwallet.transaction_id": line.transaction_id,
            "cellwallet.seq": line.seq,
            "cellwallet.reason": line.reason,
        }
        span.set_attributes({name: fact for name, fact in told.items() if fact is not None})
        if line.status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def link(self) -> "SpanContext | None":
        """What a queued command keeps of its request, for the span of its batch."""
        span = self._request.get()
        return None if span is None else span.get_span_context()

    @contextmanager
    def batch(self, lane: str, links: "Sequence[SpanContext | None]") -> Iterator[None]:
        """The span of one batch, from load to commit."""
        linked = [self._trace.Link(context) for context in links if context is not None and context.is_valid]
        attributes: dict[str, Any] = {"cellwallet.lane": lane, "cellwallet.commands": len(links)}
        with self._tracer.start_as_current_span("batch", links=linked, attributes=attributes):
            yield

    def stop(self) -> None:
        """Send what is left; blocks for as long as the collector lets it, within the exporter's own time-out."""
        self._provider.shutdown()

    def _remote(self, parent: TraceParent) -> "Span":
        return self._trace.NonRecordingSpan(
            self._trace.SpanContext(
                trace_id=int(parent.trace_id, 16),
                span_id=int(parent.span_id, 16),
                is_remote=True,
                trace_flags=self._trace.TraceFlags(int(parent.is_sampled)),
            )
        )
