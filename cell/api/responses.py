"""Answers as bytes for the lean routes, and what they read from a request's head: its id and its deadline.

Owns the headers that every answer carries (X-Cell, X-Request-Id, and Retry-After, RateLimit where they apply). It
knows no money and no routes, and it decides nothing: a problem comes in as a value.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import orjson
import uuid_utils
from starlette.responses import Response

from contract.headers import CELL, DEADLINE_MAX_MS, DEADLINE_MS, JSON_TYPE, PROBLEM_TYPE, REQUEST_ID
from contract.problems import Problem, problem_document
from contract.reasons import Reason
from lean_http.protocol import WholeAnswer

Headers = Iterable[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

RETRY_AFTER_DEFAULT_S: Final = 1
"""Where a "later" comes without a time: long enough to spare the cell, short enough for people."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_DEADLINE: Final = re.compile(rb"[0-9]{1,5}")
_CELL: Final = CELL.lower().encode()
_REQUEST_ID_NAME: Final = REQUEST_ID.lower().encode()
_CONTENT_LENGTH: Final = b"content-length"
_JSON: Final = (b"content-type", JSON_TYPE.encode())
_PROBLEM: Final = (b"content-type", PROBLEM_TYPE.encode())


def request_id_of(raw: bytes | None) -> str:
    """The caller's id where it is fit for logs and headers, else a new one."""
    if raw is not None and _REQUEST_ID.fullmatch(raw) is not None:
        return raw.decode()
    return str(uuid_utils.uuid7())


def deadline_ms_of(raw: bytes | None, *, default_ms: int) -> int | Problem:
    if raw is None:
        return default_ms
    if _DEADLINE.fullmatch(raw) is not None and 1 <= (deadline_ms := int(raw)) <= DEADLINE_MAX_MS:
        return deadline_ms
    message = f"must be a whole number from 1 to {DEADLINE_MAX_MS}"
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"{DEADLINE_MS} {message}.",
        facts={"errors": [{"pointer": "", "header": DEADLINE_MS, "message": message}]},
    )


def authorization_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The one Authorization header. Of several nobody can say which is meant, so together they are no valid one."""
    given = [text for name, text in headers if name == b"authorization"]
    return given[0] if len(given) == 1 else b"" if given else None


class Responder:
    """Writes answers of one cell."""

    __slots__ = ("_cell",)

    def __init__(self, *, cell_id: str) -> None:
        self._cell = (_CELL, cell_id.encode())

    async def send_json(self, send: Send, *, status: int, body: bytes, request_id: str, more: Headers = ()) -> None:
        await self._send(send, status, body, (_JSON, *self._head(body, request_id), *more))

    async def send_problem(self, send: Send, problem: Problem, *, request_id: str, more: Headers = ()) -> None:
        body = problem_bytes(problem, request_id=request_id)
        headers = (_PROBLEM, *self._head(body, request_id), *problem_headers(problem), *more)
        await self._send(send, problem.status, body, headers)

    def problem_response(self, problem: Problem, *, request_id: str, more: Headers = ()) -> Response:
        """The same answer as `send_problem` gives, for routes that return a response."""
        body = problem_bytes(problem, request_id=request_id)
        response = Response(content=body, status_code=problem.status)
        response.raw_headers = [_PROBLEM, *self._head(body, request_id), *problem_headers(problem), *more]
        return response

    def _head(self, body: bytes, request_id: str) -> Headers:
        return (_CONTENT_LENGTH, b"%d" % len(body)), (_REQUEST_ID_NAME, request_id.encode()), self._cell

    async def _send(self, send: Send, status: int, body: bytes, headers: Headers) -> None:
        if isinstance(send, WholeAnswer) and send.whole(status, headers, body):
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def json_response(answer: dict[str, Any]) -> Response:
    """For routes that return a response."""
    return Response(orjson.dumps(answer), media_type="application/json")


def problem_bytes(problem: Problem, *, request_id: str) -> bytes:
    return orjson.dumps(problem_document(problem, request_id=request_id))


def problem_headers(problem: Problem) -> list[tuple[bytes, bytes]]:
    """Retry-After for "later", RateLimit where a limit refused (its numbers are among the facts), the 401 challenge."""
    status = problem.status
    if status == 401:
        return [(b"www-authenticate", b'Bearer error="invalid_token"')]
    if status not in (429, 503):
        return []
    facts = problem.facts or {}
    headers = [(b"retry-after", b"%d" % facts.get("retry_after_s", RETRY_AFTER_DEFAULT_S))]
    limit = facts.get("rate_limit")
    if limit is not None:
        name = limit["policy"]
        headers.append((b"ratelimit", f'"{name}";r={limit["remaining"]};t={limit["reset_s"]}'.encode()))
        headers.append((b"ratelimit-policy", f'"{name}";q={limit["quota"]};w={limit["window_s"]}'.encode()))
    return headers


class Identified:
    """ASGI wrapper of the routes that are not lean: the request gets its id, every answer the cell's headers.

    The id is kept in the scope's `state`, where `request_id_in` finds it.
    """

    def __init__(self, app: AsgiApp, *, cell_id: str) -> None:
        self._app = app
        self._cell = (_CELL, cell_id.encode())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_in(scope)

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = dict(message.get("headers", ()))
                stamps = {_REQUEST_ID_NAME: request_id.encode(), self._cell[0]: self._cell[1]}
                missing = [(name, text) for name, text in stamps.items() if name not in present]
                message["headers"] = [*message.get("headers", ()), *missing]
            await send(message)

        await self._app(scope, receive, send_identified)


def request_id_in(scope: MutableMapping[str, Any]) -> str:
    """The id of this request, given once and kept for everyone who asks later."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        raw = next((text for name, text in scope["headers"] if name == _REQUEST_ID_NAME), None)
        state["request_id"] = request_id_of(raw)
    return str(state["request_id"])
