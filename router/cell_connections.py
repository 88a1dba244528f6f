"""The client's side of HTTP/1.1 towards API processes: one connection, and the pool of one instance.

A lean client on httptools, because the general ones cost three times as much per request (docs/decisions). It carries
one request at a time, keeps answers in memory up to a bound so that they can be asked for again when a process dies in
the middle, and takes the end of a connection never for the end of an answer. Knows no routes and no retries.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from urllib.parse import urlsplit

import httptools

from contract.values import value
from router.routing.headers import RawHeaders
from router.routing.journey import Silence

ANSWER_BUFFER_MAX_BYTES = 524_288
"""A page of 500 entries fits. Longer answers are passed on while they come, and cannot be asked for again."""

ANSWER_HEAD_MAX_BYTES = 65_536

CONNECT_TIMEOUT_S = 1.0
"""Within a data centre a connection stands in milliseconds or not at all."""

IDLE_MAX_S = 4.0
"""Far below the time after which cells close idle connections: hardly ever is a request sent into a closing one."""


class CellWentSilentError(Exception):
    """The connection ended, or the time was up, in the middle of an answer that is being passed on."""


@value
class CellAnswer:
    status: int
    headers: RawHeaders
    """Names in lower case."""
    body: bytes
    rest: AsyncIterator[bytes] | None


class CellConnection(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop, pool: "InstancePool") -> None:
        self._loop = loop
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[CellAnswer | Silence] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rest: _RestOfBody | None = None
        self._headers: RawHeaders = []
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._head_bytes = 0
        self._is_in_head = False
        self._is_closed = False
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        return not self._is_closed and not self._transport.is_closing()

    def exchange(self, request: bytes, timeout_s: float) -> "asyncio.Future[CellAnswer | Silence]":
        """Send one request; the answer, or why there is none in time. The connection cares for itself."""
        self._answer = self._loop.create_future()
        self._headers, self._chunks = [], []
        self._buffered_bytes = self._head_bytes = 0
        self._timer = self._loop.call_later(timeout_s, self._time_out)
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self._is_closed = True
        self._transport.abort()

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fall_silent(Silence.BROKEN)
            return
        self._head_bytes += len(data)
        if self._head_bytes > ANSWER_HEAD_MAX_BYTES and self._is_in_head:
            self._fall_silent(Silence.BROKEN)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # why it ended changes nothing
        self._is_closed = True
        self._pool.lost(self)
        self._fall_silent(Silence.BROKEN)
        del self._parser  # each holds the other, and a collector that looks seldom would find them late

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._answer is None:
            raise CellWentSilentError("bytes without a request")
        self._is_in_head = True

    def on_header(self, name: bytes, text: bytes) -> None:
        self._headers.append((name.lower(), text))

    def on_headers_complete(self) -> None:
        self._is_in_head = False

    def on_body(self, chunk: bytes) -> None:
        if self._rest is not None:
            self._rest.add(chunk)
            return
        self._chunks.append(chunk)
        self._buffered_bytes += len(chunk)
        if self._buffered_bytes > ANSWER_BUFFER_MAX_BYTES:
            self._rest = _RestOfBody(self._transport)
            self._resolve(rest=self._rest)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            self._headers = []  # an interim answer; the real one follows
            return
        if self._rest is not None:
            self._rest.end(None)
            self._rest = None
        else:
            self._resolve(rest=None)
        self._answer = None
        self._stop_timer()
        self._pool.give_back(self, is_reusable=self._parser.should_keep_alive())

    def _resolve(self, *, rest: "_RestOfBody | None") -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(
                CellAnswer(
                    status=self._parser.get_status_code(),
                    headers=self._headers,
                    body=self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks),
                    rest=rest,
                )
            )

    def _time_out(self) -> None:
        self._fall_silent(Silence.TIMED_OUT)

    def _fall_silent(self, silence: Silence) -> None:
        """End the exchange, if one is under way, and the connection with it."""
        self._stop_timer()
        if self._rest is not None:
            self._rest.end(CellWentSilentError(silence.value))
            self._rest = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(silence)
        self._answer = None
        if not self._is_closed:
            self.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _RestOfBody(AsyncIterator[bytes]):
    """Chunks of a long answer, read from the cell only as fast as the vendor takes them."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._chunks: list[bytes] = []
        self._wakeup = asyncio.Event()
        self._is_ended = False
        self._error: CellWentSilentError | None = None

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._transport.pause_reading()
        self._wakeup.set()

    def end(self, error: CellWentSilentError | None) -> None:
        self._is_ended, self._error = True, error
        self._resume_reading()  # for the next answer on this connection
        self._wakeup.set()

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._is_ended:
                raise StopAsyncIteration
            self._wakeup.clear()
            self._resume_reading()
            await self._wakeup.wait()
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


class InstancePool:
    """The connections to one API process; how many there may be is bounded by the cell's bulkhead."""

    def __init__(self, url: str, *, clock: Callable[[], float]) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._is_tls = parts.scheme == "https"
        self._clock = clock
        self._idle: list[CellConnection] = []
        self._is_retired = False
        self.authority = parts.netloc.encode()

    def take(self) -> CellConnection | None:
        """The connection used last: it is the least likely to be closed by the other side."""
        while self._idle:
            connection = self._idle.pop()
            if self._clock() - connection.idle_since > IDLE_MAX_S:
                connection.close()
                self._close_idle()  # they have been idle for even longer
            elif connection.is_usable:
                return connection
        return None

    async def connect(self, timeout_s: float) -> CellConnection | None:
        """A new connection, or None if there is none in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_TIMEOUT_S)):
                _, connection = await loop.create_connection(
                    lambda: CellConnection(loop, self), self._host, self._port, ssl=self._is_tls or None
                )
        except (OSError, TimeoutError):
            return None
        return connection if connection.is_usable else None

    def give_back(self, connection: CellConnection, *, is_reusable: bool) -> None:
        if is_reusable and connection.is_usable and not self._is_retired:
            connection.idle_since = self._clock()
            self._idle.append(connection)
        else:
            connection.close()

    def lost(self, connection: CellConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def retire(self) -> None:
        """Requests under way may finish; nothing is kept for the next."""
        self._is_retired = True
        self._close_idle()

    def _close_idle(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle = []


class CellConnections:
    """The pools of all instances, by URL."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pools: dict[str, InstancePool] = {}

    def pool(self, url: str) -> InstancePool:
        pool = self._pools.get(url)
        if pool is None:
            pool = self._pools[url] = InstancePool(url, clock=self._clock)
        return pool

    def forget_all_but(self, urls: Iterable[str]) -> None:
        for url in self._pools.keys() - set(urls):
            self._pools.pop(url).retire()

    def close(self) -> None:
        self.forget_all_but(())
