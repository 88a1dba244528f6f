"""Wallets with a unit of their own: ordered here, done by the cell, then recorded. A number is never used twice.

An order is recorded before the cell hears of it, so that whoever finds it unfinished can carry it through.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.ids import CellId, WalletId
from contract.moves import UnitNow
from contract.slots import ISOLATED_UNIT_FIRST, ISOLATED_UNITS_MAX, slot_of
from control_plane.moves.isolating import (
    Isolation,
    IsolationRefused,
    IsolationState,
    IsolationView,
    Place,
    isolate_refusal,
    rejoin_refusal,
)
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import directories, isolated_wallets, isolations, move_units, units

NOBODY: Final = ""
"""Stands for the wallet of a unit of which only the number is known: found in a cell by a rebuild, left long ago."""
OPEN_RESULTS: Final = ("waiting", "in_hand")


async def order_isolation(
    connection: AsyncConnection, wallet_id: WalletId, *, actor: str, request_id: str
) -> Isolation | IsolationRefused:
    """The isolation as it is or as it is to be; the same order again gives the same one."""
    await lock_fleet(connection)
    view = await _view(connection, wallet_id)
    refusal = isolate_refusal(view)
    if refusal is not None:
        return refusal
    if view.isolation is not None:
        return view.isolation
    unit = await _unused_unit(connection)
    await connection.execute(insert(isolations).values(unit=unit, wallet_id=wallet_id, ordered_at=func.now()))
    await _tell(connection, wallet_id, before=None, after={"unit": unit}, actor=actor, request_id=request_id)
    return await _isolation(connection, wallet_id) or _must_be_there(wallet_id)


async def order_rejoin(
    connection: AsyncConnection, wallet_id: WalletId, *, actor: str, request_id: str
) -> Isolation | IsolationRefused:
    """None is ordered for a wallet that is in its slot: that is where it was to come."""
    await lock_fleet(connection)
    view = await _view(connection, wallet_id)
    refusal = rejoin_refusal(view)
    if refusal is not None:
        return refusal
    if view.isolation is None:
        return Isolation(wallet_id=wallet_id, unit=view.slot.unit, cell=view.slot.cell, state="rejoined")
    if view.isolation.state == "isolated":
        ordered = update(isolations).where(isolations.c.unit == view.isolation.unit)
        await connection.execute(ordered.values(rejoin_ordered_at=func.now()))
        before = {"unit": view.isolation.unit}
        await _tell(connection, wallet_id, before=before, after={"unit": None}, actor=actor, request_id=request_id)
    return await _isolation(connection, wallet_id) or _must_be_there(wallet_id)


async def finish_isolation(connection: AsyncConnection, isolation: Isolation, now: UnitNow) -> None:
    """The cell has the wallet in its unit: the next directory says so."""
    await lock_fleet(connection)
    owned = {"unit": isolation.unit, "cell": isolation.cell, "epoch": now.epoch or 1}
    await connection.execute(upsert(units).values(**owned).on_conflict_do_nothing())
    listed = {"wallet_id": isolation.wallet_id, "unit": isolation.unit}
    await connection.execute(upsert(isolated_wallets).values(**listed).on_conflict_do_nothing())
    done = update(isolations).where(isolations.c.unit == isolation.unit, isolations.c.isolated_at.is_(None))
    await connection.execute(done.values(isolated_at=func.now()))
    await nudge(connection)


async def finish_rejoin(connection: AsyncConnection, isolation: Isolation) -> None:
    await lock_fleet(connection)
    await connection.execute(delete(isolated_wallets).where(isolated_wallets.c.unit == isolation.unit))
    await _end(connection, isolation)
    await nudge(connection)


async def drop_isolation(connection: AsyncConnection, isolation: Isolation) -> None:
    """The cell has refused: the wallet stays in its slot, and the number is used up."""
    await _end(connection, isolation)


async def drop_rejoin(connection: AsyncConnection, isolation: Isolation) -> None:
    """The cell has refused: the wallet stays in its unit."""
    kept = update(isolations).where(isolations.c.unit == isolation.unit, isolations.c.ended_at.is_(None))
    await connection.execute(kept.values(rejoin_ordered_at=None))


async def unfinished_isolations(connection: AsyncConnection) -> tuple[Isolation, ...]:
    unfinished = isolations.c.isolated_at.is_(None) | isolations.c.rejoin_ordered_at.is_not(None)
    query = select(isolations.c.wallet_id).where(isolations.c.ended_at.is_(None), unfinished)
    wallets = (await connection.execute(query.order_by(isolations.c.unit))).scalars().all()
    found = [await _isolation(connection, WalletId(wallet)) for wallet in wallets]
    return tuple(isolation for isolation in found if isolation is not None)


async def exiled_slots(connection: AsyncConnection) -> frozenset[int]:
    """Slots that a wallet has ever left for a unit of its own: their cells keep rows that say so."""
    named = select(isolations.c.wallet_id).where(isolations.c.wallet_id != NOBODY).distinct()
    wallets = (await connection.execute(named)).scalars().all()
    return frozenset(slot_of(WalletId(wallet)) for wallet in wallets)


async def _end(connection: AsyncConnection, isolation: Isolation) -> None:
    ended = update(isolations).where(isolations.c.unit == isolation.unit, isolations.c.ended_at.is_(None))
    await connection.execute(ended.values(ended_at=func.now()))


async def _unused_unit(connection: AsyncConnection) -> int:
    """Above every number that was ever given out here or was found in a cell."""
    given = select(func.max(isolations.c.unit)).scalar_subquery()
    known = select(func.max(units.c.unit)).scalar_subquery()
    query = select(func.greatest(given, known, ISOLATED_UNIT_FIRST - 1) + 1)
    return int((await connection.execute(query)).scalar_one())


async def _view(connection: AsyncConnection, wallet_id: WalletId) -> IsolationView:
    published = (await connection.execute(select(directories.c.version).limit(1))).first()
    count = int((await connection.execute(_open_count())).scalar_one())
    isolation = await _isolation(connection, wallet_id)
    return IsolationView(
        is_published=published is not None,
        slot=await _place(connection, slot_of(wallet_id)),
        isolation=isolation,
        unit=None if isolation is None else await _place(connection, isolation.unit),
        has_room=count < ISOLATED_UNITS_MAX,
    )


def _open_count() -> Select[int]:
    return select(func.count()).select_from(isolations).where(isolations.c.ended_at.is_(None))


async def _place(connection: AsyncConnection, unit: int) -> Place:
    in_move = move_units.c.result.in_(OPEN_RESULTS)
    query = (
        select(units.c.cell, units.c.epoch, units.c.is_moving, move_units.c.move_id)
        .join_from(units, move_units, (move_units.c.unit == units.c.unit) & in_move, isouter=True)
        .where(units.c.unit == unit)
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return Place(unit=unit, cell=CellId(""), epoch=0)
    return Place(unit=unit, cell=CellId(row.cell), epoch=row.epoch, move_id=row.move_id)


async def _isolation(connection: AsyncConnection, wallet_id: WalletId) -> Isolation | None:
    query = select(isolations).where(isolations.c.wallet_id == wallet_id, isolations.c.ended_at.is_(None))
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    if row.isolated_at is None:
        place = await _place(connection, slot_of(wallet_id))
        return Isolation(wallet_id=wallet_id, unit=row.unit, cell=place.cell, state="isolating")
    place = await _place(connection, row.unit)
    state: IsolationState = "isolated" if row.rejoin_ordered_at is None else "rejoining"
    return Isolation(wallet_id=wallet_id, unit=row.unit, cell=place.cell, epoch=place.epoch, state=state)


async def _tell(
    connection: AsyncConnection,
    wallet_id: WalletId,
    *,
    before: Mapping[str, int | None] | None,
    after: Mapping[str, int | None] | None,
    actor: str,
    request_id: str,
) -> None:
    await record_change(
        connection, actor=actor, subject=f"wallet:{wallet_id}", before=before, after=after, request_id=request_id
    )


def _must_be_there(wallet_id: WalletId) -> Isolation:
    raise RuntimeError(f"the isolation of {wallet_id} was written and is not there")
