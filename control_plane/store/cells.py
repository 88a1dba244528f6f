"""Cells and their instances: who registered, in which state each cell is, what it may carry."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.configuration import PublicKey
from contract.directory import CellState
from contract.fleet import Registration
from contract.ids import CellId
from contract.values import value
from control_plane.fleet.model import Cell, Instance
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import cells, instances, units
from control_plane.store.units import is_in_use


@value
class ShownCell:
    """A cell, and how many units are assigned to it."""

    cell: Cell
    units: int
    is_filling: bool


async def register(connection: AsyncConnection, registration: Registration) -> Literal["alive", "retired", "other_key"]:
    """Record the sign of life; nudges only when it says something new."""
    seen = await _registered_as(connection, registration)
    if seen is not None and seen.state == "retired":
        return "retired"
    if seen is not None and _shows_another_key(seen, registration):
        return "other_key"
    if seen is not None and _says_nothing_new(seen, registration) and await _touch(connection, registration):
        return "alive"
    if not await _upsert_cell(connection, registration):
        return "other_key"
    await _upsert_instance(connection, registration)
    await nudge(connection)
    return "alive"


async def cells_in_order(connection: AsyncConnection, *, only: CellId | None = None) -> tuple[Cell, ...]:
    """All cells (or one) with their instances, in id order."""
    cell_query, instance_query = select(cells).order_by(cells.c.id), select(instances).order_by(instances.c.url)
    if only is not None:
        cell_query = cell_query.where(cells.c.id == only)
        instance_query = instance_query.where(instances.c.cell == only)
    instance_rows = (await connection.execute(instance_query)).all()
    return tuple(_cell(row, instance_rows) for row in (await connection.execute(cell_query)).all())


async def shown_cells(connection: AsyncConnection) -> tuple[ShownCell, ...]:
    """All cells, in id order."""
    counts = await _unit_counts(connection, only=None)
    filling = await _filling(connection)
    return tuple(
        ShownCell(cell=cell, units=counts.get(cell.id, 0), is_filling=cell.id in filling)
        for cell in await cells_in_order(connection)
    )


async def shown_cell(connection: AsyncConnection, cell: CellId) -> ShownCell | None:
    found = await cells_in_order(connection, only=cell)
    counts = await _unit_counts(connection, only=cell)
    if not found:
        return None
    return ShownCell(cell=found[0], units=counts.get(cell, 0), is_filling=cell in await _filling(connection))


async def is_known(connection: AsyncConnection, cell: CellId) -> bool:
    return (await connection.execute(select(cells.c.id).where(cells.c.id == cell))).first() is not None


async def change_state(connection: AsyncConnection, cell: CellId, *, seen: CellState, following: CellState) -> bool:
    """Compare-and-set; False when the cell is no longer in the state that was seen."""
    changed = await connection.execute(
        update(cells)
        .where(cells.c.id == cell, cells.c.state == seen)
        .values(state=following, state_changed_at=func.now())
    )
    return changed.rowcount == 1


async def forget_instance(connection: AsyncConnection, cell: CellId, instance: Instance) -> bool:
    """False when it has shown a sign of life since."""
    forgotten = await connection.execute(
        delete(instances).where(
            instances.c.cell == cell, instances.c.url == instance.url, instances.c.seen_at == instance.seen_at
        )
    )
    return forgotten.rowcount == 1


async def forget_key(connection: AsyncConnection, cell: CellId, *, actor: str, request_id: str) -> bool:
    """The next key that the cell shows becomes its own; False when there is no such cell."""
    await lock_fleet(connection)
    before = (await connection.execute(select(cells.c.public_key).where(cells.c.id == cell))).first()
    if before is None:
        return False
    if before.public_key is not None:
        await connection.execute(update(cells).where(cells.c.id == cell).values(public_key=None))
        await record_change(
            connection,
            actor=actor,
            subject=f"cell:{cell}",
            before={"public_key": before.public_key},
            after={"public_key": None},
            request_id=request_id,
        )
        await nudge(connection)
    return True


async def _unit_counts(connection: AsyncConnection, *, only: CellId | None) -> dict[CellId, int]:
    query = select(units.c.cell, func.count().label("units")).where(is_in_use()).group_by(units.c.cell)
    if only is not None:
        query = query.where(units.c.cell == only)
    return {CellId(row.cell): row.units for row in (await connection.execute(query)).all()}


async def _filling(connection: AsyncConnection) -> frozenset[CellId]:
    query = select(cells.c.id).where(cells.c.filling_since.is_not(None))
    return frozenset(CellId(row.id) for row in (await connection.execute(query)).all())


async def _registered_as(connection: AsyncConnection, registration: Registration) -> Row[Any] | None:
    query = (
        select(cells.c.state, cells.c.home_zone, cells.c.public_key, instances)
        .join_from(
            cells,
            instances,
            (instances.c.cell == cells.c.id) & (instances.c.url == registration.instance.url),
            isouter=True,
        )
        .where(cells.c.id == registration.id)
    )
    return (await connection.execute(query)).first()


def _shows_another_key(seen: Row[Any], registration: Registration) -> bool:
    """A process that shows none (an older version) says nothing against the one that is known."""
    return None not in (seen.public_key, registration.public_key) and seen.public_key != _stored(
        registration.public_key
    )


def _stored(key: PublicKey | None) -> dict[str, Any] | None:
    return None if key is None else key.model_dump(mode="json")


def _says_nothing_new(seen: Row[Any], registration: Registration) -> bool:
    if seen.public_key is None and registration.public_key is not None:
        return False
    before = (seen.home_zone, seen.zone, seen.admin_url, seen.schema_revision, seen.software_version)
    return before == (
        registration.home_zone,
        registration.instance.zone,
        registration.admin_url,
        registration.schema_revision,
        registration.software_version,
    )


async def _touch(connection: AsyncConnection, registration: Registration) -> bool:
    touched = await connection.execute(
        update(instances)
        .where(instances.c.cell == registration.id, instances.c.url == registration.instance.url)
        .values(seen_at=func.now())
    )
    return touched.rowcount == 1


async def _upsert_cell(connection: AsyncConnection, registration: Registration) -> bool:
    """False when another process of the cell showed another key in the meantime."""
    new = insert(cells).values(
        id=registration.id,
        state="registered",
        home_zone=registration.home_zone,
        registered_at=func.now(),
        state_changed_at=func.now(),
        public_key=_stored(registration.public_key),
    )
    written = await connection.execute(
        new.on_conflict_do_update(
            index_elements=[cells.c.id],
            set_={
                "home_zone": new.excluded.home_zone,
                "public_key": func.coalesce(cells.c.public_key, new.excluded.public_key),
            },
            where=cells.c.public_key.is_(None)
            | new.excluded.public_key.is_(None)
            | (cells.c.public_key == new.excluded.public_key),
        ).returning(cells.c.id)
    )
    return written.first() is not None


async def _upsert_instance(connection: AsyncConnection, registration: Registration) -> None:
    details = {
        "zone": registration.instance.zone,
        "admin_url": registration.admin_url,
        "schema_revision": registration.schema_revision,
        "software_version": registration.software_version,
        "first_seen_at": func.now(),
        "seen_at": func.now(),
    }
    new = insert(instances).values(cell=registration.id, url=registration.instance.url, **details)
    await connection.execute(
        new.on_conflict_do_update(index_elements=[instances.c.cell, instances.c.url], set_=details)
    )


def _cell(row: Row[Any], instance_rows: Sequence[Row[Any]]) -> Cell:
    return Cell(
        id=CellId(row.id),
        state=row.state,
        home_zone=row.home_zone,
        capacity_per_s=row.capacity_per_s,
        public_key=None if row.public_key is None else PublicKey.model_validate(row.public_key),
        instances=tuple(
            Instance(
                url=instance.url,
                zone=instance.zone,
                admin_url=instance.admin_url,
                schema_revision=instance.schema_revision,
                software_version=instance.software_version,
                first_seen_at=instance.first_seen_at,
                seen_at=instance.seen_at,
            )
            for instance in instance_rows
            if instance.cell == row.id
        ),
    )
