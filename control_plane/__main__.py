"""`python -m control_plane serve | mover | migrate`: reads the environment once and starts what was asked for."""

import signal
import sys
from collections.abc import Callable

import structlog
from fastapi import FastAPI
from pydantic import ValidationError

from control_plane.app import build
from control_plane.keys import KeyMustBeUsableError
from control_plane.logs import configure_logs
from control_plane.mover.process import build_mover
from control_plane.serving import Server
from control_plane.settings import PREFIX, Settings
from control_plane.store.migrate import migrate, role_of

log = structlog.get_logger()


def main(arguments: list[str]) -> int:
    verbs = {"serve": _serve, "mover": _move, "migrate": _migrate}
    if len(arguments) != 1 or arguments[0] not in verbs:
        print(f"usage: python -m control_plane {' | '.join(verbs)}", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    try:
        settings = Settings()
    except ValidationError as error:
        for one in error.errors():
            name = PREFIX + "_".join(str(part) for part in one["loc"]).upper()
            print(f"{name}: {one['msg']}", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    configure_logs(settings.log_level)
    return verbs[arguments[0]](settings)


def _migrate(settings: Settings) -> int:
    app_role = role_of(settings.database_url.get_secret_value())
    revision = migrate(settings.migration_url, app_role=app_role)
    log.info("migrated", revision=revision)
    return 0


def _move(settings: Settings) -> int:
    return _run(build_mover, settings, port=settings.mover_port)


def _serve(settings: Settings) -> int:
    return _run(build, settings, port=settings.port)


def _run(build_app: Callable[[Settings], FastAPI], settings: Settings, *, port: int) -> int:
    try:
        app = build_app(settings)
    except KeyMustBeUsableError as error:
        log.critical("key_must_be_usable", error=str(error))
        return 1
    server = Server(app, host=settings.host, port=port)
    log.info("starting", host=settings.host, port=port)
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: None)  # uvicorn stops on them, then raises them again: the end stays a clean one
    server.run()
    log.info("stopped")
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
