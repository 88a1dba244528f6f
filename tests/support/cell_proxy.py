"""PostgreSQL behind a wire that the test can cut: exactly at a commit, or for good."""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from cell_databases import CellDatabase

from cellwallet.local.postgres import SOCKET_NAME, SOCKET_PORT

COMMIT = b"COMMIT\x00"
"""Both the statement in a Parse message and the tag of its completion."""


class DatabaseProxy:
    """`cut_at_commit`: the next commit is cut off "before" it reaches the database, or "after" it was done and before
    its answer reaches the client. `is_down`: nobody gets through.
    """

    def __init__(self, database: CellDatabase, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._wires: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._is_down = False
        self.cut_at_commit: Literal["before", "after"] | None = None
        self.cuts = 0

    def url(self, role: str = "cell_app") -> str:
        return f"postgresql://{role}@/{self._database.name}?host={quote(str(self._folder), safe='')}&port={SOCKET_PORT}"

    def go_down(self) -> None:
        self._is_down = True
        self._cut_all()

    def come_back(self) -> None:
        self._is_down = False

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._on_client, self._folder / SOCKET_NAME)

    async def stop(self) -> None:
        self._cut_all()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_down:
            writer.transport.abort()
            return
        real = self._database.scratch.cluster.socket_folder / SOCKET_NAME
        server_reader, server_writer = await asyncio.open_unix_connection(real)
        wire = _Wire(self, (writer, server_writer))
        self._wires |= {writer, server_writer}
        for pump in (wire.to_server(reader), wire.to_client(server_reader)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    def _cut_all(self) -> None:
        for writer in self._wires:
            writer.transport.abort()
        self._wires.clear()


class _Wire:
    """One connection, both ways."""

    def __init__(self, proxy: DatabaseProxy, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._proxy = proxy
        self._client, self._server = ends
        self._is_awaiting_tag = False

    async def to_server(self, reader: asyncio.StreamReader) -> None:
        tail = b""
        while chunk := await _read(reader):
            if COMMIT in tail + chunk and self._proxy.cut_at_commit is not None:
                if self._proxy.cut_at_commit == "before":
                    self._cut()
                    return
                self._is_awaiting_tag = True
            tail = chunk[-len(COMMIT) :]
            self._server.write(chunk)
        self._server.transport.abort()

    async def to_client(self, reader: asyncio.StreamReader) -> None:
        held = b""
        while chunk := await _read(reader):
            if self._is_awaiting_tag:
                held += chunk
                if COMMIT in held:
                    self._cut()
                    return
            else:
                self._client.write(chunk)
        self._client.transport.abort()

    def _cut(self) -> None:
        self._proxy.cut_at_commit = None
        self._proxy.cuts += 1
        self._client.transport.abort()
        self._server.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except ConnectionError:
        return b""


class ProxyInThread:
    """The same for tests without a loop."""

    def __init__(self, proxy: DatabaseProxy, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop

    def url(self) -> str:
        return self._proxy.url()

    def go_down(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.go_down)

    def come_back(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.come_back)


@contextmanager
def database_proxy_in_thread(database: CellDatabase) -> Iterator[ProxyInThread]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="database proxy")
    thread.start()
    context = database_proxy(database)
    try:
        proxy = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
        try:
            yield ProxyInThread(proxy, loop)
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def database_proxy(database: CellDatabase) -> AsyncIterator[DatabaseProxy]:
    folder = Path(tempfile.mkdtemp(prefix="proxy-", dir="/tmp"))  # a socket's path is at most 107 bytes long
    proxy = DatabaseProxy(database, folder)
    server = await proxy.serve()
    try:
        yield proxy
    finally:
        await proxy.stop()
        server.close()
        await server.wait_closed()
        shutil.rmtree(folder)
