"""A control plane as a cell sees it: two routes over real HTTP, with the faults that real ones have."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cell.configuration_source import control_plane_client
from cell.telemetry import Metrics
from contract.configuration import CellConfiguration
from contract.signing import PublicKeys, sign

JOIN_TOKEN = "join.token.of-cell-a"


class ControlPlane:
    """Publishes documents and takes registrations; `fault` is answered instead, where it is set."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.document: bytes | None = None
        self.version = 0
        self.fault: int | str | None = None
        self.asked: list[dict[str, str]] = []
        self.registered: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()
        app = web.Application()
        app.add_routes(
            [
                web.get("/v1/cells/{cell}/configuration", self._configuration),
                web.post("/v1/cells", self._register),
            ]
        )
        self.server = TestServer(app, host="127.0.0.1")

    @property
    def trusted_keys(self) -> PublicKeys:
        return {"cp-1": self.key.public_key()}

    @property
    def url(self) -> str:
        return str(self.server.make_url("/"))

    def signed(self, version: int = 1, *, key: Ed25519PrivateKey | None = None, **fields: Any) -> bytes:
        fields = {"cell": "cell-a", "issued_at": "2027-01-15T08:00:00.000000Z", "jwks": {"keys": []}, **fields}
        configuration = CellConfiguration(version=version, **fields)
        return json.dumps(sign(configuration.model_dump(mode="json"), key_id="cp-1", key=key or self.key)).encode()

    async def publish(self, document: bytes, *, version: int) -> None:
        async with self._changed:
            self.document, self.version = document, version
            self._changed.notify_all()

    async def _configuration(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({"path": request.path, **request.query, **request.headers})
        await self._misbehave(request)
        assert request.headers["Authorization"] == f"Bearer {JOIN_TOKEN}"
        known = request.headers.get("If-None-Match")
        if known == self._etag:
            try:
                async with asyncio.timeout(float(request.query.get("wait", "0"))), self._changed:
                    await self._changed.wait_for(lambda: known != self._etag)
            except TimeoutError:
                return web.Response(status=304)
        if self.document is None:
            return web.Response(status=404)
        return web.Response(body=self.document, headers={"ETag": self._etag})

    async def _register(self, request: web.Request) -> web.StreamResponse:
        self.registered.append({"authorization": request.headers["Authorization"], **await request.json()})
        await self._misbehave(request)
        return web.json_response({})

    async def _misbehave(self, request: web.Request) -> None:
        if isinstance(self.fault, int):
            raise _answer(self.fault)
        if self.fault == "cut":
            assert request.transport is not None
            request.transport.close()
        if self.fault == "hang":
            await asyncio.sleep(3_600)

    @property
    def _etag(self) -> str:
        return f'"{self.version}"'


def _answer(status: int) -> web.HTTPException:
    answer = web.HTTPInternalServerError(text="out of order")
    answer.set_status(status)
    return answer


@pytest.fixture
async def control_plane() -> AsyncIterator[ControlPlane]:
    control_plane = ControlPlane()
    await control_plane.server.start_server()
    try:
        yield control_plane
    finally:
        await control_plane.server.close()


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    client = control_plane_client(url=control_plane.url, join_token=JOIN_TOKEN)
    assert client is not None
    async with client:
        yield client


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(cell_id="cell-a", zone="zone-1", software_version="1")


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines
