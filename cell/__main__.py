"""`python -m cell serve | migrate | await-schema | record-promotion`: settings, signals and the loop are here alone."""

import asyncio
import os
import signal
import sys
import time

import structlog
from pydantic import ValidationError

from cell.settings import Settings
from cell.telemetry import set_up_logging

SCHEMA_PERIOD_S = 1.0
"""Between looks at the schema of a database that is being migrated."""

SCHEMA_PATIENCE_S = 600.0
"""A migration that takes longer, or never comes, is an operator's affair: whoever waits is to be seen failing."""

log = structlog.get_logger()


def main(arguments: list[str]) -> int:
    verbs = {"serve": _serve, "migrate": _migrate, "await-schema": _await_schema, "record-promotion": _vouch}
    if len(arguments) != 1 or arguments[0] not in verbs:
        print(f"usage: python -m cell {' | '.join(verbs)}", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    try:
        settings = Settings()  # the environment fills it
    except ValidationError as error:
        for one in error.errors():
            name = "CELL_" + "_".join(str(part) for part in one["loc"]).upper()
            print(f"{name}: {one['msg']}", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    set_up_logging(level=settings.log_level, cell_id=settings.id)
    return verbs[arguments[0]](settings)


def _migrate(settings: Settings) -> int:
    from cell.store.migrate import migrate  # noqa: PLC0415 - serving never needs Alembic's weight

    url = settings.owner_database_url.get_secret_value()
    if not url:
        print("CELL_OWNER_DATABASE_URL: must be set to migrate", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    log.info("migrated", revision=migrate(url))
    return 0


def _await_schema(settings: Settings) -> int:
    """Ends well once the database has what this version needs: what a roll-out puts before `serve`."""
    from cell.store.applied_revision import has_schema  # noqa: PLC0415 - the other verbs have connections of their own

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the first process of a container has no default action
    url, give_up_at_s = settings.database_url.get_secret_value(), time.monotonic() + SCHEMA_PATIENCE_S
    while not has_schema(url, connect_timeout_s=settings.connect_timeout_s):
        if time.monotonic() > give_up_at_s:
            log.error("the database does not get the schema of this version")
            return 1
        time.sleep(SCHEMA_PERIOD_S)
    log.info("the schema is there")
    return 0


def _vouch(settings: Settings) -> int:
    """To be run where an API process serves, or did until the promotion: it needs that one's memory."""
    from cell.vouching import PromotionDoubtedError, vouch  # noqa: PLC0415 - the other verbs have nothing to vouch for

    url, timeout_s = settings.database_url.get_secret_value(), settings.connect_timeout_s
    try:
        vouched = asyncio.run(vouch(url, state_dir=settings.state_dir, connect_timeout_s=timeout_s))
    except PromotionDoubtedError as error:
        log.warning("the promotion is not recorded", why=str(error))
        return 1
    log.info("the promotion is recorded", timeline=vouched.timeline, is_new=vouched.is_new)
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
