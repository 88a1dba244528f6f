"""Leases: who alone carries something out, until when, and under which fencing number.

A lease is taken by compare-and-set and renewed by its holder. Its number grows with every new holder and goes with
whatever the holder changes, so that one who has silently lost it changes nothing any more: not here, for each write
asks `still_holds` in its own transaction, and not in what carries processes, which refuses a lower number. What carries
them outlives this database: numbers follow the clock, so that one that was restored or made anew goes on above them.
"""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, cast, extract, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.values import value
from control_plane.store.release_tables import evacuations, leases, rollouts


@value
class Lease:
    name: str
    holder: str
    fence: int


async def hold(connection: AsyncConnection, name: str, *, holder: str, lasts: timedelta) -> Lease | None:
    """Taken, or renewed where it is ours already; None while it is somebody else's."""
    new = insert(leases).values(name=name, holder=holder, fence=_by_the_clock(), until=func.now() + lasts)
    taken = new.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={
            "holder": holder,
            "fence": func.greatest(leases.c.fence + 1, _by_the_clock()),
            "until": func.now() + lasts,
        },
        where=leases.c.until < func.now(),
    ).returning(leases.c.fence)
    renewed = (
        update(leases)
        .where(leases.c.name == name, leases.c.holder == holder, leases.c.until >= func.now())
        .values(until=func.now() + lasts)
        .returning(leases.c.fence)
    )
    for attempt in (renewed, taken):
        row = (await connection.execute(attempt)).first()
        if row is not None:
            return Lease(name=name, holder=holder, fence=row.fence)
    return None


async def still_holds(connection: AsyncConnection, lease: Lease) -> bool:
    """Until the end of the transaction nobody else takes it."""
    query = select(leases.c.fence).where(
        leases.c.name == lease.name,
        leases.c.holder == lease.holder,
        leases.c.fence == lease.fence,
        leases.c.until >= func.now(),
    )
    return (await connection.execute(query.with_for_update(read=True))).first() is not None


async def let_go(connection: AsyncConnection, lease: Lease) -> None:
    """At an orderly end, so that the next holder need not wait."""
    await connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.fence == lease.fence)
        .values(until=func.now() - timedelta(microseconds=1))
    )


async def is_anything_open(connection: AsyncConnection) -> bool:
    """Whether a rollout or an evacuation is: a glance that costs next to nothing."""
    open_rollouts = select(rollouts.c.id).where(rollouts.c.ended_at.is_(None)).exists()
    open_evacuations = select(evacuations.c.id).where(evacuations.c.ended_at.is_(None)).exists()
    is_open: bool = (await connection.execute(select(open_rollouts | open_evacuations))).scalar_one()
    return is_open


async def instant(connection: AsyncConnection) -> datetime:
    """Now, by the clock that all processes share."""
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now


def _by_the_clock() -> ColumnElement[int]:
    """Milliseconds, as versions of the directory count them."""
    return cast(extract("epoch", func.clock_timestamp()) * 1_000, BigInteger)
