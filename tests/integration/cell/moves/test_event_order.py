"""A moved wallet's events keep their order over all cells that had it; nothing waits for ever but for a silence."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from cell_databases import CellDatabase, CellDatabases
from cell_waiting import until
from event_log import Listener, event_store, relay_of
from ledger_book import Book
from moving_cells import OPERATOR, MovingCell, done, mover, moving_cell, refused
from receiver import Got, Receiver
from webhook_side import Side, webhook

from cell.background.relay import Relay
from cell.event_order import ABSENT_S, EventOrder
from contract.ids import WalletId, wallet_id_of
from contract.slots import slot_of

ALICE, BOB = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob"))
UNIT = slot_of(ALICE)


class Hasty(Relay):
    """The mutant: it tells what it has, whoever had the wallet before."""

    async def _limits(self, wallet_ids: Sequence[str]) -> Mapping[str, int]:
        del wallet_ids
        return {}


class Fleet:
    """Three cells whose relays tell one listener; each is driven by hand."""

    def __init__(self, cells: Sequence[MovingCell], book: Book, kind: type[Relay] = Relay) -> None:
        self.cells = {cell.name[-1]: cell for cell in cells}
        self.book = book
        self.heard = Listener()
        self.stores = {name: event_store(cell.database) for name, cell in self.cells.items()}
        self.relays = {name: relay_of(store, self.heard, kind=kind, page=3) for name, store in self.stores.items()}
        self.epochs: dict[int, int] = {}
        self.owners: dict[int, str] = {}
        self.at_s = 0.0
        for cell in cells:
            cell.event_order._clock_s = self.clock_s

    def clock_s(self) -> float:
        """Every question is due whenever it is asked."""
        self.at_s += 20.0
        return self.at_s

    async def begin(self, *refs: str) -> None:
        await self.cells["a"].running.open(self.book, refs, balance=1_000)
        await self.tell("a", "b", "c")

    async def post(self, name: str, wallet_id: WalletId = ALICE, times: int = 1) -> None:
        for _ in range(times):
            assert await self.cells[name].running.codes(self.book.debit(wallet_id, 1)) == ["accepted"]

    async def tell(self, *names: str) -> None:
        for name in names:
            await self.relays[name].round()

    async def look(self, *names: str) -> None:
        for name in names:
            await self.cells[name].event_order.look()

    async def move(self, to: str, unit: int = UNIT) -> None:
        """From wherever it is."""
        source, epoch = self.owners.get(unit, "a"), self.epochs.get(unit, 1) + 1
        async with mover(self.cells[source], self.cells[to], [unit], epoch=epoch) as move:
            await move.whole()
        self.owners[unit], self.epochs[unit] = to, epoch

    async def settle(self) -> None:
        """Until nobody waits any more."""

        async def is_settled() -> bool:
            await self.tell(*self.cells)
            await self.look(*self.cells)
            return not any(cell.database.count("event_waits") for cell in self.cells.values())

        await until(is_settled)
        await self.tell(*self.cells)

    def assert_in_order(self, wallet_id: WalletId, seq: int) -> None:
        assert self.heard.of(wallet_id) == list(range(1, seq + 1))

    def waits_of(self, name: str) -> int:
        return int(self.cells[name].database.one("SELECT count(*) FROM event_waits WHERE NOT is_over"))

    async def close(self) -> None:
        for store in self.stores.values():
            await store.close()


@pytest.fixture
async def three(databases: CellDatabases, database: CellDatabase) -> AsyncIterator[list[MovingCell]]:
    """cell-a owns every slot."""
    others = [databases.copy(has_units=False) for _ in range(2)]
    async with AsyncExitStack() as stack:
        cells = [
            await stack.enter_async_context(moving_cell(name, of_cell))
            for name, of_cell in zip(("cell-a", "cell-b", "cell-c"), (database, *others), strict=True)
        ]
        yield cells
        for cell in cells:
            await cell.assert_clean()
    for of_cell in others:
        databases.drop(of_cell)


@pytest.fixture
async def fleet(three: list[MovingCell], book: Book) -> AsyncIterator[Fleet]:
    fleet = Fleet(three, book)
    yield fleet
    await fleet.close()


# Order.


async def ahead_of_its_source(fleet: Fleet) -> list[int]:
    """What is heard of a wallet whose new owner is quicker to tell than the old one; the end of it is told as well."""
    await fleet.begin("alice")
    await fleet.post("a", times=5)
    await fleet.move("b")
    await fleet.post("b", times=8)
    for _ in range(2):
        await fleet.look("b")
        await fleet.tell("b")
    await fleet.tell("a")
    await fleet.look("b")
    await fleet.tell("b", "b")
    return fleet.heard.of(ALICE)


async def test_the_new_owner_tells_nothing_before_the_old_one_has_told_its_last(fleet: Fleet) -> None:
    assert await ahead_of_its_source(fleet) == list(range(1, 16))
    assert fleet.cells["b"].database.count("event_waits") == 0
    await fleet.post("b")
    await fleet.tell("b")
    fleet.assert_in_order(ALICE, 16)
    await fleet.look("b")
    assert [fleet.cells["b"].database.count(table) for table in ("received_units", "event_waits_passed_on")] == [0, 0]


async def test_the_mutant_that_does_not_wait_is_ahead(three: list[MovingCell], book: Book) -> None:
    hasty = Fleet(three, book, Hasty)
    heard = await ahead_of_its_source(hasty)
    assert heard[:2] == [1, 2]
    assert heard[2] > 7, "the old owner's were still to come"
    await hasty.close()


async def test_other_wallets_of_the_new_owner_do_not_wait(fleet: Fleet) -> None:
    await fleet.begin("alice", "bob")
    await fleet.move("b", slot_of(BOB))
    await fleet.settle()
    await fleet.post("a")
    await fleet.move("b")
    await fleet.post("b")
    await fleet.post("b", BOB, times=3)
    await fleet.tell("b")
    assert (fleet.heard.of(ALICE), fleet.heard.of(BOB)) == ([1, 2], [1, 2, 3, 4, 5])


async def test_there_and_back_and_on_to_a_third_the_waits_follow_one_another(fleet: Fleet) -> None:
    await fleet.begin("alice")
    for name in "abacb":
        if fleet.owners.get(UNIT, "a") != name:
            await fleet.move(name)
        await fleet.post(name, times=4)
    for name in "bcb":
        await fleet.look("a", "b", "c")
        await fleet.tell(name)
    assert fleet.heard.of(ALICE) == [1, 2], "the first owner has not told its first"
    await fleet.settle()
    fleet.assert_in_order(ALICE, 22)


async def test_what_passes_through_a_cell_that_writes_nothing_waits_for_those_before_it(fleet: Fleet) -> None:
    await fleet.begin("alice")
    await fleet.post("a")
    await fleet.move("b")
    await fleet.move("c")
    await fleet.post("c")
    await fleet.look("c")
    await fleet.tell("b", "c")
    assert fleet.heard.of(ALICE) == [1, 2]
    await fleet.settle()
    fleet.assert_in_order(ALICE, 4)


async def test_cells_that_gave_it_to_each_other_do_not_wait_in_a_ring(fleet: Fleet) -> None:
    await fleet.begin("alice")
    for name in "babab":
        await fleet.move(name)
    await fleet.post("b")
    await fleet.settle()
    fleet.assert_in_order(ALICE, 3)


@pytest.mark.parametrize("number", range(3))
async def test_whatever_moves_and_whoever_lags(fleet: Fleet, number: int) -> None:
    chance = random.Random(random.random() + number)
    await fleet.begin("alice", "bob")
    seqs = {ALICE: 2, BOB: 2}
    for _ in range(25):
        wallet_id = chance.choice([ALICE, BOB])
        unit, name = slot_of(wallet_id), chance.choice("abc")
        owner = fleet.owners.get(unit, "a")
        match chance.choice(["post", "post", "move", "tell", "look"]):
            case "post":
                times = chance.randint(1, 5)
                await fleet.post(owner, wallet_id, times)
                seqs[wallet_id] += times
            case "move" if name != owner:
                await fleet.move(name, unit)
            case "tell":
                await fleet.tell(name)
            case _:
                await fleet.look(name)
    await fleet.settle()
    for wallet_id, seq in seqs.items():
        fleet.assert_in_order(wallet_id, seq)


async def test_an_isolated_wallet_takes_its_waits_along(fleet: Fleet) -> None:
    alone = 70_001
    await fleet.begin("alice")
    await fleet.post("a")
    await fleet.move("b")
    await fleet.cells["b"].moves.isolation.isolate(ALICE, alone)  # type: ignore[arg-type]  # a number like a unit's
    fleet.owners[alone] = "b"
    await fleet.move("c", alone)
    await fleet.post("c")
    await fleet.look("c")
    await fleet.tell("c")
    assert fleet.heard.of(ALICE) == [1, 2]
    await fleet.settle()
    fleet.assert_in_order(ALICE, 4)


# Who is waited for, and for how long.


async def test_whoever_takes_over_after_a_death_waits_on(fleet: Fleet) -> None:
    await fleet.begin("alice")
    await fleet.post("a")
    await fleet.move("b")
    await fleet.post("b")
    successor = relay_of(event_store(fleet.cells["b"].database), fleet.heard)
    await successor.round()
    assert fleet.heard.of(ALICE) == [1, 2]
    await fleet.tell("a")
    await fleet.look("b")
    await successor.round()
    fleet.assert_in_order(ALICE, 4)
    await successor._store.close()


async def test_where_nobody_listened_there_is_nothing_to_wait_for(fleet: Fleet) -> None:
    """The old owner has no broker; the new one has."""
    await fleet.cells["a"].running.open(fleet.book, ["alice"], balance=100)
    await fleet.tell("b")
    await fleet.move("b")
    await fleet.post("b")
    await fleet.tell("b")
    assert fleet.heard.of(ALICE) == []
    await fleet.look("b")
    await fleet.tell("b")
    assert fleet.heard.of(ALICE) == [3]


async def test_a_broker_that_was_taken_away_is_waited_for_no_more(fleet: Fleet) -> None:
    await fleet.begin("alice")
    await fleet.post("a")
    await fleet.move("b")
    await fleet.post("b")
    await fleet.look("b")
    assert fleet.waits_of("b") == 1
    a = fleet.cells["a"]
    await a.event_order.duty(database_url=a.database.app_url, has_broker=False, metrics=a.running.metrics)._work()
    await fleet.look("b")
    await fleet.tell("b")
    assert fleet.heard.of(ALICE) == [1, 2, 4]


async def test_a_cell_that_is_silent_is_waited_for_until_an_operator_lets_it_go(fleet: Fleet) -> None:
    await fleet.begin("alice")
    await fleet.post("a")
    await fleet.move("b")
    await fleet.post("b")
    b = fleet.cells["b"]
    b.database.sql("UPDATE received_units SET source_admin_urls = '[\"http://127.0.0.1:9\"]'")
    for _ in range(3):
        await fleet.look("b")
        await fleet.tell("b")
    assert fleet.heard.of(ALICE) == [1, 2]
    assert b.running.figure("cell_events_kept_back_wallets") == 1
    async with httpx.AsyncClient(base_url=b.url, headers=OPERATOR) as client:
        (wait,) = (await client.get("/admin/event_waits")).json()["waits"]
        assert (wait["cell"], wait["units"], wait["wallets"]) == ("cell-a", 1, 1)
        assert (await client.post("/admin/event_waits/release", json={"cell": "cell-c"})).json() == {"waits": 0}
        assert (await client.post("/admin/event_waits/release", json={"cell": "cell-a"})).json()["waits"] == 2
    await fleet.tell("b")
    assert fleet.heard.of(ALICE) == [1, 2, 4]
    await fleet.look("b")
    assert b.running.figure("cell_events_kept_back_wallets") == 0


async def test_a_retired_cell_has_told_everything(fleet: Fleet) -> None:
    await fleet.begin("alice")
    await fleet.move("b")
    await fleet.post("b")
    b = fleet.cells["b"]
    b.database.sql("UPDATE received_units SET source_admin_urls = '[\"http://127.0.0.1:9\"]'")
    peers = {name: key for name, key in b.configuration.peers.items() if name != "cell-a"}
    b.configuration = b.configuration.model_copy(update={"peers": peers})
    await fleet.look("b")
    assert fleet.waits_of("b") == 2, "it may be changing its key"
    fleet.at_s += ABSENT_S
    await fleet.look("b")
    await fleet.tell("b")
    fleet.assert_in_order(ALICE, 3)


async def test_a_cell_says_nothing_of_a_unit_that_it_has_not_given_away(fleet: Fleet) -> None:
    await fleet.begin("alice")
    asked = {"unit": UNIT, "epoch": 2, "sink": "broker", "positions": [[ALICE, 2]]}
    async with httpx.AsyncClient(base_url=fleet.cells["a"].url, headers=OPERATOR) as client:
        assert (await client.post("/admin/published", json=asked)).json() == {"wallets": []}
        await fleet.move("b")
        assert (await client.post("/admin/published", json=asked)).json() == {"wallets": [ALICE]}
        assert (await client.post("/admin/published", json={**asked, "epoch": 3})).json() == {"wallets": []}
        stranger = {"authorization": "Bearer nobody"}
        assert (await client.post("/admin/published", json=asked, headers=stranger)).status_code == 401


# What waits for it.


async def test_rows_stay_until_their_events_are_told(fleet: Fleet) -> None:
    await fleet.begin("alice")
    await fleet.post("a")
    a, b = fleet.cells["a"], fleet.cells["b"]
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
        assert refused(await move.outgoing("clean")) == "events_must_be_published"
        assert a.database.count("cleanups") == 0
        await fleet.tell("a")
        while done(await move.outgoing("clean"))["left"]:
            pass
    assert a.database.count("entries") == 0
    await fleet.post("b")
    await fleet.settle()
    fleet.assert_in_order(ALICE, 4)


async def test_rows_stay_while_what_was_written_here_waits_for_the_cell_before(fleet: Fleet) -> None:
    await fleet.begin("alice")
    await fleet.post("a")
    await fleet.move("b")
    await fleet.post("b")
    b, c = fleet.cells["b"], fleet.cells["c"]
    async with mover(b, c, [UNIT], epoch=3) as move:
        await move.whole()
        await fleet.tell("b")
        assert refused(await move.outgoing("clean")) == "events_must_be_published"
        assert (await _remains(b))["unpublished_events"] > 0
        await fleet.settle()
        done(await move.outgoing("clean"))
    fleet.assert_in_order(ALICE, 4)


async def _remains(cell: MovingCell) -> Any:
    async with httpx.AsyncClient(base_url=cell.url, headers=OPERATOR) as client:
        return (await client.get("/admin/remains")).json()


# Webhooks: told is what arrived, or what is a dead letter.


@pytest.fixture
async def sides(three: list[MovingCell]) -> AsyncIterator[list[Side]]:
    sides = [Side(cell.database, cell_id=cell.name) for cell in three]
    yield sides
    for side in sides:
        await side.stop()


async def begun(fleet: Fleet, sides: Sequence[Side], receiver: Receiver) -> None:
    for side in sides:
        side.configure(webhook(receiver.url))
        await side.relay.round()
    await fleet.cells["a"].running.open(fleet.book, ["alice"], balance=100)


async def test_what_is_still_on_its_way_to_a_webhook_is_waited_for(fleet: Fleet, sides: list[Side]) -> None:
    a, b, _ = sides
    async with Receiver() as receiver:
        await begun(fleet, sides, receiver)
        await a.relay.round()
        await fleet.move("b")
        await fleet.post("b", times=2)
        await fleet.look("b")
        await b.rounds()
        assert receiver.got == []
        await a.rounds()
        await fleet.look("b")
        await b.rounds()
        assert receiver.seqs(ALICE) == [1, 2, 3, 4]
        assert [got.event["cell"] for got in receiver.got] == ["cell-a"] * 2 + ["cell-b"] * 2


async def test_a_dead_letter_is_waited_for_no_longer_than_within_a_cell(fleet: Fleet, sides: list[Side]) -> None:
    a, b, _ = sides

    async def answer(got: Got) -> int:
        return 503 if got.event["seq"] == 2 else 204

    async with Receiver() as receiver:
        receiver.answer = answer
        await begun(fleet, sides, receiver)
        await fleet.move("b")
        await fleet.post("b")

        async def is_dead() -> bool:
            await fleet.look("b")
            await b.rounds()
            assert 3 not in receiver.seqs(ALICE)
            await a.rounds()
            dead = "SELECT count(*) FROM webhook_deliveries WHERE dead_at IS NOT NULL"
            return bool(fleet.cells["a"].database.one(dead))

        await until(is_dead)
        await fleet.look("b")
        await b.rounds()
        assert receiver.seqs(ALICE) == [1, 2, 2, 2, 3]


async def test_the_duty_asks_by_itself(fleet: Fleet, three: list[MovingCell]) -> None:
    await fleet.begin("alice")
    await fleet.move("b")
    await fleet.post("b")
    order: EventOrder = three[1].event_order
    url, metrics = three[1].database.app_url, three[1].running.metrics
    running = asyncio.create_task(order.duty(database_url=url, has_broker=True, metrics=metrics).run())

    async def is_told() -> bool:
        await fleet.tell("b")
        return fleet.heard.of(ALICE) == [1, 2, 3]

    await until(is_told)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
