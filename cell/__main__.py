"""`python -m cell serve | migrate`: settings, signals and the event loop live here, and only here."""

import asyncio
import os
import signal
import sys

import structlog
from pydantic import ValidationError

from cell.settings import Settings
from cell.telemetry import set_up_logging

log = structlog.get_logger()


def main(arguments: list[str]) -> int:
    if arguments not in (["serve"], ["migrate"]):
        print("usage: python -m cell serve | migrate", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    try:
        settings = Settings()  # the environment fills it
    except ValidationError as error:
        for one in error.errors():
            name = "CELL_" + "_".join(str(part) for part in one["loc"]).upper()
            print(f"{name}: {one['msg']}", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    set_up_logging(level=settings.log_level, cell_id=settings.id)
    return _migrate(settings) if arguments == ["migrate"] else _serve(settings)


def _migrate(settings: Settings) -> int:
    from cell.store.migrate import migrate  # noqa: PLC0415 - serving never needs Alembic's weight

    url = settings.owner_database_url.get_secret_value()
    if not url:
        print("CELL_OWNER_DATABASE_URL: must be set to migrate", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    log.info("migrated", revision=migrate(url))
    return 0


def _serve(settings: Settings) -> int:
    import uvloop  # noqa: PLC0415 - migrating needs no event loop

    from cell.app import CellProcess  # noqa: PLC0415

    settings.state_dir.mkdir(parents=True, exist_ok=True)

    async def run() -> None:
        """Ends the process where it stands if the database keeps it: what is not acknowledged is safe to repeat."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if not await CellProcess(settings).run(stop):
            log.error("the database did not let the process end in time")
            sys.stdout.flush()
            os._exit(1)

    uvloop.run(run())
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
