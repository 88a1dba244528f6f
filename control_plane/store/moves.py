"""The move log: orders, what became of each move and its units, and how long every step took.

Orders and stops are taken under the fleet's lock. Steps of a move are recorded by compare-and-set on its state: a
mover that was outpaced writes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.ids import CellId, WalletId
from contract.slots import slot_of
from contract.values import value
from control_plane.fleet.ceiling import placement_ceiling
from control_plane.moves.model import MovedUnit, MoveRecord
from control_plane.moves.ordering import (
    MoveOrder,
    MoveRefused,
    OrderReason,
    OrderView,
    UnitPlace,
    refusal_of,
)
from control_plane.moves.states import ENDED, MoveEvent, MoveState, state_after
from control_plane.store.capacity import capacity_of
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import cells, directories, isolations, move_steps, move_units, moves, units

OPEN_RESULTS: Final = ("waiting", "in_hand")


@value
class MoveStep:
    """One line of a move's history."""

    at: datetime
    portion: int
    step: str
    duration_ms: float
    facts: Mapping[str, Any] | None


@value
class Recorded:
    """What a step adds to the record of its move; empty members say nothing."""

    move: Mapping[str, Any] | None = None
    """Columns of the move."""
    units: Mapping[int, Mapping[str, Any]] | None = None
    """Columns of single units."""
    all_in_hand: Mapping[str, Any] | None = None
    """Columns of every unit in hand."""


async def order_move(connection: AsyncConnection, order: MoveOrder) -> MoveRecord | MoveRefused:
    """The recorded move; the same order again gives the same one. The mover hears of it when this commits."""
    await lock_fleet(connection)
    known = await move_of(connection, order.move_id)
    if known is not None:
        return _refusal_of_other(known, order) or known
    view = await _view(connection, order)
    refusal = refusal_of(order, view)
    if refusal is not None:
        return refusal
    return await _recorded_order(connection, order, view)


async def stop_move(
    connection: AsyncConnection, move: MoveRecord, *, reason: str, detail: str, actor: str, request_id: str
) -> bool:
    """Record that the move is to be cancelled; False when it has gone on since it was seen."""
    await lock_fleet(connection)
    stopped = await connection.execute(
        update(moves)
        .where(moves.c.id == move.id, moves.c.state == move.state, moves.c.portion == move.portion)
        .where(moves.c.stop.is_(None))
        .values(stop="cancelled", reason=reason, detail=detail, changed_at=func.now())
    )
    if stopped.rowcount != 1:
        return False
    await record_change(
        connection,
        actor=actor,
        subject=f"move:{move.id}",
        before={"state": move.state},
        after={"stop": "cancelled"},
        request_id=request_id,
    )
    await nudge(connection)
    return True


async def move_of(connection: AsyncConnection, move_id: str) -> MoveRecord | None:
    found = await _records(connection, select(moves).where(moves.c.id == move_id))
    return found[0] if found else None


async def open_moves(connection: AsyncConnection) -> tuple[MoveRecord, ...]:
    """All that have not ended, the oldest order first."""
    query = select(moves).where(moves.c.ended_at.is_(None)).order_by(moves.c.ordered_at, moves.c.id)
    return await _records(connection, query)


async def open_heads(connection: AsyncConnection) -> tuple[MoveRecord, ...]:
    """All that have not ended, the oldest order first, without their units: a glance that costs little."""
    query = select(moves).where(moves.c.ended_at.is_(None)).order_by(moves.c.ordered_at, moves.c.id)
    return tuple(record_of(row, ()) for row in (await connection.execute(query)).all())


async def last_moved_at(connection: AsyncConnection, among: Sequence[int]) -> dict[int, datetime]:
    """When each unit last changed its owner, of those that ever did."""
    query = (
        select(move_units.c.unit, func.max(move_units.c.granted_at).label("at"))
        .where(move_units.c.unit.in_(among), move_units.c.granted_at.is_not(None))
        .group_by(move_units.c.unit)
    )
    return {row.unit: row.at for row in (await connection.execute(query)).all()}


async def record_steps(connection: AsyncConnection, move_id: str, steps: Sequence[MoveStep]) -> None:
    rows = [
        {
            "move_id": move_id,
            "at": step.at,
            "portion": step.portion,
            "step": step.step,
            "duration_ms": step.duration_ms,
            "facts": step.facts,
        }
        for step in steps
    ]
    await connection.execute(insert(move_steps), rows)


