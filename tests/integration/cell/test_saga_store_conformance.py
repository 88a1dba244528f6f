"""What a store promises to the loops of transfers and groups: PostgreSQL's for cells, and memory's for simulations."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cell_databases import CellDatabase
from cell_lanes import RunningLanes, running_lanes
from cell_stores import MemoryUnderTest, PostgresUnderTest, StoreUnderTest
from ledger_book import Book

from cell.ledger.commands import SendTransfer, StartGroup
from cell.ledger.footprint import key_of
from cell.ledger.model import Transfer
from cell.store.memory_sagas import MemorySagas
from cell.store.own_connection import OwnConnection
from cell.store.sagas import SagaStore
from contract.ids import WalletId, wallet_id_of
from contract.slots import slot_of

ALICE, FAR = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "far"))


@pytest.fixture
async def lanes(store: StoreUnderTest) -> AsyncIterator[RunningLanes]:
    async with running_lanes(store) as running:  # type: ignore[arg-type]  # it has the face of a LedgerStore
        yield running


@pytest.fixture
async def sagas(store: StoreUnderTest) -> AsyncIterator[Any]:
    if isinstance(store, MemoryUnderTest):
        yield MemorySagas(store.ledger, chance=lambda: 0.5)
        return
    assert isinstance(store, PostgresUnderTest)
    opened = SagaStore(OwnConnection(database_of(store).app_url, name="cell-saga"))
    yield opened
    await opened.close()


def database_of(store: PostgresUnderTest) -> CellDatabase:
    return store._database


def make_due(store: StoreUnderTest) -> None:
    """Everything that is to be tried later is to be tried now."""
    if isinstance(store, MemoryUnderTest):
        clock = store.ledger.clock
        store.ledger.clock = lambda: clock() + 3_600_000_000
        return
    assert isinstance(store, PostgresUnderTest)
    for table in ("transfers", "groups"):
        database_of(store).sql(f"UPDATE {table} SET next_attempt_at = next_attempt_at - interval '1 hour'")  # noqa: S608
    database_of(store).sql("UPDATE holds SET placed_at = placed_at - interval '1 hour'")


async def two_open(lanes: RunningLanes, store: StoreUnderTest, book: Book) -> tuple[SendTransfer, StartGroup]:
    store.set_unit(slot_of(FAR), "moved", epoch=2, peer_cell="cell-b")
    await lanes.open(book, ["alice"], balance=100)
    sent, group = book.transfer(ALICE, FAR, 5), book.group([(ALICE, -3), (FAR, 3)])
    assert await lanes.codes(sent, group) == ["accepted", "accepted"]
    return sent, group


async def test_what_is_open_is_due_when_its_sender_had_time(
    lanes: RunningLanes, sagas: Any, store: StoreUnderTest, book: Book
) -> None:
    sent, group = await two_open(lanes, store, book)
    assert (await sagas.due_transfers(9), await sagas.due_groups(9)) == ([], [])
    assert (await sagas.open())[:2] == (1, 1)
    make_due(store)
    assert [one.key for one in await sagas.due_transfers(9)] == [key_of(sent)]
    assert [one.key for one in await sagas.due_groups(9)] == [key_of(group)]
    assert (await sagas.due_transfers(0), await sagas.due_groups(0)) == ([], [])
    await sagas.try_later("transfers", [key_of(sent)])
    await sagas.try_later("groups", [key_of(group)])
    assert (await sagas.due_transfers(9), await sagas.due_groups(9)) == ([], [])


async def test_what_is_known_is_told_by_its_key(lanes: RunningLanes, sagas: Any, store: Any, book: Book) -> None:
    sent, group = await two_open(lanes, store, book)
    transfer = await sagas.transfer(key_of(sent))
    assert isinstance(transfer, Transfer)
    assert (transfer.amount, transfer.to_wallet_id, transfer.state) == (5, FAR, "in_transit")
    assert (await sagas.group(key_of(group))).group_id == group.group_id
    assert (await sagas.group_by_id(ALICE, group.group_id)).key == key_of(group)
    assert (await sagas.recorded(key_of(sent))).amount == 5
    unknown = key_of(book.transfer(ALICE, FAR, 1))
    assert [await sagas.transfer(unknown), await sagas.group(unknown), await sagas.recorded(unknown)] == [None] * 3
    assert await sagas.group_by_id(FAR, group.group_id) is None
    with pytest.raises(ValueError, match="wallets"):
        await sagas.try_later("wallets", [])


async def test_legs_without_news_are_told_once_they_are_old(
    lanes: RunningLanes, sagas: Any, store: StoreUnderTest, book: Book
) -> None:
    await lanes.open(book, ["alice"], balance=100)
    leg = book.prepare(book.group([(WalletId(FAR), -5), (ALICE, 5)]), ALICE)
    assert await lanes.codes(leg) == ["accepted"]
    assert await sagas.old_legs(older_than_s=30, limit=9) == []
    make_due(store)
    (old,) = await sagas.old_legs(older_than_s=30, limit=9)
    assert (old.key.wallet_id, old.kind) == (ALICE, "pin")


async def test_under_a_fence_nothing_is_this_cells_to_finish(
    lanes: RunningLanes, sagas: Any, store: StoreUnderTest, book: Book
) -> None:
    await two_open(lanes, store, book)
    make_due(store)
    store.freeze(ALICE)
    assert (await sagas.due_transfers(9), await sagas.due_groups(9), await sagas.open()) == ([], [], (0, 0, 0.0))


async def test_what_has_ended_is_not_open(lanes: RunningLanes, sagas: Any, store: StoreUnderTest, book: Book) -> None:
    sent, _ = await two_open(lanes, store, book)
    assert await lanes.codes(book.refund(sent)) == ["accepted"]
    make_due(store)
    assert (await sagas.due_transfers(9), (await sagas.open())[0]) == ([], 0)
