"""What surrounds every request, as plain ASGI: request id, body limit, content type, one log line, one metric.

Also the boundary of the process: an exception that nobody expected becomes a 500 problem here, and a log entry.
"""

import asyncio
import re
import uuid
from time import perf_counter

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.headers import BODY_MAX_BYTES, JSON_TYPE, REQUEST_ID, TRACEPARENT
from contract.reasons import Reason
from control_plane.api.problems import Refusal, problem_response
from control_plane.api.reasons import PlatformReason
from control_plane.metrics import Metrics
from control_plane.tracing import Tracing

log = structlog.get_logger()

BODY_TIMEOUT_S = 10.0
"""Suits slow links and bounds slow attacks."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_NAMED_METHODS = _BODY_METHODS | {"GET", "HEAD", "DELETE", "OPTIONS"}
"""Labels of metrics are bounded: any other method is counted as `other`."""
_QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_MACHINES_OWN = frozenset(
    {("POST", "/v1/cells"), ("GET", "/v1/directory"), ("GET", "/v1/cells/{cell_id}/configuration")}
)
"""Probes, signs of life and polls come every second and say nothing: `info` tells of them only when refused."""


class _ClientGoneError(Exception):
    """The client went away before its request was complete: nobody waits for an answer."""


class Envelope:
    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        with (
            structlog.contextvars.bound_contextvars(request_id=exchange.request_id, trace_id=exchange.trace_id),
            self._tracing.span(scope["method"], scope["path"], exchange.headers),
        ):
            try:
                await self._answer(exchange, receive)
            finally:
                self._tell(exchange)

    async def _answer(self, exchange: "_Exchange", receive: Receive) -> None:
        scope = exchange.scope
        try:
            body = await _body_of(exchange, receive)
            if isinstance(body, Refusal):
                await exchange.refuse(body)
            else:
                await self._app(scope, _replayed(body, receive), exchange.send)
        except _ClientGoneError:
            return
        except Exception:
            log.exception("request_must_not_break_the_control_plane", path=scope["path"])
            if exchange.status is None:
                detail = "an error that nobody expected; the request id finds it in the log"
                reason = PlatformReason.REQUEST_MUST_NOT_BREAK_THE_CONTROL_PLANE
                await exchange.refuse(Refusal(reason=reason, detail=detail))

    def _tell(self, exchange: "_Exchange") -> None:
        duration_s = perf_counter() - exchange.started
        status, scope = exchange.status or 499, exchange.scope
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in _NAMED_METHODS else "other"
        self._metrics.requests.labels(method=method, route=route, status=status).observe(duration_s)
        is_quiet = status < 400 and (scope["path"] in _QUIET_PATHS or (method, route) in _MACHINES_OWN)
        caller = scope.get("state", {}).get("caller")
        tell = log.debug if is_quiet else log.info
        tell(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(duration_s * 1000, 3),
            caller=caller.subject if caller else None,
        )


class _Exchange:
    """One request and what became of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.started = perf_counter()
        self.status: int | None = None
        self._send = send
        given = self.headers.get(REQUEST_ID, "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        traced = _TRACEPARENT.fullmatch(self.headers.get(TRACEPARENT, ""))
        self.trace_id = traced.group(1) if traced else None
        scope.setdefault("state", {})["request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self.request_id
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        response = problem_response(refusal, request_id=self.request_id)
        await response(self.scope, Request(self.scope).receive, self.send)


async def _body_of(exchange: _Exchange, receive: Receive) -> bytes | Refusal:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await _buffered(receive)
    except TimeoutError:
        detail = f"a body must arrive within {BODY_TIMEOUT_S:.0f} s"
        return Refusal(reason=Reason.DEADLINE_MUST_NOT_PASS, detail=detail)
    if body is None:
        return Refusal(reason=Reason.BODY_MUST_FIT, detail=f"a body may have {BODY_MAX_BYTES} bytes")
    content_type = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and exchange.scope["method"] in _BODY_METHODS and content_type != JSON_TYPE:
        return Refusal(reason=Reason.CONTENT_TYPE_MUST_BE_JSON, detail=f"send {JSON_TYPE}")
    return body


async def _buffered(receive: Receive) -> bytes | None:
    """The whole body, or None when it is too long."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGoneError
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > BODY_MAX_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The buffered body once, then whatever comes after it (that is: the client going away)."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