async def advance(
    connection: AsyncConnection, move: MoveRecord, event: MoveEvent, recorded: Recorded | None = None
) -> MoveRecord | None:
    """The move after the event; None, and nothing written, when it is no longer in the state that was seen.

    Nor when it is to be sealed and has been stopped meanwhile: either the stop comes first, or the grant.
    """
    following = state_after(move.state, event, stop=move.stop)
    if following is None:
        raise ValueError(f"no move goes from {move.state} by {event}")
    is_not_stopped = (moves.c.stop.is_(None),) if event is MoveEvent.DIGESTS_AGREED else ()
    return await _written(connection, move, following, recorded or Recorded(), *is_not_stopped)


async def note(connection: AsyncConnection, move: MoveRecord, recorded: Recorded) -> MoveRecord | None:
    """The move with new facts in the same state; None when it is no longer in the state that was seen."""
    return await _written(connection, move, move.state, recorded)


async def moves_to_clean(connection: AsyncConnection, *, before: datetime) -> tuple[MoveRecord, ...]:
    """Moves with units whose rows the source has kept long enough; a retired cell's rows are nobody's to delete."""
    due = (
        select(move_units.c.move_id)
        .where(move_units.c.tombstoned_at < before, move_units.c.cleaned_at.is_(None))
        .distinct()
    )
    retired = select(cells.c.id).where(cells.c.state == "retired")
    query = select(moves).where(moves.c.id.in_(due), moves.c.from_cell.not_in(retired)).order_by(moves.c.ordered_at)
    return await _records(connection, query)


async def mark_cleaned(connection: AsyncConnection, move_id: str, cleaned: Sequence[int]) -> None:
    await connection.execute(
        update(move_units)
        .where(move_units.c.move_id == move_id, move_units.c.unit.in_(cleaned))
        .values(cleaned_at=func.now())
    )


async def _written(
    connection: AsyncConnection,
    move: MoveRecord,
    following: MoveState,
    recorded: Recorded,
    *conditions: ColumnElement[bool],
) -> MoveRecord | None:
    """The record as it then is; units are not read again, for a move may have thousands and time may be short."""
    ended: dict[str, Any] = {"ended_at": func.now()} if following in ENDED else {}
    seen = (moves.c.id == move.id, moves.c.state == move.state, moves.c.portion == move.portion)
    values = {"state": following, "changed_at": func.now(), **ended, **(recorded.move or {})}
    write = update(moves).where(*seen, *conditions).values(**values).returning(moves)
    row = (await connection.execute(write)).first()
    if row is None:
        return None
    after = tuple(_unit_after(unit, recorded, is_ended=bool(ended)) for unit in move.units)
    changed = [new for old, new in zip(move.units, after, strict=True) if new is not old]
    await _write_units(connection, move.id, changed)
    return record_of(row, after)


def _unit_after(unit: MovedUnit, recorded: Recorded, *, is_ended: bool) -> MovedUnit:
    facts: dict[str, Any] = {}
    if unit.result == "in_hand":
        facts |= recorded.all_in_hand or {}
    facts |= (recorded.units or {}).get(unit.unit, {})
    if is_ended and facts.get("result", unit.result) in OPEN_RESULTS:
        facts["result"] = "left"
    return replace(unit, **facts) if facts else unit


async def _write_units(connection: AsyncConnection, move_id: str, changed: Sequence[MovedUnit]) -> None:
    """All columns of each, in one round trip."""
    if not changed:
        return
    columns = [column.name for column in move_units.c if column.name not in {"move_id", "unit"}]
    write = (
        update(move_units)
        .where(move_units.c.move_id == move_id, move_units.c.unit == bindparam("of_unit"))
        .values({move_units.c[name]: bindparam(f"new_{name}") for name in columns})
    )
    rows = [{"of_unit": one.unit} | {f"new_{name}": getattr(one, name) for name in columns} for one in changed]
    await connection.execute(write, rows)


def _refusal_of_other(known: MoveRecord, order: MoveOrder) -> MoveRefused | None:
    facts = {"move_id": known.id}
    if known.to_cell != order.to_cell:
        detail = f"move {known.id} goes to {known.to_cell}"
        return MoveRefused(reason=OrderReason.MOVE_EXISTS_WITH_DIFFERENT_TARGET, detail=detail, facts=facts)
    if tuple(unit.unit for unit in known.units) != tuple(sorted(order.units)):
        detail = f"move {known.id} is of other units"
        return MoveRefused(reason=OrderReason.MOVE_EXISTS_WITH_DIFFERENT_UNITS, detail=detail, facts=facts)
    return None


