"""What a cell tells of the weight of its units and of what keeps it from retiring: exactly what is in its database."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from cell_databases import CellDatabase, CellDatabases
from cell_process import Vendor, running_cell

from cell.ports import StoreLostError
from cell.store.unit_load import UnitLoads
from contract.ids import WalletId
from contract.load import Remains
from contract.slots import ISOLATED_UNIT_FIRST, slot_of


@asynccontextmanager
async def loads_of(database: CellDatabase) -> AsyncIterator[UnitLoads]:
    loads = UnitLoads(database.app_url, cell_id="cell-a")
    try:
        yield loads
    finally:
        await loads.close()


async def remains_of(database: CellDatabase) -> Remains:
    async with loads_of(database) as loads:
        return await loads.remains()


@pytest.fixture
def at_cell(databases: CellDatabases) -> Iterator[Vendor]:
    with running_cell(databases.copy()) as cell, cell.client() as client:
        yield Vendor(client, cell)


async def test_units_are_told_with_their_wallets_entries_and_commands(at_cell: Vendor) -> None:
    busy, quiet = at_cell.open(balance=100), at_cell.open()
    for _ in range(3):
        at_cell.debit(busy, 1)
    async with loads_of(at_cell.cell.database) as loads:
        load = await loads.load(window_s=60)
    told = {unit.unit: (unit.wallets, unit.entries, unit.commands) for unit in load.units}
    assert told == {slot_of(WalletId(busy)): (1, 5, 5), slot_of(WalletId(quiet)): (1, 1, 1)}
    assert [(one.wallet_id, one.commands) for one in load.hot_wallets] == [(busy, 5), (quiet, 1)]
    assert load.database_bytes > 1_000_000


async def test_what_lies_before_the_window_is_no_traffic(at_cell: Vendor) -> None:
    wallet = at_cell.open(balance=1)
    database = at_cell.cell.database
    with database.unprotected() as connection:
        connection.execute("UPDATE entries SET posted_at = posted_at - interval '50 seconds'")
        connection.execute("UPDATE wallets SET posted_at = posted_at - interval '50 seconds'")
    async with loads_of(database) as loads:
        (of_a_minute,), (of_seconds,) = [(await loads.load(window_s=window)).units for window in (60, 10)]
    assert (of_a_minute.commands, of_seconds.commands) == (2, 0)
    assert of_a_minute.unit == slot_of(WalletId(wallet))


async def test_units_that_were_given_away_are_not_told(at_cell: Vendor) -> None:
    wallet = at_cell.open()
    database = at_cell.cell.database
    database.sql("UPDATE unit_state SET state = 'moved', epoch = 2 WHERE unit = %s", slot_of(WalletId(wallet)))
    async with loads_of(database) as loads:
        assert (await loads.load(window_s=60)).units == ()


async def test_isolated_wallets_are_told_with_their_units(at_cell: Vendor) -> None:
    wallet = at_cell.open()
    at_cell.open()
    unit, database = ISOLATED_UNIT_FIRST + 7, at_cell.cell.database
    database.sql("INSERT INTO unit_state (unit, state, epoch) VALUES (%s, 'active', 1)", unit)
    with database.unprotected() as connection:
        connection.execute("UPDATE wallets SET unit = %s WHERE wallet_id = %s", (unit, wallet))
    async with loads_of(database) as loads:
        assert (await loads.isolated()).wallets == ((wallet, unit),)


async def test_what_keeps_a_cell_from_retiring(at_cell: Vendor) -> None:
    database = at_cell.cell.database
    sender, receiver = at_cell.open(balance=10), at_cell.open()
    at_cell.transfer(sender, receiver, 3)
    before = await remains_of(database)
    assert (before.units, before.open_transfers, before.unpublished_events) == (16_384, 0, 0)
    database.sql(
        "INSERT INTO relay_marks (sink, history, next_xid, listening_since) VALUES ('webhooks', 'x', '1', '-infinity')"
    )
    with database.unprotected() as connection:
        connection.execute(
            "INSERT INTO transfers (wallet_id, vendor_id, transaction_id, transfer_id, to_wallet_id, amount, currency, "
            "state, sent_at) SELECT wallet_id, 'acme', wallet_id, wallet_id, wallet_id, 1, 'EUR', 'in_transit', now() "
            "FROM wallets WHERE wallet_id = %s",
            (sender,),
        )
    during = await remains_of(database)
    assert (during.open_transfers, during.unpublished_events) == (1, database.count("entries"))
    database.sql("UPDATE unit_state SET state = 'moved', epoch = 2")
    database.sql("UPDATE relay_marks SET next_xid = pg_current_xact_id()")
    after = await remains_of(database)
    assert after == Remains(
        cell="cell-a",
        units=0,
        open_transfers=0,
        open_groups=0,
        unpublished_events=0,
        undelivered_events=0,
        accounts=before.accounts,
    )
    assert sum(before.accounts["EUR"].values()) == -10, "what came in from outside is kept for the books"


async def test_a_lost_database_is_told_as_such(database: CellDatabase) -> None:
    async with loads_of(CellDatabase(database.scratch, "nowhere")) as loads:
        with pytest.raises(StoreLostError):
            await loads.load(window_s=60)
        with pytest.raises(StoreLostError):
            await loads.remains()
        with pytest.raises(StoreLostError):
            await loads.isolated()
