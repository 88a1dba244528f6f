"""What is shown of moves: heads, sums over their units, and units and steps page by page. Reads, never writes."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.values import value
from control_plane.moves.model import MovedUnit, MoveRecord, UnitResult
from control_plane.store.moves import MoveStep, moved_unit_of, record_of
from control_plane.store.tables import move_steps, move_units, moves


@value
class UnitCounts:
    """What became of the units of one move; those that are neither are waiting."""

    units: int
    in_hand: int
    moved: int
    left: int
    moved_with_wallets: int
    pause_ms_max: float | None


async def head_of(connection: AsyncConnection, move_id: str) -> MoveRecord | None:
    """Without its units, of which there may be thousands."""
    row = (await connection.execute(select(moves).where(moves.c.id == move_id))).first()
    return None if row is None else record_of(row, ())


async def latest_moves(
    connection: AsyncConnection, *, below: tuple[datetime, str] | None, limit: int, are_open: bool | None = None
) -> tuple[MoveRecord, ...]:
    """Newest first and without their units; `below` is the place of the last one of the page before."""
    query = select(moves).order_by(moves.c.ordered_at.desc(), moves.c.id.desc()).limit(limit)
    if below is not None:
        query = query.where(tuple_(moves.c.ordered_at, moves.c.id) < below)
    if are_open is not None:
        query = query.where(moves.c.ended_at.is_(None) if are_open else moves.c.ended_at.is_not(None))
    return tuple(record_of(row, ()) for row in (await connection.execute(query)).all())


async def counts_of(connection: AsyncConnection, move_ids: Sequence[str]) -> dict[str, UnitCounts]:
    is_moved = move_units.c.result == "moved"
    query = (
        select(
            move_units.c.move_id,
            func.count().label("units"),
            func.count().filter(move_units.c.result == "in_hand").label("in_hand"),
            func.count().filter(is_moved).label("moved"),
            func.count().filter(move_units.c.result == "left").label("left"),
            func.count().filter(is_moved, move_units.c.wallets > 0).label("moved_with_wallets"),
            func.max(move_units.c.pause_ms).label("pause_ms_max"),
        )
        .where(move_units.c.move_id.in_(move_ids))
        .group_by(move_units.c.move_id)
    )
    rows = (await connection.execute(query)).all()
    return {
        row.move_id: UnitCounts(
            units=row.units,
            in_hand=row.in_hand,
            moved=row.moved,
            left=row.left,
            moved_with_wallets=row.moved_with_wallets,
            pause_ms_max=row.pause_ms_max,
        )
        for row in rows
    }


async def units_of(
    connection: AsyncConnection, move_id: str, *, above: int, limit: int, result: UnitResult | None = None
) -> tuple[MovedUnit, ...]:
    """In ascending order, from the first one above `above`."""
    query = select(move_units).where(move_units.c.move_id == move_id, move_units.c.unit > above)
    if result is not None:
        query = query.where(move_units.c.result == result)
    rows = (await connection.execute(query.order_by(move_units.c.unit).limit(limit))).all()
    return tuple(moved_unit_of(row) for row in rows)


async def steps_of(
    connection: AsyncConnection, move_id: str, *, limit: int, below: int | None = None
) -> tuple[tuple[int, MoveStep], ...]:
    """Each with its number, the latest first; `below` is the number of the last one of the page before."""
    query = select(move_steps).where(move_steps.c.move_id == move_id).order_by(move_steps.c.id.desc()).limit(limit)
    if below is not None:
        query = query.where(move_steps.c.id < below)
    rows = (await connection.execute(query)).all()
    return tuple(
        (row.id, MoveStep(at=row.at, portion=row.portion, step=row.step, duration_ms=row.duration_ms, facts=row.facts))
        for row in rows
    )
