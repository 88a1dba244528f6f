"""Spans of requests, only where an OTLP endpoint is set; without one a vendor's `traceparent` passes through untouched.

OpenTelemetry is an extra and is imported when tracing starts. Nothing is registered globally.
"""

from typing import TYPE_CHECKING

from router.request import Request

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span


def start_tracing(*, endpoint: str, router_id: str, zone: str) -> "Tracing | None":
    if not endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    names = {
        "service.name": "router",
        "service.namespace": "cellwallet",
        "service.instance.id": router_id,
        "cloud.availability_zone": zone,
    }
    provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    return Tracing(provider)


class Tracing:
    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("router")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: Request) -> "Span":
        """Begin the span of a request under the vendor's, and make it the parent of the cell's."""
        carried = {} if request.traceparent is None else {"traceparent": request.traceparent.decode()}
        context = self._propagator.extract(carried)
        span = self._tracer.start_span(request.method, context=context, kind=self._trace.SpanKind.SERVER)
        passed_on: dict[str, str] = {}
        self._propagator.inject(passed_on, self._trace.set_span_in_context(span))
        request.traceparent = passed_on["traceparent"].encode()
        request.trace_id = self._trace.format_trace_id(span.get_span_context().trace_id)
        return span

    def end(self, span: "Span", request: Request, *, status: int) -> None:
        span.update_name(request.route_name or request.method)
        told: dict[str, str | int | None] = {
            "http.request.method": request.method,
            "http.response.status_code": status,
            "cellwallet.request_id": request.request_id,
            "cellwallet.wallet_id": request.wallet_id,
            "cellwallet.cell": request.cell_id,
            "cellwallet.sendings": request.sendings,
        }
        span.set_attributes({name: fact for name, fact in told.items() if fact is not None})
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def stop(self) -> None:
        """Send what is left, within the exporter's own time-out."""
        self._provider.shutdown()
