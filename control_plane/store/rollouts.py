"""Rollouts: orders, what became of each wave and deployment, every judgement.

Orders, pauses and stops are taken under the fleet's lock. What the worker writes is a compare-and-set on state and
wave, under its lease: one that was outpaced writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, false, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.certificate import CapacityCertificate
from contract.ids import CellId
from control_plane.rollouts.gates import Grounds
from control_plane.rollouts.model import BakePolicy, CellSeen, Deployment, JudgedWindow, Release, RolloutRecord, Wave
from control_plane.rollouts.planning import CellPlace, RolloutOrder, RolloutPlan, RolloutRefused, plan_of
from control_plane.rollouts.reasons import RolloutRefusal
from control_plane.rollouts.states import ROLLOUT_ENDED, RolloutEvent, RolloutState, RolloutStop, rollout_state_after
from control_plane.store.cells import shown_cells
from control_plane.store.changes import record_change
from control_plane.store.judgements import windows_in_hand
from control_plane.store.leases import Lease, still_holds
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.release_tables import (
    evacuations,
    rollout_deployments,
    rollout_steps,
    rollouts,
)
from control_plane.store.tables import cells, certificates, moves

ZONES_BACK_KEPT = timedelta(days=1)
"""After so long nobody waits any more for what was replaced when an evacuation ended."""


async def order_rollout(
    connection: AsyncConnection, order: RolloutOrder, seen: Mapping[CellId, CellSeen | str]
) -> RolloutRecord | RolloutRefused:
    """The recorded rollout; the same order again gives the same one."""
    await lock_fleet(connection)
    known = await rollout_of(connection, order.rollout_id)
    if known is not None:
        return _refusal_of_other(known, order) or known
    refusal = await _refusal_of_others(connection)
    if refusal is not None:
        return refusal
    plan = plan_of(order, await cell_places(connection), seen)
    if isinstance(plan, RolloutRefused):
        return plan
    return await _recorded(connection, order, plan)


async def planned_rollout(
    connection: AsyncConnection, order: RolloutOrder, seen: Mapping[CellId, CellSeen | str]
) -> RolloutPlan | RolloutRefused:
    """What the order would do; nothing is written."""
    return await _refusal_of_others(connection) or plan_of(order, await cell_places(connection), seen)


async def rollout_of(connection: AsyncConnection, rollout_id: str) -> RolloutRecord | None:
    found = await _records(connection, select(rollouts).where(rollouts.c.id == rollout_id))
    return found[0] if found else None


async def open_rollout(connection: AsyncConnection) -> RolloutRecord | None:
    found = await _records(connection, select(rollouts).where(rollouts.c.ended_at.is_(None)))
    return found[0] if found else None


async def latest_rollouts(
    connection: AsyncConnection, *, below: tuple[datetime, str] | None, limit: int
) -> tuple[RolloutRecord, ...]:
    """Newest first."""
    query = select(rollouts).order_by(rollouts.c.ordered_at.desc(), rollouts.c.id.desc()).limit(limit)
    if below is not None:
        at, rollout_id = below
        is_older = or_(rollouts.c.ordered_at < at, (rollouts.c.ordered_at == at) & (rollouts.c.id < rollout_id))
        query = query.where(is_older)
    return await _records(connection, query)


async def cell_places(connection: AsyncConnection) -> tuple[CellPlace, ...]:
    """All cells as a plan of waves sees them; the schema is the oldest that a process of the cell tells of."""
    held = {row.cell: row.document for row in (await connection.execute(select(certificates))).all()}
    return tuple(
        CellPlace(
            id=shown.cell.id,
            state=shown.cell.state,
            home_zone=shown.cell.home_zone,
            units=shown.units,
            schema_revision=min((one.schema_revision for one in shown.cell.instances), default=""),
            certificate=CapacityCertificate.model_validate(held[shown.cell.id]) if shown.cell.id in held else None,
        )
        for shown in await shown_cells(connection)
    )


async def grounds_of(connection: AsyncConnection) -> Grounds:
    states = (await connection.execute(select(cells.c.id, cells.c.state))).all()
    moving = (
        await connection.execute(select(moves.c.from_cell, moves.c.to_cell).where(moves.c.ended_at.is_(None)))
    ).all()
    zones = select(evacuations.c.zone).where(evacuations.c.ended_at.is_(None)).order_by(evacuations.c.zone)
    back = (
        select(evacuations.c.zone, func.max(evacuations.c.ended_at).label("at"))
        .where(evacuations.c.kind == "evacuation", evacuations.c.ended_at > func.now() - ZONES_BACK_KEPT)
        .group_by(evacuations.c.zone)
    )
    return Grounds(
        states={CellId(row.id): row.state for row in states},
        moving_cells=frozenset(CellId(cell) for row in moving for cell in (row.from_cell, row.to_cell)),
        evacuated_zones=tuple((await connection.execute(zones)).scalars()),
        zones_back_at={row.zone: row.at for row in (await connection.execute(back)).all()},
    )


async def pause_rollout(
    connection: AsyncConnection, rollout: RolloutRecord, *, is_paused: bool, actor: str, request_id: str
) -> bool:
    """False when it has ended, or is on its way back: that is never paused."""
    await lock_fleet(connection)
    written = await connection.execute(
        update(rollouts)
        .where(rollouts.c.id == rollout.id, rollouts.c.ended_at.is_(None), rollouts.c.stop.is_(None))
        .values(is_paused=is_paused)
    )
    if written.rowcount != 1:
        return False
    if rollout.is_paused != is_paused:
        await _tell_change(connection, rollout, {"is_paused": is_paused}, actor=actor, request_id=request_id)
    return True


async def order_stop(
    connection: AsyncConnection,
    rollout: RolloutRecord,
    kind: RolloutStop,
    *,
    reason: str,
    detail: str,
    actor: str,
    request_id: str,
) -> bool:
    """False when it has ended, or goes back as far already; a way back may be made longer, never shorter."""
    await lock_fleet(connection)
    is_longer = (rollouts.c.stop != kind) if kind == "rolled_back" else false()
    is_new = rollouts.c.stop.is_(None) | is_longer
    written = await connection.execute(
        update(rollouts)
        .where(rollouts.c.id == rollout.id, rollouts.c.ended_at.is_(None), is_new)
        .values(stop=kind, reason=reason, detail=detail, is_paused=False)
    )
    if written.rowcount != 1:
        return False
    await _tell_change(connection, rollout, {"stop": kind}, actor=actor, request_id=request_id)
    return True


async def advance_rollout(
    connection: AsyncConnection, lease: Lease, rollout: RolloutRecord, event: RolloutEvent
) -> bool:
    """False, and nothing written, when the lease is lost or the rollout is not where it was seen."""
    following = rollout_state_after(rollout.state, event, stop=rollout.stop)
    if following is None:
        raise ValueError(f"no rollout goes from {rollout.state} by {event}")
    values: dict[str, Any] = {"state": following, "waiting_reason": None, "waiting_detail": None}
    if event is RolloutEvent.NEXT_WAVE:
        values["wave"] = rollout.wave + 1
    if event is RolloutEvent.BOOKS_BALANCED:
        values["waves_passed"] = rollout.wave + 1
    # Where the kind of the stop says how it ends, it must be the one that was seen: it may just be made longer.
    is_as_seen = rollouts.c.stop.is_not_distinct_from(rollout.stop)
    return await _written(connection, lease, rollout, following, values, is_as_seen)


async def fail_rollout(
    connection: AsyncConnection, lease: Lease, rollout: RolloutRecord, kind: RolloutStop, *, reason: str, detail: str
) -> bool:
    """A stop that was ordered meanwhile keeps its kind and reason."""
    following = rollout_state_after(rollout.state, RolloutEvent.STOP_ORDERED)
    if following is None:
        raise ValueError(f"a rollout that is {rollout.state} cannot be stopped")
    stopped = {"stop": kind, "reason": reason, "detail": detail, "is_paused": False}
    values = {"state": following, "waiting_reason": None, "waiting_detail": None, **stopped}
    return await _written(connection, lease, rollout, following, values, rollouts.c.stop.is_(None))


async def note_waiting(
    connection: AsyncConnection, lease: Lease, rollout: RolloutRecord, *, reason: str, detail: str
) -> bool:
    if not await still_holds(connection, lease):
        return False
    is_there = (rollouts.c.id == rollout.id, rollouts.c.state == rollout.state)
    write = update(rollouts).where(*is_there).values(waiting_reason=reason, waiting_detail=detail)
    return (await connection.execute(write)).rowcount == 1


async def note_deployment(
    connection: AsyncConnection, lease: Lease, rollout: RolloutRecord, before: Deployment, after: Deployment
) -> bool:
    """A compare-and-set on the state of the deployment; False when it is no longer what was seen."""
    if not await still_holds(connection, lease):
        return False
    table = rollout_deployments.c
    written = await connection.execute(
        update(rollout_deployments)
        .where(table.rollout_id == rollout.id, table.cell == before.cell, table.zone == before.zone)
        .where(table.state == before.state)
        .values(
            state=after.state,
            patched_at=after.patched_at,
            settled_at=after.settled_at,
            turned_back_at=after.turned_back_at,
        )
    )
    return written.rowcount == 1


async def record_rollout_step(
    connection: AsyncConnection,
    rollout: RolloutRecord,
    *,
    at: datetime,
    step: str,
    duration_ms: float,
    facts: Mapping[str, Any] | None,
) -> None:
    row = {"rollout_id": rollout.id, "at": at, "wave": rollout.wave, "step": step, "duration_ms": duration_ms}
    await connection.execute(insert(rollout_steps).values(**row, facts=facts))


async def _written(
    connection: AsyncConnection,
    lease: Lease,
    rollout: RolloutRecord,
    following: RolloutState,
    values: Mapping[str, Any],
    is_as_seen: Any,
) -> bool:
    if not await still_holds(connection, lease):
        return False
    ended = {"ended_at": func.now()} if following in ROLLOUT_ENDED else {}
    seen = (rollouts.c.id == rollout.id, rollouts.c.state == rollout.state, rollouts.c.wave == rollout.wave)
    write = update(rollouts).where(*seen, is_as_seen).values(**values, changed_at=func.now(), **ended)
    is_done = (await connection.execute(write)).rowcount == 1
    if is_done:
        await nudge(connection)
    return is_done


async def _refusal_of_others(connection: AsyncConnection) -> RolloutRefused | None:
    other = await open_rollout(connection)
    if other is not None:
        detail = f"rollout {other.id} of {other.release.label} is {other.state}"
        facts = {"rollout_id": other.id}
        return RolloutRefused(reason=RolloutRefusal.ANOTHER_ROLLOUT_MUST_HAVE_ENDED, detail=detail, facts=facts)
    zones = (await grounds_of(connection)).evacuated_zones
    if zones:
        detail = f"zone {', '.join(zones)} is evacuated"
        return RolloutRefused(reason=RolloutRefusal.EVACUATION_MUST_HAVE_ENDED, detail=detail)
    return None


def _refusal_of_other(known: RolloutRecord, order: RolloutOrder) -> RolloutRefused | None:
    if known.release.image == order.release.image:
        return None
    detail = f"rollout {known.id} is of {known.release.image}"
    return RolloutRefused(
        reason=RolloutRefusal.ROLLOUT_EXISTS_WITH_DIFFERENT_RELEASE, detail=detail, facts={"rollout_id": known.id}
    )


async def _recorded(connection: AsyncConnection, order: RolloutOrder, plan: RolloutPlan) -> RolloutRecord:
    await connection.execute(
        insert(rollouts).values(
            id=order.rollout_id,
            release=asdict(order.release),
            policy=asdict(order.policy),
            waves=[asdict(wave) for wave in plan.waves],
            idle_cells=sorted(plan.idle_cells),
            state="planned",
            ordered_by=order.actor,
            ordered_at=func.now(),
            changed_at=func.now(),
        )
    )
    rows = [
        {"rollout_id": order.rollout_id, "position": position, **asdict(one)}
        for position, one in enumerate(plan.deployments)
    ]
    await connection.execute(insert(rollout_deployments), rows)
    recorded = await rollout_of(connection, order.rollout_id)
    if recorded is None:
        raise RuntimeError(f"rollout {order.rollout_id} was written and is not there")
    ordered = {"image": order.release.image, "label": order.release.label, "is_certificate_waived": False}
    ordered |= {"is_certificate_waived": order.is_certificate_waived, "waves": len(plan.waves)}
    await _tell_change(connection, recorded, ordered, actor=order.actor, request_id=order.request_id)
    return recorded


async def _tell_change(
    connection: AsyncConnection, rollout: RolloutRecord, after: Mapping[str, Any], *, actor: str, request_id: str
) -> None:
    await record_change(
        connection,
        actor=actor,
        subject=f"rollout:{rollout.id}",
        before={"state": rollout.state, "stop": rollout.stop, "is_paused": rollout.is_paused},
        after=after,
        request_id=request_id,
    )
    await nudge(connection)


async def _records(connection: AsyncConnection, query: Select[Any]) -> tuple[RolloutRecord, ...]:
    rows = (await connection.execute(query)).all()
    if not rows:
        return ()
    ids = [row.id for row in rows]
    members = select(rollout_deployments).where(rollout_deployments.c.rollout_id.in_(ids))
    members = members.order_by(rollout_deployments.c.rollout_id, rollout_deployments.c.position)
    deployments: dict[str, list[Deployment]] = {one: [] for one in ids}
    for row in (await connection.execute(members)).all():
        deployments[row.rollout_id].append(_deployment(row))
    windows = await windows_in_hand(connection, ids)
    return tuple(_record(row, deployments[row.id], windows[row.id]) for row in rows)


def _record(row: Row[Any], deployments: Sequence[Deployment], windows: Sequence[JudgedWindow]) -> RolloutRecord:
    facts = row._asdict()
    waves = tuple(
        Wave(name=one["name"], cells=tuple(CellId(cell) for cell in one["cells"]), home_zone=one["home_zone"])
        for one in facts.pop("waves")
    )
    return RolloutRecord(
        **{
            **facts,
            "release": Release(**facts["release"]),
            "policy": BakePolicy(**facts["policy"]),
            "idle_cells": frozenset(CellId(cell) for cell in facts["idle_cells"]),
        },
        waves=waves,
        deployments=tuple(deployments),
        windows=tuple(windows),
    )


def _deployment(row: Row[Any]) -> Deployment:
    facts = row._asdict()
    for name in ("rollout_id", "position"):
        del facts[name]
    return replace(Deployment(**facts), cell=CellId(row.cell))