async def _view(connection: AsyncConnection, order: MoveOrder) -> OrderView:
    published = (await connection.execute(select(directories.c.version).limit(1))).first()
    known = (await connection.execute(select(cells.c.id, cells.c.state))).all()
    in_move = move_units.c.result.in_(OPEN_RESULTS)
    places = (
        select(units.c.unit, units.c.cell, units.c.epoch, move_units.c.move_id)
        .join_from(units, move_units, (move_units.c.unit == units.c.unit) & in_move, isouter=True)
        .where(units.c.unit.in_(order.units), ~units.c.unit.in_(_ended_isolations()))
    )
    return OrderView(
        is_published=published is not None,
        cells={CellId(row.id): row.state for row in known},
        ceiling_per_s=await _ceiling_of(connection, order.to_cell),
        places={row.unit: UnitPlace(**row._asdict()) for row in (await connection.execute(places)).all()},
        isolating=await _isolating(connection),
    )


async def _ceiling_of(connection: AsyncConnection, cell: CellId) -> float | None:
    capacity = await capacity_of(connection, cell)
    if capacity is None or capacity.capacity_per_s is None:
        return None
    return capacity.capacity_per_s * placement_ceiling(capacity.certificate)


def _ended_isolations() -> Select[int]:
    """A wallet that went back to its slot left its isolated unit to nobody."""
    return select(isolations.c.unit).where(isolations.c.ended_at.is_not(None))


async def _isolating(connection: AsyncConnection) -> frozenset[int]:
    """Slots and isolated units that a wallet is just leaving."""
    unsettled = isolations.c.isolated_at.is_(None) | isolations.c.rejoin_ordered_at.is_not(None)
    query = select(isolations.c.unit, isolations.c.wallet_id).where(isolations.c.ended_at.is_(None), unsettled)
    rows = (await connection.execute(query)).all()
    return frozenset(unit for row in rows for unit in (row.unit, slot_of(WalletId(row.wallet_id))))


async def _recorded_order(connection: AsyncConnection, order: MoveOrder, view: OrderView) -> MoveRecord:
    source = view.places[order.units[0]].cell
    await connection.execute(
        insert(moves).values(
            id=order.move_id,
            from_cell=source,
            to_cell=order.to_cell,
            state="planned",
            purpose=order.purpose,
            wallet_id=order.wallet_id,
            ordered_by=order.actor,
            ordered_at=func.now(),
            changed_at=func.now(),
        )
    )
    rows = [
        {"move_id": order.move_id, "unit": unit, "from_epoch": view.places[unit].epoch, "result": "waiting"}
        for unit in sorted(order.units)
    ]
    await connection.execute(insert(move_units), rows)
    await record_change(
        connection,
        actor=order.actor,
        subject=f"move:{order.move_id}",
        before=None,
        after={"from_cell": source, "to_cell": order.to_cell, "units": len(rows), "purpose": order.purpose},
        request_id=order.request_id,
    )
    await nudge(connection)
    recorded = await move_of(connection, order.move_id)
    if recorded is None:
        raise RuntimeError(f"move {order.move_id} was written and is not there")
    return recorded


async def _records(connection: AsyncConnection, query: Select[Any]) -> tuple[MoveRecord, ...]:
    rows = (await connection.execute(query)).all()
    chosen = select(move_units).where(move_units.c.move_id.in_([row.id for row in rows]))
    members: dict[str, list[MovedUnit]] = {row.id: [] for row in rows}
    for member in (await connection.execute(chosen.order_by(move_units.c.move_id, move_units.c.unit))).all():
        members[member.move_id].append(moved_unit_of(member))
    return tuple(record_of(row, members[row.id]) for row in rows)


def record_of(row: Row[Any], members: Iterable[MovedUnit]) -> MoveRecord:
    return MoveRecord(
        **{**row._asdict(), "from_cell": CellId(row.from_cell), "to_cell": CellId(row.to_cell)}, units=tuple(members)
    )


def moved_unit_of(row: Row[Any]) -> MovedUnit:
    facts = row._asdict()
    del facts["move_id"]
    return MovedUnit(**facts)
