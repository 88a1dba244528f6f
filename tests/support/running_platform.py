"""A control plane under test in this process, on a real socket, and the hands to use it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import httpx
from fastapi import FastAPI
from platform_keys import PlatformKeys, bearer

from control_plane.app import build
from control_plane.fleet.model import Policy
from control_plane.serving import Server
from control_plane.settings import Settings

DEADLINE_S = 20.0
POLL_S = 0.02


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The test runner keeps its signals."""
        yield


class RunningPlatform:
    def __init__(self, app: FastAPI, keys: PlatformKeys, client: Any) -> None:
        self.app = app
        self.keys = keys
        self.client = client

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={**bearer(self.keys.operator()), **headers})

    async def put(self, path: str, body: Any) -> httpx.Response:
        return await self.client.put(path, json=body, headers=bearer(self.keys.operator()))

    async def register(self, cell: str, admin_url: str, *, url: str | None = None, **changes: Any) -> httpx.Response:
        body = registration(cell, admin_url, url=url, **changes)
        return await self.client.post("/v1/cells", json=body, headers=bearer(self.keys.join(cell)))

    async def directory(self, *, newer_than: int = 0) -> dict[str, Any] | None:
        """None while there is none, or none newer."""
        answer = await self.get("/v1/directory", **{"If-None-Match": f'"{newer_than}"'})
        document: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return document or None

    async def configuration(self, cell: str, *, newer_than: int = 0) -> dict[str, Any] | None:
        path, known = f"/v1/cells/{cell}/configuration", {"If-None-Match": f'"{newer_than}"'}
        answer = await self.client.get(path, headers={**bearer(self.keys.join(cell)), **known})
        document: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return document or None

    async def states(self) -> dict[str, str]:
        return {cell["id"]: cell["state"] for cell in (await self.get("/v1/cells")).json()["cells"]}

    async def waiting(self) -> set[tuple[str, str]]:
        answer = (await self.get("/v1/plan")).json()
        return {(one["reason"], one["subject"]) for one in answer["waiting"]}


def registration(cell: str, admin_url: str, *, url: str | None = None, **changes: Any) -> dict[str, Any]:
    body = {
        "id": cell,
        "home_zone": "zone-a",
        "instance": {"url": url or f"http://127.0.0.1:1/{cell}", "zone": "zone-a"},
        "admin_url": admin_url,
        "schema_revision": "0001",
        "software_version": "0.1.0",
    }
    return {**body, **changes}


def settings_of(database_url: str, keys: PlatformKeys, **changes: Any) -> Settings:
    return Settings(
        database_url=database_url,
        signing_key_file=keys.signing_key_file,
        issuer_jwks_file=keys.issuer_jwks_file,
        port=0,
        **changes,
    )


@asynccontextmanager
async def running_platform(
    database_url: str, keys: PlatformKeys, *, policy: Policy | None = None, **settings: Any
) -> AsyncIterator[RunningPlatform]:
    app = build(settings_of(database_url, keys, **settings), policy=policy)
    server = _Server(app, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: _is(server.started or serving.done()))
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield RunningPlatform(app, keys, client)
    finally:
        server.should_exit = True
        await serving


@contextmanager
def standing_platform(database_url: str, keys: PlatformKeys) -> Iterator[RunningPlatform]:
    """Runs in a thread, so that it outlives the event loop of one test; each request opens a client of its own."""
    app = build(settings_of(database_url, keys))
    server = _Server(app, host="127.0.0.1", port=0)
    serving = threading.Thread(target=server.run, name="standing-platform")
    serving.start()
    try:
        asyncio.run(until(lambda: _is(server.started)))
        port = server.servers[0].sockets[0].getsockname()[1]
        yield RunningPlatform(app, keys, _FleetingClient(f"http://127.0.0.1:{port}"))
    finally:
        server.should_exit = True
        serving.join()


class _FleetingClient:
    """As much of `httpx.AsyncClient` as tests use, over a connection that ends with the request."""

    def __init__(self, base_url: str) -> None:
        self.base_url = httpx.URL(base_url)

    async def request(self, method: str, path: str, **named: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.base_url, timeout=30) as client:
            return await client.request(method, path, **named)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[httpx.Response]]:
        return partial(self.request, name.upper())


async def until(holds: Callable[[], Awaitable[Any]], *, deadline_s: float = DEADLINE_S) -> Any:
    """Polls until it holds; what it gave then. The deadline bounds a failure, not a success."""
    try:
        async with asyncio.timeout(deadline_s):
            while not (answer := await holds()):  # noqa: ASYNC110 - it happens in other processes
                await asyncio.sleep(POLL_S)
            return answer
    except TimeoutError:
        raise AssertionError(f"did not hold within {deadline_s:.0f} s: {holds}") from None


async def _is(fact: object) -> object:
    return fact
