"""`python -m router`: the process around one router. Settings, signals and the event loop live only here."""

import asyncio
import resource
import signal
import sys

import structlog
import uvicorn
from pydantic import ValidationError

from router.app import build_router, listen, serve
from router.line_writer import LineWriter
from router.logs import set_up_logging
from router.settings import Settings

LOOPBACK = "127.0.0.1"
"""Behind a HAProxy nobody else may reach the vendors' port of this process."""


def main() -> int:
    try:
        settings = Settings()  # the environment fills it
    except ValidationError as error:
        sys.stderr.write(f"router: the settings are not valid\n{error}\n")
        return 2
    _allow_many_connections()
    writer = LineWriter(sys.stdout.buffer)
    set_up_logging(writer, level=settings.log_level, router_id=settings.id)
    writer.start()
    try:
        loop_factory = uvicorn.Config(app="", loop="auto", log_config=None).get_loop_factory()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_run(settings, writer))
    finally:
        writer.close()
    return 0


async def _run(settings: Settings, writer: LineWriter) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    router = build_router(settings, writer)
    public = listen(settings.host if settings.haproxy_port is None else LOOPBACK, settings.port)
    admin = listen(settings.host, settings.admin_port)
    structlog.get_logger("router").info("listening", port=settings.port, admin_port=settings.admin_port)
    await serve(router, public=public, admin=admin, grace_s=settings.shutdown_grace_s, until=stop)


def _allow_many_connections() -> None:
    """Each request needs two descriptors; the usual soft limit of 1,024 is for interactive programs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
