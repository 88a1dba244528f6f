"""The transport under uvicorn's protocol: an answer leaves in one write.

uvicorn writes head and body apart, which are two system calls here, two packets and two wake-ups at the caller. What
is written within one turn of the event loop leaves together at its end. Knows no HTTP.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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


class GatheringProtocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", GatheringTransport(transport, self.loop)))
