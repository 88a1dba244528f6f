"""Which directory version each router has applied, and when it last said so."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.fleet.model import ROUTER_LEASE
from control_plane.store.tables import routers

KEPT = timedelta(days=1)
"""A router that is silent for so long is forgotten."""


async def acknowledge(connection: AsyncConnection, router: str, *, applied: int) -> None:
    new = insert(routers).values(id=router, applied=applied, seen_at=func.now())
    await connection.execute(
        new.on_conflict_do_update(
            index_elements=[routers.c.id],
            set_={"applied": new.excluded.applied, "seen_at": new.excluded.seen_at},
        )
    )
    await connection.execute(delete(routers).where(routers.c.seen_at < func.now() - KEPT))


async def live_routers(connection: AsyncConnection) -> dict[str, int]:
    """Routers whose lease has not run out, and the version that each has applied."""
    query = select(routers.c.id, routers.c.applied).where(routers.c.seen_at >= func.now() - ROUTER_LEASE)
    return {row.id: row.applied for row in (await connection.execute(query)).all()}
