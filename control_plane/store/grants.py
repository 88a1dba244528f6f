"""The copies of grants that movers kept: what a cell said of its units, for when it does not know any more."""

from pydantic import ValidationError
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.ids import CellId
from contract.moves import Grant
from control_plane.store.tables import move_units, moves


async def newest_grants(connection: AsyncConnection, cell: CellId) -> tuple[Grant, ...]:
    """Of each unit that ever left the cell or came to it, the grant with the highest epoch."""
    of_cell = (
        select(move_units.c.unit)
        .join_from(move_units, moves, moves.c.id == move_units.c.move_id)
        .where(or_(moves.c.from_cell == cell, moves.c.to_cell == cell), move_units.c.grant.is_not(None))
    )
    query = (
        select(move_units.c.unit, move_units.c.grant)
        .where(move_units.c.grant.is_not(None), move_units.c.unit.in_(of_cell))
        .ext(distinct_on(move_units.c.unit))
        .order_by(move_units.c.unit, move_units.c.from_epoch.desc())
    )
    found = []
    for row in (await connection.execute(query)).all():
        try:
            found.append(Grant.model_validate(row.grant))
        except ValidationError:
            continue  # of an older version: the other cells' own word remains
    return tuple(found)
