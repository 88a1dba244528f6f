"""The composition root: builds one router from its settings, and runs it until it is told to stop."""

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import Iterator
from typing import Any, cast

import httpx
import orjson
import structlog
import uvicorn

from contract.signing import public_keys_of
from contract.values import value
from lean_http.collector import calm_the_collector
from router.access_log import AccessLog
from router.admin import Admin
from router.cell_connections import CellConnections
from router.delivery import Delivery
from router.directory_files import DirectoryFiles
from router.directory_source import DirectorySource
from router.haproxy.agent import HaproxyAgent
from router.haproxy.behind import BehindHaproxy
from router.line_writer import LineWriter
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.proxy import Proxy
from router.routing.directory import Directory
from router.routing.haproxy_configuration import DataPlane
from router.routing.health import FleetHealth
from router.settings import Settings
from router.strict_server import StrictProtocol
from router.tracing import Tracing, start_tracing
from router.webhooks import ControlPlane

KEEP_ALIVE_S = 75
"""Above the 60 s of usual load balancers, so that they close idle connections and we never close under them."""

BACKLOG = 2_048
ACCESS_LOG_FLUSH_S = 0.25
SOURCE_PAUSE_S = 5.0

_log = structlog.get_logger("router")


@value
class Router:
    """Everything that one router consists of."""

    proxy: Proxy
    admin: Admin
    live_map: LiveMap
    health: FleetHealth
    metrics: RouterMetrics
    source: DirectorySource
    haproxy: HaproxyAgent | None
    client: httpx.AsyncClient | None
    control_plane: ControlPlane
    connections: CellConnections
    access_log: AccessLog
    tracing: Tracing | None


def build_router(settings: Settings, writer: LineWriter) -> Router:
    live_map = LiveMap()
    health = FleetHealth(in_flight_max=settings.in_flight_max)
    connections = CellConnections(clock=time.monotonic)
    metrics = RouterMetrics(live_map=live_map, health=health, writer=writer, wall_clock=time.time)
    access_log = AccessLog(writer, router_id=settings.id, is_quiet=settings.log_level in {"warning", "error"})
    tracing = start_tracing(endpoint=settings.otlp_endpoint, router_id=settings.id, zone=settings.zone)
    client = _control_plane_client(settings)
    control_plane = ControlPlane(settings.control_plane_url)
    haproxy = _haproxy(settings, live_map, metrics)
    live_map.on_replaced(lambda directory: _forget_what_is_gone(directory, health, connections))
    return Router(
        proxy=Proxy(
            delivery=Delivery(
                live_map=live_map, health=health, connections=connections, metrics=metrics, clock=time.monotonic
            ),
            control_plane=control_plane,
            live_map=live_map,
            health=health,
            metrics=metrics,
            access_log=access_log,
            tracing=tracing,
            clock=time.monotonic,
        ),
        admin=Admin(metrics),
        live_map=live_map,
        health=health,
        metrics=metrics,
        source=_source(settings, live_map, metrics, client, haproxy),
        haproxy=haproxy,
        client=client,
        control_plane=control_plane,
        connections=connections,
        access_log=access_log,
        tracing=tracing,
    )


def _control_plane_client(settings: Settings) -> httpx.AsyncClient | None:
    if not settings.control_plane_url:
        return None
    token = settings.control_plane_token.get_secret_value()
    return httpx.AsyncClient(
        base_url=settings.control_plane_url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )


def _haproxy(settings: Settings, live_map: LiveMap, metrics: RouterMetrics) -> HaproxyAgent | None:
    if settings.haproxy_port is None:
        return None
    data_plane = DataPlane(
        router_id=settings.id,
        host=settings.host,
        port=settings.haproxy_port,
        agent_port=settings.port,
        in_flight_max=settings.in_flight_max,
        is_quiet=settings.log_level in {"warning", "error"},
    )
    folder = settings.state_dir / "haproxy"
    return HaproxyAgent(live_map=live_map, folder=folder, data_plane=data_plane, metrics=metrics)


def _source(
    settings: Settings,
    live_map: LiveMap,
    metrics: RouterMetrics,
    client: httpx.AsyncClient | None,
    haproxy: HaproxyAgent | None,
) -> DirectorySource:
    keys = public_keys_of(orjson.loads(settings.control_plane_jwks_file.read_bytes()))
    return DirectorySource(
        live_map=live_map,
        files=DirectoryFiles(settings.state_dir, keys),
        keys=keys,
        client=client,
        metrics=metrics,
        router_id=settings.id,
        own_zone=settings.zone,
        wait_s=settings.directory_wait_s,
        wall_clock=time.time,
        version_in_service=None if haproxy is None else haproxy.version_in_service,
    )


def _forget_what_is_gone(directory: Directory, health: FleetHealth, connections: CellConnections) -> None:
    urls = {str(cell.id): frozenset(instance.url for instance in cell.instances) for cell in directory.cells}
    health.forget_all_but(urls)
    connections.forget_all_but(url for of_cell in urls.values() for url in of_cell)


def listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


async def serve(
    router: Router, *, public: socket.socket, admin: socket.socket, grace_s: float, until: asyncio.Event
) -> None:
    """Serve both ports from the map on disk or the first one fetched; on `until`, finish what was accepted and stop."""
    await router.source.load()
    if router.haproxy is not None:
        await router.haproxy.prepare()
    protocol = functools.partial(StrictProtocol, on_refused=router.metrics.refused_raw)
    entrance = router.proxy if router.haproxy is None else BehindHaproxy(router.proxy)
    public_server = _server(entrance, grace_s=grace_s, http=protocol)
    admin_server = _server(router.admin, grace_s=1.0, http="httptools")
    calm_the_collector()
    helpers = [
        asyncio.create_task(_for_ever(router.source), name="directory"),
        asyncio.create_task(_flush(router.access_log), name="access log"),
        asyncio.create_task(admin_server.serve([admin]), name="admin port"),
    ]
    if router.haproxy is not None:
        helpers.insert(0, asyncio.create_task(_for_ever(router.haproxy), name="haproxy"))
    public_task = asyncio.create_task(public_server.serve([public]), name="public port")
    stopping = asyncio.create_task(until.wait())
    await asyncio.wait({stopping, public_task}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    router.proxy.is_draining = True
    public_server.should_exit = admin_server.should_exit = True
    await public_task
    await helpers.pop()
    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
    await _close(router)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, which runs two servers."""
        yield


def _server(app: Any, *, grace_s: float, http: Any) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            loop="none",
            http=cast("Any", http),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
    )


async def _for_ever(follower: DirectorySource | HaproxyAgent) -> None:
    """A bug in following the map must not end the serving of the map that stands."""
    while True:
        try:
            await follower.run()
        except Exception:  # noqa: BLE001 - the boundary between a helper and what vendors depend on
            _log.exception("follower_broke", follower=type(follower).__name__)
        await asyncio.sleep(SOURCE_PAUSE_S)


async def _flush(access_log: AccessLog) -> None:
    while True:
        await asyncio.sleep(ACCESS_LOG_FLUSH_S)
        access_log.flush()


async def _close(router: Router) -> None:
    router.connections.close()
    await router.control_plane.close()
    if router.client is not None:
        await router.client.aclose()
    if router.tracing is not None:
        await asyncio.to_thread(router.tracing.stop)
    router.access_log.flush()
