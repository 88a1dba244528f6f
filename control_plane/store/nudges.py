"""Nudges between control plane processes: PostgreSQL's NOTIFY, carrying no data.

Who is nudged looks for itself; a nudge that is lost costs no more than the wait for the next look.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime

import psycopg
from sqlalchemy import func, select
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.values import value
from control_plane.store.database import CONNECT_TIMEOUT_S, FAILURES, TRANSACTION_TIMEOUT_S, raise_translated

CHANNEL = "control_plane"
LOOK_S = 1.0
"""How often to look without a nudge; also how soon a lost database is noticed."""

_LOOK = """
SELECT now(), (SELECT max(version) FROM directories),
       (SELECT coalesce(json_object_agg(cell, version), '{}') FROM configurations)
"""


@value
class Look:
    """What is published, and whether this look was nudged."""

    at: datetime
    directory: int | None
    configurations: Mapping[str, int]
    was_nudged: bool


async def nudge(connection: AsyncConnection) -> None:
    """Delivered when the transaction commits."""
    await connection.execute(select(func.pg_notify(CHANNEL, "")))


async def looks(url: URL) -> AsyncGenerator[Look, None]:
    """A look now, at every nudge, and at least every second, over one connection of its own.

    Raises:
        DatabaseMustBeReadyError: the connection could not be made, or was lost.

    """
    try:
        async with await _listen(url) as connection:
            was_nudged = True
            while True:
                yield await _look(connection, was_nudged=was_nudged)
                was_nudged = await _wait_until_nudged(connection)
    except FAILURES as error:
        raise_translated(error)
        raise


async def _listen(url: URL) -> psycopg.AsyncConnection:
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, options="-c timezone=UTC"
    )
    try:
        await connection.execute(f"LISTEN {CHANNEL}")
    except BaseException:
        await connection.close()
        raise
    return connection


async def _look(connection: psycopg.AsyncConnection, *, was_nudged: bool) -> Look:
    async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
        cursor = await connection.execute(_LOOK)
        row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM gave no row")
    at, directory, configurations = row
    return Look(at=at, directory=directory, configurations=configurations, was_nudged=was_nudged)


async def _wait_until_nudged(connection: psycopg.AsyncConnection) -> bool:
    async with aclosing(connection.notifies(timeout=LOOK_S, stop_after=1)) as notifications:
        async for _ in notifications:
            return True
    return False
