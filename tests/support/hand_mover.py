"""Moves units as a mover leaves them, without one: the cells' answers, the move log and the assignment, all at once.

For tests of who orders moves; how units really move is the affair of other tests.
"""

from collections.abc import Mapping

from admin_cell import AdminCell
from sqlalchemy import func, update

from control_plane.fleet.publish import shows_units
from control_plane.moves.model import MoveRecord
from control_plane.store.database import Database
from control_plane.store.documents import last_directory
from control_plane.store.locks import lock_fleet
from control_plane.store.moves import open_moves
from control_plane.store.nudges import nudge
from control_plane.store.tables import move_units, moves, units
from control_plane.store.units import owned_runs


async def moves_under_way(database: Database) -> tuple[MoveRecord, ...]:
    async with database.transaction() as connection:
        return await open_moves(connection)


async def carry_out(database: Database, cells: Mapping[str, AdminCell]) -> int:
    """The oldest open move to its end, once the directory shows the one before; how many units."""
    async with database.transaction() as connection:
        await lock_fleet(connection)
        published = await last_directory(connection)
        if published is None or not shows_units(published, await owned_runs(connection), {}):
            return 0
        found = (await open_moves(connection))[:1]
        for move in found:
            numbers = [unit.unit for unit in move.units]
            of_move = (move_units.c.move_id == move.id,)
            await connection.execute(
                update(units).where(units.c.unit.in_(numbers)).values(cell=move.to_cell, epoch=units.c.epoch + 1)
            )
            await connection.execute(
                update(move_units).where(*of_move).values(result="moved", granted_at=func.clock_timestamp())
            )
            await connection.execute(
                update(moves).where(moves.c.id == move.id).values(state="done", ended_at=func.clock_timestamp())
            )
            for unit in move.units:
                cells[move.from_cell].given[unit.unit] = ("moved", unit.to_epoch)
                cells[move.to_cell].given[unit.unit] = ("active", unit.to_epoch)
        await nudge(connection)
    return sum(len(move.units) for move in found)


async def fail(database: Database, move: MoveRecord, *, state: str, reason: str) -> None:
    """The move ends and its units stay where they are."""
    async with database.transaction() as connection:
        await connection.execute(update(move_units).where(move_units.c.move_id == move.id).values(result="left"))
        await connection.execute(
            update(moves)
            .where(moves.c.id == move.id)
            .values(state=state, stop=state, reason=reason, ended_at=func.clock_timestamp())
        )
        await nudge(connection)
