"""The HTTP server of the process: limits, and an end that lets long polls go first."""

import socket

import uvicorn
from fastapi import FastAPI

SHUTDOWN_GRACE_S = 10
"""Accepted requests get so long to finish; long polls are let go at once."""
CONNECTIONS_MAX = 5_000
KEEP_ALIVE_S = 75
"""Above the usual 60 s of proxies, so that they and not we close idle connections."""


class Server(uvicorn.Server):
    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            )
        )
        self._watch = app.state.parts.watch

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Long polls end first: otherwise every stop would wait for them."""
        self._watch.stop()
        await super().shutdown(sockets)
