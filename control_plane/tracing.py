"""Traces, only where an OTLP endpoint is configured: without one nothing is imported and nothing costs.

Knows OpenTelemetry; the rest of the service knows only `Tracing.span`.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

SERVICE_NAME = "cellwallet-control-plane"


class Tracing(Protocol):
    def span(self, method: str, path: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """A span as child of the `traceparent` among the headers; named by the method, since paths hold ids."""

    def close(self) -> None:
        """Send what is left."""


class NoTracing:
    def span(self, method: str, path: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        del method, path, headers
        return nullcontext()

    def close(self) -> None:
        return


def open_tracing(otlp_endpoint: str) -> Tracing:
    return _OtlpTracing(otlp_endpoint) if otlp_endpoint else NoTracing()


class _OtlpTracing:
    def __init__(self, otlp_endpoint: str) -> None:
        # Imported here: the extra `tracing` is installed only where traces are wanted.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        endpoint = otlp_endpoint.rstrip("/")
        exporter = OTLPSpanExporter(endpoint=endpoint if endpoint.endswith("/v1/traces") else f"{endpoint}/v1/traces")
        self._provider = TracerProvider(resource=Resource.create({"service.name": SERVICE_NAME}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE_NAME)
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER

    @contextmanager
    def span(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[None]:
        parent = self._propagator.extract(headers)
        with self._tracer.start_as_current_span(
            method, context=parent, kind=self._kind, attributes={"http.request.method": method, "url.path": path}
        ):
            yield

    def close(self) -> None:
        self._provider.shutdown()
