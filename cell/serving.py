"""The two HTTP servers of a process, vendor and admin, in one event loop; signals belong to __main__.py."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

from cell.settings import Settings
from lean_http.protocol import LeanProtocol

KEEP_ALIVE_S = 75
"""Above the usual 60 s of proxies, so that they and not we close idle connections."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Two servers in one process cannot both own its signals."""
        yield


async def serve(settings: Settings, *, public: Any, admin: Any, stop: asyncio.Event) -> None:
    """Serve both until `stop`; accepted requests are finished within the grace."""
    servers = [
        _server(settings, public, port=settings.port),
        _server(settings, admin, port=settings.admin_port),
    ]
    serving = [asyncio.create_task(server.serve()) for server in servers]
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([waiting, *serving], return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    waiting.cancel()
    await asyncio.gather(*serving)


def _server(settings: Settings, app: Any, *, port: int) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=port,
            http=LeanProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.shutdown_grace_s),
        )
    )
