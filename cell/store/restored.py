"""What the cell's database says of its own past, and whether the cell is in quarantine: questions and one-line steps.

Quarantine is a row of the database. `must_be_open` is what every connection asks before it serves; triggers of the
same migration refuse those that were made before. Decides nothing: that is cell/ledger/restored.py.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from cell.ledger.model import Instant
from cell.ledger.restored import Cause, Era, Found, Suspicion
from contract.values import value

Admit = Callable[[AsyncConnection[Any]], Awaitable[None]]
"""Asked of each new connection; raises `InQuarantineError` where it may not be used."""

InQuarantineError = psycopg.errors.CannotConnectNow
"""What the database raises (57P03): nothing was written, and nobody is to blame but the operator who has not opened."""

_FOUND: Final = """
SELECT e.system_identifier, e.timeline,
       (SELECT json_agg(json_build_array(r.system_identifier, r.timeline)) FROM database_eras r),
       (SELECT ticks FROM database_ticks), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       (SELECT (extract(epoch FROM max(opened_at)) * 1000000)::bigint FROM quarantines),
       (SELECT cause FROM quarantines WHERE opened_at IS NULL)
FROM present_era() e
"""

_LATEST: Final = """
SELECT cause, detail, began_at, adjudicated_at, adjudication, opened_at, opened_by FROM quarantines
ORDER BY opened_at IS NULL DESC, id DESC LIMIT 1
"""

_OTHERS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
"""


@value
class Episode:
    """A quarantine; the present one, or the last one there was."""

    cause: Cause
    detail: str
    began_at: datetime
    adjudicated_at: datetime | None
    adjudication: dict[str, Any] | None
    opened_at: datetime | None
    opened_by: str | None

    @property
    def is_open(self) -> bool:
        """Of the cell: it serves again."""
        return self.opened_at is not None


async def must_be_open(connection: AsyncConnection[Any]) -> None:
    """Raises InQuarantineError: the cell is in quarantine, or nobody has recorded the timeline that it is on."""
    await _ask(connection, "SELECT cell_must_be_open()")


async def anybody(connection: AsyncConnection[Any]) -> None:
    """For what must work in quarantine too: looking, adjudicating, auditing. Raises only where nobody answers."""
    await _ask(connection, "SELECT true")


async def admitted(connection: AsyncConnection[Any], admit: Admit) -> AsyncConnection[Any]:
    """The same connection, if it may be used; closed otherwise."""
    try:
        await admit(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def found_now(connection: AsyncConnection[Any]) -> Found:
    ((system, timeline, recorded, ticks, now_us, opened_at_us, closed_by),) = await _ask(connection, _FOUND)
    return Found(
        era=Era(system_identifier=system, timeline=timeline),
        recorded=frozenset(Era(system_identifier=one, timeline=number) for one, number in recorded or ()),
        ticks=ticks,
        now_us=Instant(now_us),
        opened_at_us=None if opened_at_us is None else Instant(opened_at_us),
        closed_by=closed_by,
    )


async def tick(connection: AsyncConnection[Any]) -> int:
    """The database's count, one higher; it may be remembered once the commit is acknowledged."""
    ((ticks,),) = await _ask(connection, "SELECT tick_database()")
    count: int = ticks
    return count


async def begin(connection: AsyncConnection[Any], suspicion: Suspicion) -> bool:
    """From now on, whoever is connected already: their connections are ended. False = it was begun before, for a reason
    that is no less.
    """
    ((is_new,),) = await _ask(connection, "SELECT begin_quarantine(%s, %s)", suspicion.cause, suspicion.detail)
    await _ask(connection, _OTHERS)
    return bool(is_new)


async def latest(connection: AsyncConnection[Any]) -> Episode | None:
    found = await _ask(connection, _LATEST)
    if not found:
        return None
    cause, detail, began_at, adjudicated_at, adjudication, opened_at, opened_by = found[0]
    return Episode(
        cause=cause,
        detail=detail,
        began_at=began_at,
        adjudicated_at=adjudicated_at,
        adjudication=adjudication,
        opened_at=opened_at,
        opened_by=opened_by,
    )


async def end(connection: AsyncConnection[Any], *, opener: str) -> bool:
    """False = there is no quarantine, or it has not been adjudicated."""
    ((is_ended,),) = await _ask(connection, "SELECT end_quarantine(%s)", opener)
    return bool(is_ended)


async def vouch_for_promotion(connection: AsyncConnection[Any]) -> bool:
    """False = the cell is closed for another reason than its timeline, or units were found elsewhere; it stays so."""
    ((is_vouched,),) = await _ask(connection, "SELECT vouch_for_promotion()")
    return bool(is_vouched)


async def _ask(connection: AsyncConnection[Any], statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    """In whatever form the connection gives rows elsewhere; what it asked is committed before it is used."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement.encode(), arguments or None)
        found = await cursor.fetchall()
    if not connection.autocommit:
        await connection.commit()
    return found
