"""A whole router in this process, on real sockets, and what tests need of it."""

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from running_haproxy import RunningHaproxy
from signed_directory import TOKEN, Signer
from stand_in_cell import StandInCell

from cellwallet.local.ports import is_free
from contract.directory import DirectoryDocument
from router.app import Router, build_router, listen, serve
from router.line_writer import LineWriter
from router.settings import Settings

DEADLINE_S = 10.0
POLL_S = 0.005

NewCell = Callable[..., Awaitable[StandInCell]]
NewRouter = Callable[..., Awaitable["RouterUnderTest"]]

JSON = {"content-type": "application/json", "authorization": "Bearer token"}


class RouterUnderTest:
    def __init__(
        self, router: Router, client: httpx.AsyncClient, *, port: int, admin_port: int, log: io.BytesIO
    ) -> None:
        self.router = router
        self.client = client
        self.port = port
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self._log = log
        self.haproxy: RunningHaproxy | None = None

    @property
    def version(self) -> int | None:
        directory = self.router.live_map.current
        return None if directory is None else directory.version

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        return await self.client.post(path, content=content, headers={**JSON, **_named(headers)})

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={"authorization": "Bearer token", **_named(headers)})

    async def figures(self) -> dict[str, float]:
        """The samples of /metrics by their whole name."""
        text = (await self.client.get(f"{self.admin_url}/metrics")).text
        samples = (line.rpartition(" ") for line in text.splitlines() if line.startswith("router_"))
        return {name: float(figure) for name, _, figure in samples}

    def lines(self) -> list[dict[str, Any]]:
        """The access log up to now."""
        self.router.access_log.flush()
        return [json.loads(line) for line in self._log.getvalue().splitlines()]


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): text for name, text in headers.items()}


@asynccontextmanager
async def running_router(
    folder: Path,
    signer: Signer,
    *,
    document: DirectoryDocument | None = None,
    data_plane: str = "python",
    **changes: Any,
) -> AsyncIterator[RouterUnderTest]:
    """A router that starts from `document` on its disk, or from nothing; its client asks the data plane."""
    public, admin = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    port, admin_port = public.getsockname()[1], admin.getsockname()[1]
    if data_plane == "haproxy":
        changes = {"haproxy_port": unused_port(), **changes}
    settings = router_settings(folder, signer, port=port, **changes)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    if document is not None:
        (settings.state_dir / "directory.json").write_bytes(signer.signed(document))
    log = io.BytesIO()
    writer = LineWriter(log)
    writer.start()
    try:
        router = build_router(settings, writer)
    except BaseException:
        public.close()
        admin.close()
        raise
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(router, public=public, admin=admin, grace_s=1.0, until=stop))
    haproxy = None
    if settings.haproxy_port is not None:
        haproxy = RunningHaproxy(settings.state_dir / "haproxy", settings.haproxy_port)
        await haproxy.start()
    url = f"http://127.0.0.1:{settings.haproxy_port or port}"
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=35.0, limits=limits) as client:
        under_test = RouterUnderTest(router, client, port=port, admin_port=admin_port, log=log)
        under_test.haproxy = haproxy
        try:
            yield under_test
        finally:
            if haproxy is not None:
                await haproxy.stop()
    stop.set()
    await serving
    writer.close()


def router_settings(folder: Path, signer: Signer, **changes: Any) -> Settings:
    jwks_file = folder / "jwks.json"
    jwks_file.write_bytes(signer.jwks)
    members = {
        "id": "router-1",
        "zone": "zone-1",
        "port": 0,
        "admin_port": 0,
        "control_plane_jwks_file": jwks_file,
        "state_dir": folder / "router",
        "directory_wait_s": 1,
        **changes,
    }
    if members.get("control_plane_url"):
        members["control_plane_token"] = TOKEN
    return Settings(**members)


def unused_port() -> int:
    """Below those that the kernel gives to outgoing connections, one of which could take it meanwhile."""
    return next(port for port in iter(lambda: random.randint(12_000, 19_999), 0) if is_free(port))


async def wait_until(holds: Callable[[], object], *, why: str = "") -> None:
    """Poll until it holds; what does not come within the deadline fails the test."""
    give_up_at = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < give_up_at, f"did not come true: {why or holds}"
        await asyncio.sleep(POLL_S)
