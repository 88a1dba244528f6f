"""Evacuations: orders and ends under the fleet's lock, steps as compare-and-set under the worker's lease."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.ids import CellId
from control_plane.evacuations.deciding import EvacuationGrounds
from control_plane.evacuations.model import (
    PRIMARY_MOVES,
    EvacuationOrder,
    EvacuationReason,
    EvacuationRecord,
    EvacuationRefused,
    Primary,
    ZonedCell,
    primaries_of,
    refusal_of,
)
from control_plane.evacuations.states import KEEPS_TRAFFIC_AWAY, EvacuationEvent, evacuation_state_after
from control_plane.store.cells import cells_in_order
from control_plane.store.changes import record_change
from control_plane.store.documents import last_directory
from control_plane.store.leases import Lease, still_holds
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.release_tables import evacuation_primaries, evacuations
from control_plane.store.routers import live_routers


async def order_evacuation(connection: AsyncConnection, order: EvacuationOrder) -> EvacuationRecord | EvacuationRefused:
    """The recorded evacuation; the same order again gives the same one."""
    await lock_fleet(connection)
    known = await evacuation_of(connection, order.evacuation_id)
    if known is not None:
        return _refusal_of_other(known, order) or known
    cells = await _zoned_cells(connection)
    refusal = refusal_of(order, cells, await _records(connection, _open()))
    if refusal is not None:
        return refusal
    await connection.execute(
        insert(evacuations).values(
            id=order.evacuation_id,
            kind=order.kind,
            zone=order.zone,
            state="switching" if order.kind == "fail_back" else "ordered",
            expires_at=func.now() + order.lasts,
            ordered_by=order.actor,
            ordered_at=func.now(),
            changed_at=func.now(),
        )
    )
    primaries = primaries_of(order, cells)
    if primaries:
        rows = [{"evacuation_id": order.evacuation_id, **asdict(one)} for one in primaries]
        await connection.execute(insert(evacuation_primaries), rows)
    recorded = await evacuation_of(connection, order.evacuation_id)
    if recorded is None:
        raise RuntimeError(f"evacuation {order.evacuation_id} was written and is not there")
    told = {"kind": order.kind, "zone": order.zone, "lasts_s": order.lasts / timedelta(seconds=1)}
    await _tell_change(connection, recorded, told, before=None, actor=order.actor, request_id=order.request_id)
    return recorded


async def end_evacuation(
    connection: AsyncConnection, evacuation: EvacuationRecord, *, actor: str, request_id: str
) -> None:
    """Ended again, it changes nothing."""
    await lock_fleet(connection)
    written = await connection.execute(
        update(evacuations)
        .where(evacuations.c.id == evacuation.id, evacuations.c.ended_at.is_(None))
        .where(evacuations.c.is_end_ordered.is_(False))
        .values(is_end_ordered=True)
    )
    if written.rowcount == 1:
        before = {"state": evacuation.state}
        await _tell_change(
            connection, evacuation, {"is_end_ordered": True}, before=before, actor=actor, request_id=request_id
        )


async def evacuation_of(connection: AsyncConnection, evacuation_id: str) -> EvacuationRecord | None:
    found = await _records(connection, select(evacuations).where(evacuations.c.id == evacuation_id))
    return found[0] if found else None


async def open_evacuation(connection: AsyncConnection) -> EvacuationRecord | None:
    found = await _records(connection, _open())
    return found[0] if found else None


async def latest_evacuations(
    connection: AsyncConnection, *, below: tuple[datetime, str] | None, limit: int
) -> tuple[EvacuationRecord, ...]:
    """Newest first."""
    query = select(evacuations).order_by(evacuations.c.ordered_at.desc(), evacuations.c.id.desc()).limit(limit)
    if below is not None:
        at, evacuation_id = below
        is_older = (evacuations.c.ordered_at == at) & (evacuations.c.id < evacuation_id)
        query = query.where(or_(evacuations.c.ordered_at < at, is_older))
    return await _records(connection, query)


async def evacuated_zones(connection: AsyncConnection) -> frozenset[str]:
    """Zones that get no traffic now; one whose time is over gets it back whether or not a worker is there."""
    query = select(evacuations.c.zone).where(
        evacuations.c.kind == "evacuation",
        evacuations.c.state.in_(sorted(KEEPS_TRAFFIC_AWAY)),
        evacuations.c.is_end_ordered.is_(False),
        evacuations.c.expires_at > func.now(),
    )
    return frozenset((await connection.execute(query)).scalars())


async def evacuation_grounds(connection: AsyncConnection) -> EvacuationGrounds:
    return EvacuationGrounds(directory=await last_directory(connection), routers=await live_routers(connection))


async def advance_evacuation(
    connection: AsyncConnection, lease: Lease, evacuation: EvacuationRecord, event: EvacuationEvent
) -> bool:
    """False, and nothing written, when the lease is lost or the evacuation is not where it was seen."""
    following = evacuation_state_after(evacuation.state, event)
    if following is None:
        raise ValueError(f"no evacuation goes from {evacuation.state} by {event}")
    values: dict[str, Any] = {"state": following, "reason": None, "detail": None, "changed_at": func.now()}
    if following == "ending":
        values["announced_version"] = None  # of the directory that sends traffic back
    if following == "ended":
        values["ended_at"] = func.now()
    return await _written(connection, lease, evacuation, values)


async def note_evacuation(
    connection: AsyncConnection, lease: Lease, evacuation: EvacuationRecord, facts: Mapping[str, Any]
) -> bool:
    """New facts in the same state: the version that was announced, the cordon, what it waits for."""
    return await _written(connection, lease, evacuation, facts)


async def note_primary(
    connection: AsyncConnection, lease: Lease, evacuation: EvacuationRecord, before: Primary, after: Primary
) -> bool:
    if not await still_holds(connection, lease):
        return False
    table = evacuation_primaries.c
    written = await connection.execute(
        update(evacuation_primaries)
        .where(table.evacuation_id == evacuation.id, table.cell == before.cell, table.state == before.state)
        .values(state=after.state, detail=after.detail)
    )
    if written.rowcount == 1 and after.state != before.state and after.state in PRIMARY_MOVES:
        moved = update(evacuations).where(evacuations.c.id == evacuation.id).values(changed_at=func.now())
        await connection.execute(moved)
    return written.rowcount == 1


async def _written(
    connection: AsyncConnection, lease: Lease, evacuation: EvacuationRecord, values: Mapping[str, Any]
) -> bool:
    if not await still_holds(connection, lease):
        return False
    seen = (evacuations.c.id == evacuation.id, evacuations.c.state == evacuation.state)
    is_done = (await connection.execute(update(evacuations).where(*seen).values(**values))).rowcount == 1
    if is_done:
        await nudge(connection)
    return is_done


def _refusal_of_other(known: EvacuationRecord, order: EvacuationOrder) -> EvacuationRefused | None:
    if (known.zone, known.kind) == (order.zone, order.kind):
        return None
    detail = f"{known.kind.replace('_', '-')} {known.id} is of zone {known.zone}"
    return EvacuationRefused(reason=EvacuationReason.EVACUATION_EXISTS_WITH_DIFFERENT_ZONE, detail=detail)


async def _zoned_cells(connection: AsyncConnection) -> tuple[ZonedCell, ...]:
    return tuple(
        ZonedCell(
            id=cell.id,
            state=cell.state,
            home_zone=cell.home_zone,
            zones=frozenset(instance.zone for instance in cell.instances),
        )
        for cell in await cells_in_order(connection)
        if cell.state != "retired"
    )


async def _tell_change(
    connection: AsyncConnection,
    evacuation: EvacuationRecord,
    after: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None,
    actor: str,
    request_id: str,
) -> None:
    subject = f"evacuation:{evacuation.id}"
    await record_change(connection, actor=actor, subject=subject, before=before, after=after, request_id=request_id)
    await nudge(connection)


def _open() -> Select[Any]:
    return select(evacuations).where(evacuations.c.ended_at.is_(None))


async def _records(connection: AsyncConnection, query: Select[Any]) -> tuple[EvacuationRecord, ...]:
    rows = (await connection.execute(query)).all()
    if not rows:
        return ()
    chosen = select(evacuation_primaries).where(evacuation_primaries.c.evacuation_id.in_([row.id for row in rows]))
    members: dict[str, list[Primary]] = {row.id: [] for row in rows}
    for one in (await connection.execute(chosen.order_by(evacuation_primaries.c.cell))).all():
        members[one.evacuation_id].append(Primary(cell=CellId(one.cell), state=one.state, detail=one.detail))
    return tuple(_record(row, members[row.id]) for row in rows)


def _record(row: Row[Any], primaries: list[Primary]) -> EvacuationRecord:
    return EvacuationRecord(**row._asdict(), primaries=tuple(primaries))
