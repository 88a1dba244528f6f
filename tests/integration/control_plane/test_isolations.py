"""Wallets that get a unit of their own: numbers are given out once, an order is finished by whoever finds it."""

import uuid

import pytest
from running_platform import RunningPlatform, until

from contract.ids import CellId, WalletId
from contract.moves import UnitNow
from contract.slots import ISOLATED_UNIT_FIRST, slot_of
from control_plane.moves.isolating import Isolation, IsolationReason, IsolationRefused
from control_plane.moves.model import MoveRecord
from control_plane.moves.ordering import MoveOrder, MoveRefused, OrderReason
from control_plane.store import isolations
from control_plane.store.database import Database
from control_plane.store.isolations import (
    drop_isolation,
    exiled_slots,
    finish_isolation,
    finish_rejoin,
    order_isolation,
    order_rejoin,
    unfinished_isolations,
)
from control_plane.store.moves import order_move
from control_plane.store.units import owned_runs

W = WalletId("225c4a2f-a5da-57f1-bda4-432f023bc362")
OTHER = WalletId("0306d862-bf23-5948-8714-51ac96a0f984")
HOT = ISOLATED_UNIT_FIRST


async def isolation(database: Database, wallet_id: WalletId = W) -> Isolation:
    async with database.transaction() as connection:
        ordered = await order_isolation(connection, wallet_id, actor="olga", request_id="r-1")
    assert isinstance(ordered, Isolation), ordered
    return ordered


async def finished(database: Database, wallet_id: WalletId = W) -> Isolation:
    ordered = await isolation(database, wallet_id)
    async with database.transaction() as connection:
        await finish_isolation(connection, ordered, UnitNow(unit=ordered.unit, state="active", epoch=1))
    return ordered


async def moved(database: Database, unit: int, to_cell: str) -> MoveRecord | MoveRefused:
    order = MoveOrder(move_id=str(uuid.uuid4()), units=(unit,), to_cell=CellId(to_cell), actor="olga", request_id="r-1")
    async with database.transaction() as connection:
        return await order_move(connection, order)


async def test_an_order_is_kept_until_it_is_finished(born: RunningPlatform, database: Database) -> None:
    ordered = await isolation(database)
    assert (ordered.unit, ordered.state) == (HOT, "isolating")
    assert await isolation(database) == ordered, "the same order again changes nothing"
    async with database.transaction() as connection:
        assert await unfinished_isolations(connection) == (ordered,)


async def test_a_finished_isolation_is_published(born: RunningPlatform, database: Database) -> None:
    ordered = await finished(database)

    async def shown() -> bool:
        document = await born.directory() or {}
        return document.get("isolated") == {W: HOT} and document["unit_cells"] == {str(HOT): ordered.cell}

    await until(shown)
    assert (await born.get(f"/v1/locate/{W}")).json()["unit"] == HOT


async def test_a_number_is_never_given_out_twice(born: RunningPlatform, database: Database) -> None:
    refused = await isolation(database)
    async with database.transaction() as connection:
        await drop_isolation(connection, refused)
    assert (await isolation(database)).unit == HOT + 1
    assert (await isolation(database, OTHER)).unit == HOT + 2


async def test_a_wallet_that_is_back_has_left_its_unit_to_nobody(born: RunningPlatform, database: Database) -> None:
    await finished(database)
    async with database.transaction() as connection:
        leaving = await order_rejoin(connection, W, actor="olga", request_id="r-2")
        assert isinstance(leaving, Isolation)
        await finish_rejoin(connection, leaving)
        again = await order_rejoin(connection, W, actor="olga", request_id="r-3")
        assert isinstance(again, Isolation)
        assert (again.unit, again.state) == (slot_of(W), "rejoined")
        assert all(run.last < HOT for run in await owned_runs(connection))
        assert await exiled_slots(connection) == {slot_of(W)}, "its cell keeps a row that says where it was"
    refused = await moved(database, HOT, "cell-2")
    assert isinstance(refused, MoveRefused)
    assert refused.reason is OrderReason.UNIT_MUST_HAVE_AN_OWNER
    assert (await isolation(database)).unit == HOT + 1


async def test_a_slot_stays_while_a_wallet_is_leaving_it(born: RunningPlatform, database: Database) -> None:
    ordered = await isolation(database)
    target = "cell-2" if ordered.cell == "cell-1" else "cell-1"
    refused = await moved(database, slot_of(W), target)
    assert isinstance(refused, MoveRefused)
    assert refused.reason is OrderReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE


async def test_a_wallet_stays_while_its_slot_moves(born: RunningPlatform, database: Database) -> None:
    cell = (await born.get(f"/v1/locate/{W}")).json()["cell"]
    assert isinstance(await moved(database, slot_of(W), "cell-2" if cell == "cell-1" else "cell-1"), MoveRecord)
    async with database.transaction() as connection:
        refused = await order_isolation(connection, W, actor="olga", request_id="r-1")
    assert isinstance(refused, IsolationRefused)
    assert refused.reason is IsolationReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE


async def test_there_are_only_so_many(
    born: RunningPlatform, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolations, "ISOLATED_UNITS_MAX", 1)
    await finished(database)
    async with database.transaction() as connection:
        refused = await order_isolation(connection, OTHER, actor="olga", request_id="r-1")
    assert isinstance(refused, IsolationRefused)
    assert refused.reason is IsolationReason.ISOLATED_UNITS_MUST_NOT_EXCEED_LIMIT
