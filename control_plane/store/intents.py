"""What is ordered of cells and units, and what became of earlier moves; in one look, for the plan of moves."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.certificate import CapacityCertificate
from contract.directory import CellState
from contract.ids import CellId
from contract.values import value
from control_plane.fleet.ceiling import placement_ceiling
from control_plane.fleet.intents import Failure, Intents
from control_plane.fleet.rebalancing import REST
from control_plane.store.cells import change_state
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.moves import open_moves
from control_plane.store.nudges import nudge
from control_plane.store.tables import cells, certificates, move_units, moves, rebalances

REMEMBERED = timedelta(days=7)
"""A failed move is not held against its units for longer."""


@value
class OrderedRebalance:
    id: str
    is_new: bool
    """False when an order was open already: it is the same one."""


@value
class Standing:
    is_anything_ordered: bool
    now: datetime


async def standing(connection: AsyncConnection) -> Standing:
    """Whether a cell is to be filled or drained, relief is ordered, or a move is open."""
    is_ordered = (
        select(cells.c.id).where(cells.c.filling_since.is_not(None) | (cells.c.state == "draining")).exists()
        | select(rebalances.c.id).where(rebalances.c.ended_at.is_(None)).exists()
        | select(moves.c.id).where(moves.c.ended_at.is_(None)).exists()
    )
    row = (await connection.execute(select(is_ordered.label("is_ordered"), func.now().label("now")))).one()
    return Standing(is_anything_ordered=row.is_ordered, now=row.now)


async def intents_of(connection: AsyncConnection) -> Intents:
    """Within `Database.snapshot`, together with the fleet."""
    filling = await connection.execute(select(cells.c.id).where(cells.c.filling_since.is_not(None)))
    documents = await connection.execute(
        select(cells.c.id, certificates.c.document).join_from(cells, certificates, isouter=True)
    )
    ordered = await connection.execute(select(rebalances.c.ordered_at).where(rebalances.c.ended_at.is_(None)))
    moved = await connection.execute(
        select(move_units.c.unit, func.max(move_units.c.granted_at).label("at"))
        .where(move_units.c.granted_at > func.now() - REST)
        .group_by(move_units.c.unit)
    )
    return Intents(
        filling=frozenset(CellId(row.id) for row in filling),
        ceilings={
            CellId(row.id): placement_ceiling(
                None if row.document is None else CapacityCertificate.model_validate(row.document)
            )
            for row in documents
        },
        open_moves=await open_moves(connection),
        failures=await _failures(connection),
        moved_at={row.unit: row.at for row in moved},
        relief_ordered_at=ordered.scalar_one_or_none(),
    )


async def order_cell_state(
    connection: AsyncConnection,
    cell: CellId,
    *,
    seen: CellState,
    following: CellState,
    actor: str,
    request_id: str,
    facts: Mapping[str, Any] | None = None,
) -> bool:
    """Compare-and-set, in the audit trail (with `facts`); an activated cell is to be filled. False = outpaced."""
    if not await change_state(connection, cell, seen=seen, following=following):
        return False
    filling = func.now() if following == "active" else None
    await connection.execute(update(cells).where(cells.c.id == cell).values(filling_since=filling))
    await record_change(
        connection,
        actor=actor,
        subject=f"cell:{cell}",
        before={"state": seen},
        after={"state": following, **(facts or {})},
        request_id=request_id,
    )
    await nudge(connection)
    return True


async def end_filling(connection: AsyncConnection, cell: CellId) -> bool:
    """False when it had ended already."""
    ended = update(cells).where(cells.c.id == cell, cells.c.filling_since.is_not(None)).values(filling_since=None)
    return (await connection.execute(ended)).rowcount == 1


async def order_rebalance(connection: AsyncConnection, *, actor: str, request_id: str) -> OrderedRebalance:
    """One is open at a time: another order meanwhile is the same one."""
    await lock_fleet(connection)
    known = (await connection.execute(select(rebalances.c.id).where(rebalances.c.ended_at.is_(None)))).first()
    if known is not None:
        return OrderedRebalance(id=known.id, is_new=False)
    new = str(uuid.uuid4())
    await connection.execute(insert(rebalances).values(id=new, ordered_by=actor, ordered_at=func.now()))
    await record_change(
        connection,
        actor=actor,
        subject="rebalance",
        before=None,
        after={"rebalance_id": new},
        request_id=request_id,
    )
    await nudge(connection)
    return OrderedRebalance(id=new, is_new=True)


async def end_rebalance(connection: AsyncConnection) -> bool:
    ended = update(rebalances).where(rebalances.c.ended_at.is_(None)).values(ended_at=func.now())
    return (await connection.execute(ended)).rowcount == 1


async def _failures(connection: AsyncConnection) -> dict[int, Failure]:
    """Of each unit the moves that ended without it since the last one that brought it somewhere."""
    tried = (
        select(
            move_units.c.unit,
            move_units.c.granted_at,
            moves.c.state,
            func.coalesce(moves.c.reason, literal("")).label("reason"),
            moves.c.ended_at,
        )
        .join_from(move_units, moves, moves.c.id == move_units.c.move_id)
        .where(moves.c.ended_at > func.now() - REMEMBERED)
        .subquery()
    )
    last_success = select(tried.c.unit, func.max(tried.c.granted_at).label("at")).group_by(tried.c.unit).subquery()
    query = (
        select(
            tried.c.unit,
            func.count().label("failed"),
            func.max(tried.c.ended_at).label("last_at"),
            func.array_agg(tried.c.state).label("states"),
            func.array_agg(tried.c.reason).label("reasons"),
            func.array_agg(tried.c.ended_at).label("instants"),
        )
        .join_from(tried, last_success, last_success.c.unit == tried.c.unit)
        .where(tried.c.granted_at.is_(None))
        .where(last_success.c.at.is_(None) | (tried.c.ended_at > last_success.c.at))
        .group_by(tried.c.unit)
    )
    failures = {}
    for row in (await connection.execute(query)).all():
        last = max(range(row.failed), key=lambda index: row.instants[index])
        failures[row.unit] = Failure(
            count=row.failed, last_at=row.last_at, state=row.states[last], reason=row.reasons[last]
        )
    return failures
