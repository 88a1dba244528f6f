"""Which cell each unit is assigned to. Changed only under the fleet's lock, each unit by compare-and-set."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, bindparam, cast, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.ids import WalletId
from contract.slots import slot_of
from control_plane.fleet.model import OwnedRun
from control_plane.fleet.placement import Share
from control_plane.fleet.publish import UnitChange
from control_plane.store.locks import lock_fleet
from control_plane.store.tables import directories, fleet, isolated_wallets, isolations, units


async def owned_runs(connection: AsyncConnection) -> tuple[OwnedRun, ...]:
    """All units, consecutive ones of equal owner, epoch and transition as one run. Not those that a wallet has left."""
    alike = (units.c.cell, units.c.epoch, units.c.is_moving)
    position = func.row_number().over(partition_by=alike, order_by=units.c.unit)
    islands = select(units, (units.c.unit - position).label("island")).where(is_in_use()).subquery()
    first = func.min(islands.c.unit)
    query = (
        select(first.label("first"), func.max(islands.c.unit).label("last"))
        .add_columns(islands.c.cell, islands.c.epoch, islands.c.is_moving)
        .group_by(islands.c.cell, islands.c.epoch, islands.c.is_moving, islands.c.island)
        .order_by(first)
    )
    return tuple(OwnedRun(**row._asdict()) for row in (await connection.execute(query)).all())


def is_in_use() -> ColumnElement[bool]:
    """A wallet that went back to its slot left its isolated unit to nobody; the number stays taken."""
    left = select(isolations.c.unit).where(isolations.c.unit == units.c.unit, isolations.c.ended_at.is_not(None))
    return ~left.exists()


async def isolated_units(connection: AsyncConnection) -> dict[str, int]:
    query = select(isolated_wallets.c.wallet_id, isolated_wallets.c.unit)
    return {row.wallet_id: row.unit for row in (await connection.execute(query)).all()}


async def assign_first_units(connection: AsyncConnection, shares: Sequence[Share]) -> bool:
    """False when units have been assigned before: that is decided once in the life of a fleet."""
    await lock_fleet(connection)
    if (await connection.execute(select(units.c.unit).limit(1))).first() is not None:
        return False
    for share in shares:
        slots = select(func.generate_series(share.first, share.last), literal(share.cell), literal(1))
        await connection.execute(insert(units).from_select(["unit", "cell", "epoch"], slots))
    await connection.execute(update(fleet).values(units_assigned_at=func.now()))
    return True


async def change_units(connection: AsyncConnection, changes: Sequence[UnitChange]) -> bool:
    """All changes or none; False when a unit is not at the epoch that its change starts from."""
    numbers = sorted(change.unit for change in changes)
    query = select(units.c.unit, units.c.epoch).where(units.c.unit.in_(numbers)).order_by(units.c.unit)
    epochs = {row.unit: row.epoch for row in (await connection.execute(query.with_for_update())).all()}
    if any(epochs.get(change.unit) != change.from_epoch for change in changes):
        return False
    if changes:
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("cell", "epoch", "is_moving")}
        write = update(units).where(units.c.unit == bindparam("of_unit")).values(**values)
        await connection.execute(write, [_new_row(change) for change in changes])
    return True


def _new_row(change: UnitChange) -> dict[str, object]:
    return {
        "of_unit": change.unit,
        "new_cell": change.cell,
        "new_epoch": change.epoch,
        "new_is_moving": change.is_moving,
    }


async def unit_of(connection: AsyncConnection, wallet_id: WalletId) -> Row[Any] | None:
    """`(unit, cell, epoch, is_moving)` of the wallet; None while no directory has been published."""
    isolated = select(isolated_wallets.c.unit).where(isolated_wallets.c.wallet_id == wallet_id).scalar_subquery()
    query = select(units).where(
        units.c.unit == func.coalesce(isolated, cast(slot_of(wallet_id), Integer)),
        select(directories.c.version).exists(),
    )
    return (await connection.execute(query)).first()
