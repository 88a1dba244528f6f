"""The one row lock that serialises publications, the first assignment and operators' changes."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.store.tables import fleet


async def lock_fleet(connection: AsyncConnection) -> None:
    """Held until the transaction ends."""
    (await connection.execute(select(fleet.c.id).where(fleet.c.id == 1).with_for_update())).scalar_one()
