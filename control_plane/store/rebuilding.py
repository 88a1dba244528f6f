"""Writes what was rebuilt from the cells: units, isolated wallets and the states of their owners, all at once."""

from collections.abc import Iterable, Mapping

from sqlalchemy import BigInteger, Integer, Text, delete, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.fleet.rebuilding import Rebuilt
from control_plane.store.changes import record_change
from control_plane.store.isolations import NOBODY
from control_plane.store.nudges import nudge
from control_plane.store.tables import cells, fleet, isolated_wallets, isolations, units


async def put_rebuilt(connection: AsyncConnection, rebuilt: Rebuilt, *, actor: str, request_id: str) -> None:
    """Under the fleet's lock; the reconciler publishes it."""
    await _put_units(connection, rebuilt)
    await connection.execute(delete(isolated_wallets))
    if rebuilt.isolated:
        wallets = [{"wallet_id": wallet, "unit": unit} for wallet, unit in sorted(rebuilt.isolated.items())]
        await connection.execute(insert(isolated_wallets), wallets)
    await _put_isolations(connection, rebuilt.isolated, left=rebuilt.left)
    owners = sorted({run.cell for run in rebuilt.runs})
    joined = cells.c.state.in_(("registered", "ready", "empty"))
    await connection.execute(
        update(cells).where(cells.c.id.in_(owners), joined).values(state="active", state_changed_at=func.now())
    )
    await connection.execute(
        update(fleet).values(units_assigned_at=func.coalesce(fleet.c.units_assigned_at, func.now()))
    )
    count = sum(run.last - run.first + 1 for run in rebuilt.runs)
    told = {"units": count, "changed": rebuilt.changed, "cells": owners}
    await record_change(connection, actor=actor, subject="directory", before=None, after=told, request_id=request_id)
    await nudge(connection)


async def _put_units(connection: AsyncConnection, rebuilt: Rebuilt) -> None:
    """One statement with a column of numbers each: units differ in thousands."""
    numbers = [(unit, run) for run in rebuilt.runs for unit in range(run.first, run.last + 1)]
    rows = select(
        func.unnest(literal([unit for unit, _ in numbers], ARRAY(Integer))),
        func.unnest(literal([str(run.cell) for _, run in numbers], ARRAY(Text))),
        func.unnest(literal([run.epoch for _, run in numbers], ARRAY(BigInteger))),
    )
    new = insert(units).from_select(["unit", "cell", "epoch"], rows)
    await connection.execute(
        new.on_conflict_do_update(
            index_elements=[units.c.unit],
            set_={"cell": new.excluded.cell, "epoch": new.excluded.epoch, "is_moving": False},
            where=(units.c.cell != new.excluded.cell) | (units.c.epoch != new.excluded.epoch) | units.c.is_moving,
        )
    )


async def _put_isolations(connection: AsyncConnection, isolated: Mapping[str, int], *, left: Iterable[int]) -> None:
    """Open ones as the cells have them; what was only ordered stays so, and no number is ever free again."""
    pairs = sorted((unit, wallet) for wallet, unit in isolated.items())
    is_past = isolations.c.isolated_at.is_not(None) | isolations.c.wallet_id.in_(list(isolated))
    await connection.execute(
        update(isolations)
        .where(isolations.c.ended_at.is_(None), is_past)
        .where(tuple_(isolations.c.unit, isolations.c.wallet_id).not_in(pairs))
        .values(ended_at=func.now())
    )
    known = [{"unit": unit, "wallet_id": wallet, "ended_at": None} for unit, wallet in pairs]
    nameless = [{"unit": unit, "wallet_id": NOBODY, "ended_at": func.now()} for unit in left]
    if known:
        new = insert(isolations).values([{**row, "ordered_at": func.now(), "isolated_at": func.now()} for row in known])
        found = {"wallet_id": new.excluded.wallet_id, "ended_at": None}
        was = func.coalesce(isolations.c.isolated_at, func.now())
        await connection.execute(
            new.on_conflict_do_update(index_elements=[isolations.c.unit], set_={**found, "isolated_at": was})
        )
    if nameless:
        rows = [{**row, "ordered_at": func.now()} for row in nameless]
        await connection.execute(insert(isolations).values(rows).on_conflict_do_nothing())
