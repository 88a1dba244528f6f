"""A cell as routers see it: an HTTP server on a real socket that answers what a test tells it to.

It speaks the cell's side of the contract and can do what a healthy cell does not do on demand: hang, answer late, cut
the connection in the middle of an answer, die with all its connections and come back on the same port.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from contract.ids import WalletId
from contract.problems import Problem, problem_document
from contract.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Seen:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The one header of this name; two are an error."""
        texts = [text for known, text in self.headers if known == name]
        assert len(texts) <= 1, f"{name} came {len(texts)} times"
        return texts[0] if texts else None

    @property
    def wallet_id(self) -> str:
        return self.target.split("/")[3].partition("?")[0]


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int = 200
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    raw: bytes | None = None
    """These bytes instead of a whole answer."""
    cuts: bool = False
    """Cut the connection afterwards."""


Script = Callable[[Seen], Awaitable[Reply]]


class StandInCell:
    """One API process of a cell. `script` may be replaced at any time.

    Questions for its readiness are answered as long as it lives, and are not counted among what it has seen.
    """

    def __init__(self, cell_id: str, script: Script | None = None) -> None:
        self.id = cell_id
        self.script: Script = script or self.echo
        self.seen: list[Seen] = []
        self.in_flight = 0
        self.connections = 0
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen; after a `kill` on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """What kill -9 does to a process's sockets: nobody listens, and every connection is reset."""
        assert self._server is not None
        self._server.close()
        serving = list(self._serving.items())
        for task, writer in serving:
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*(task for task, _ in serving), return_exceptions=True)

    async def echo(self, seen: Seen) -> Reply:
        return Reply(
            document={"cell": self.id, "method": seen.method, "target": seen.target, "body": seen.body.decode()}
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        is_counted = False
        try:
            while True:
                seen = await _read(reader)
                if seen.target == "/readyz":
                    writer.write(_READY)
                    continue
                self.connections += not is_counted
                is_counted = True
                await self._serve_one(seen, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the other side left, or this process was killed
        finally:
            del self._serving[task]
            writer.transport.abort()

    async def _serve_one(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.seen.append(seen)
        self.in_flight += 1
        try:
            reply = await self.script(seen)
        finally:
            self.in_flight -= 1
        writer.write(reply.raw if reply.raw is not None else self._rendered(reply, seen))
        await writer.drain()
        if reply.cuts:
            writer.close()
            raise ConnectionResetError

    def _rendered(self, reply: Reply, seen: Seen) -> bytes:
        body = reply.body if reply.body is not None else json.dumps(reply.document).encode()
        headers = {
            "content-type": "application/json" if reply.status < 400 else "application/problem+json",
            "content-length": str(len(body)),
            "x-cell": self.id,
            "x-request-id": seen.header("x-request-id") or "",
            "server": "stand-in",
            "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            **reply.headers,
        }
        lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        return f"HTTP/1.1 {reply.status} Told\r\n{lines}\r\n".encode() + body


_READY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = line.split(" ")
    headers = [(name.lower(), text.strip()) for name, _, text in (one.partition(":") for one in lines)]
    length = next((int(text) for name, text in headers if name == "content-length"), 0)
    return Seen(method=method, target=target, headers=headers, body=await reader.readexactly(length))


def refusal(reason: Reason, **facts: Any) -> Reply:
    """A problem document of the cell."""
    problem = Problem(reason=reason, detail="The stand-in says no.", facts=facts)
    headers = {"retry-after": "7"} if problem.status in {429, 503} else {}
    return Reply(status=problem.status, document=problem_document(problem, request_id="of-the-cell"), headers=headers)


def misdirected(*, unit: int, cell: str | None, epoch: int, **facts: Any) -> Reply:
    return refusal(Reason.WALLET_MUST_BE_OWNED_BY_THIS_CELL, unit=unit, cell=cell, epoch=epoch, **facts)


def new_wallet_id() -> WalletId:
    return WalletId(str(uuid.uuid4()))
