"""uvicorn's HTTP protocol with three short cuts that the money path feels.

An answer whose head and body are known leaves in one write (`WholeAnswer`); what comes in pieces is gathered until the
end of the event loop's turn; and a connection has one timer for its idle time, not one for each request. Knows nothing
of what is answered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_CLOSE = (b"connection", b"close")


class GatheringTransport:
    """Gathers writes; everything else is the transport's own."""

    __slots__ = ("_loop", "_parts", "_transport", "get_extra_info", "is_closing", "pause_reading", "resume_reading")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, part: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._write_out)
        self._parts.append(part)

    def write_at_once(self, part: bytes) -> None:
        """With what was written before."""
        if self._parts:
            self._parts.append(part)
            self._write_out()
        elif not self._transport.is_closing():
            self._transport.write(part)

    def close(self) -> None:
        """What was written before still leaves."""
        self._write_out()
        self._transport.close()

    def _write_out(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class WholeAnswer:
    """The `send` of one request; `whole` is for who has the answer complete."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    async def __call__(self, message: Any) -> None:
        await self._cycle.send(message)

    def whole(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Whether it has left; otherwise nothing was done, and the answer must be sent as ASGI has it.

        `headers` have the body's length, and `connection: close` if this answer is to be the last. As with ASGI, a
        caller that is gone takes whatever it is sent.
        """
        cycle = self._cycle
        if cycle.disconnected:
            return True
        if cycle.response_started or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        told = (*cycle.default_headers, *headers)
        if _CLOSE in told:
            cycle.keep_alive = False
            end = b"\r\n"
        else:
            end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        lines = [b"%b: %b\r\n" % header for header in told]
        head = b"".join((STATUS_LINE[status], *lines))
        if head.count(b"\n") != len(lines) + 1:
            raise ValueError("a header has a line feed in it")
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cast("GatheringTransport", cycle.transport).write_at_once(head + end + body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True


class _Answering:
    """The application as uvicorn starts it for one request."""

    __slots__ = ("_app", "_cycle")

    def __init__(self, app: Callable[..., Awaitable[None]], cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        del send  # the cycle's own
        return self._app(scope, receive, WholeAnswer(self._cycle))


class LeanProtocol(HttpToolsProtocol):
    _idle_since_s: float | None = None
    """None = a request is being read or answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", GatheringTransport(transport, self.loop)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close what has been idle for long enough; otherwise look again when it may be."""
        idle_s = 0.0 if self._idle_since_s is None else self.loop.time() - self._idle_since_s
        if idle_s < self.timeout_keep_alive:
            self._look_after(self.timeout_keep_alive - idle_s)
        else:
            super().timeout_keep_alive_handler()

    def _look_after(self, delay_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since_s = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _Answering(app, cycle))
