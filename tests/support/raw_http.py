"""Bytes to a socket and what comes back: for requests that no HTTP client would send."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

QUIET_S = 5.0
"""An answer that takes longer is none."""


@dataclass(frozen=True, kw_only=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, raw: bytes) -> None:
        self._writer.write(raw)
        await self._writer.drain()

    async def answer(self) -> RawAnswer | None:
        """The next answer; None if the connection ends instead. Interim answers are passed over."""
        async with asyncio.timeout(QUIET_S):
            while True:
                try:
                    head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    return None
                line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
                status = int(line.split(" ")[1])
                headers = {name.lower(): text.strip() for name, _, text in (one.partition(":") for one in lines)}
                if status >= 200:
                    break
            body = await self._reader.readexactly(int(headers["content-length"]))
            return RawAnswer(status=status, headers=headers, body=body)

    async def is_ended(self) -> bool:
        """Whether the other side closes without another byte."""
        async with asyncio.timeout(QUIET_S):
            try:
                return await self._reader.read(1) == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self._writer.transport.abort()
        await asyncio.sleep(0)


async def connect(port: int) -> RawConnection:
    return RawConnection(*await asyncio.open_connection("127.0.0.1", port))
