"""The server's side of HTTP/1.1, stricter than uvicorn's: what two readers could understand differently is refused.

llhttp already refuses bad framing (two lengths, both kinds of length, bad chunks, folded lines, bare line feeds). This
adds what it lets pass: other request targets than a plain path, missing or doubled Host, trailers, upgrades, codings
before `chunked`, old versions, endless heads, pipelining. Every refusal is a problem document. Knows no routes.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httptools
import uuid_utils
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from contract.problems import Problem
from contract.reasons import Reason
from lean_http.protocol import LeanProtocol
from router.answers import problem_answer
from router.routing.headers import RawHeaders, acceptable_request_id

HEAD_MAX_BYTES = 32_768
"""Request line and headers; tokens of a few kilobytes are normal, more is an attack on memory."""

TARGET_MAX_BYTES = 8_192
"""Path and query: a ref of 128 characters, percent-encoded, and a cursor fit several times."""

ARRIVAL_MAX_S = 30.0
"""From the first byte of a request (or of a connection) to its last: the longest deadline."""

_TARGET = re.compile(rb"/[!\"$-~]*")
"""Visible ASCII from a slash on, without `#`."""


class _MustNotPassError(Exception):
    """Raised inside a callback of the parser to stop it; the problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class _PipelinedError(Exception):
    """The next request came before the answer to this one: it will not be read, and the connection ends."""


class StrictProtocol(LeanProtocol):
    """One connection of a vendor. `on_refused` is called with the status of every answer made here."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        on_refused: Callable[[int], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._on_refused = on_refused
        self._arrival_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_in_head = False
        self._is_in_message = False
        self._is_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(_ill_formed("Protocol upgrades are not offered."))
        except httptools.HttpParserError as error:
            self._stop(error.__context__)
        else:
            self._watch_arrival(len(data))

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            raise _PipelinedError
        super().on_message_begin()
        self._head_bytes = 0
        self._is_in_head = self._is_in_message = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            raise _MustNotPassError(_ill_formed("Trailers are not accepted."))
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        problem = _flaw_of_target(self.url) or self._flaw_of_head()
        if problem is not None:
            raise _MustNotPassError(problem)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_message = False
        self._has_arrived()
        super().on_message_complete()

    def _flaw_of_head(self) -> Problem | None:
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            return _ill_formed("The version must be HTTP/1.1 or HTTP/1.0.")
        if self.parser.should_upgrade():
            return _ill_formed("Protocol upgrades are not offered.")
        hosts = 0
        for name, text in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and (text.lower() != b"chunked" or version == "1.0"):
                return _ill_formed("The only transfer coding accepted is chunked, with HTTP/1.1.")
            elif name == b"expect":
                self.expect_100_continue = text.lower() == b"100-continue"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return _ill_formed("There must be exactly one Host header.")
        return None

    def _stop(self, cause: BaseException | None) -> None:
        match cause:
            case _PipelinedError():
                self._is_over = True
                self.cycle.keep_alive = False
            case _MustNotPassError(problem=problem):
                self._refuse(problem)
            case _:
                self._refuse(_ill_formed("This is not HTTP/1.1 as it must be written."))

    def _refuse(self, problem: Problem) -> None:
        """Answer in the place of the application and end the connection; nothing after it is read."""
        self._is_over = True
        self._has_arrived()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the body of this request is what is refused
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        self._on_refused(problem.status)
        self.transport.write(_on_the_wire(problem, self.headers or []))
        self.transport.close()

    def _watch_arrival(self, received_bytes: int) -> None:
        if not self._is_in_message:
            return
        if self._is_in_head:
            self._head_bytes += received_bytes
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(_ill_formed(f"The head must fit into {HEAD_MAX_BYTES} bytes."))
                return
        if self._arrival_timer is None:
            self._await_arrival()

    def _await_arrival(self) -> None:
        self._arrival_timer = self.loop.call_later(ARRIVAL_MAX_S, self._arrival_failed)

    def _has_arrived(self) -> None:
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    def _arrival_failed(self) -> None:
        if self._is_in_message:
            detail = f"The request must arrive within {ARRIVAL_MAX_S:.0f} s."
            self._refuse(Problem(reason=Reason.DEADLINE_MUST_NOT_PASS, detail=detail))
        else:
            self.transport.close()


def _flaw_of_target(target: bytes) -> Problem | None:
    if len(target) <= TARGET_MAX_BYTES and _TARGET.fullmatch(target) is not None:
        return None
    detail = f"The request target must be a path of visible ASCII within {TARGET_MAX_BYTES} bytes."
    return Problem(reason=Reason.PATH_MUST_BE_WELL_FORMED, detail=detail)


def _ill_formed(detail: str) -> Problem:
    return Problem(reason=Reason.REQUEST_MUST_BE_WELL_FORMED, detail=detail)


def _on_the_wire(problem: Problem, headers: RawHeaders) -> bytes:
    request_id = acceptable_request_id(headers) or str(uuid_utils.uuid7())
    answer = problem_answer(problem, request_id=request_id, closes=True)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in answer.headers)
    return b"%b%bx-request-id: %b\r\n\r\n%b" % (STATUS_LINE[answer.status], lines, request_id.encode(), answer.body)
