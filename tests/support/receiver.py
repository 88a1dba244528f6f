"""A vendor's endpoint: an HTTP server on a real socket that remembers what it got and answers what a test tells it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Got:
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def place(self) -> tuple[str, int]:
        return self.event["wallet_id"], self.event["seq"]


class Receiver:
    """`answer` gives the status for what came; it may take its time."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Callable[[Got], Awaitable[int]] = _take
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    def seqs(self, wallet_id: str) -> list[int]:
        return [seq for told, seq in (one.place for one in self.got) if told == wallet_id]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while True:
                got = await _read(reader)
                self.got.append(got)
                status = await self.answer(got)
                head = f"HTTP/1.1 {status} Told\r\ncontent-length: 2\r\nlocation: http://127.0.0.1:1/\r\n\r\nok"
                writer.write(head.encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the sender left, or the test is over
        finally:
            self._serving.discard(task)
            writer.transport.abort()


async def _take(_: Got) -> int:
    return 204


async def _read(reader: asyncio.StreamReader) -> Got:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.removesuffix("\r\n\r\n").split("\r\n")[1:]
    headers = {name.lower(): text.strip() for name, _, text in (one.partition(":") for one in lines)}
    return Got(headers=headers, body=await reader.readexactly(int(headers.get("content-length", 0))))
