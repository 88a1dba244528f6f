"""Holds whose time is over: ended once by whoever has the duty, and by a capture or by the expiry, never by both."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from cell_databases import CellDatabase
from cell_lanes import RunningLanes, code, running_lanes
from cell_stores import PostgresUnderTest, postgres_ledger
from cell_waiting import until
from ledger_book import Book

from cell.background.expiry import BATCH_MAX, Expiry
from cell.ledger.commands import PlaceHold
from cell.ledger.footprint import Footprint
from cell.ledger.view import Loaded
from cell.ports import LedgerSession
from cell.queries import Queries
from contract.ids import WalletId

PAIRS = 60
"""Holds of one race."""
RACES_MAX = 20


@asynccontextmanager
async def expiring(database: CellDatabase, running: RunningLanes) -> AsyncIterator[Expiry]:
    queries = Queries(
        database.app_url, connections_max=2, wait_max_ms=1_000, statement_timeout_ms=3_000, connect_timeout_s=3
    )
    queries.start()
    try:
        yield Expiry(database_url=database.app_url, reads=queries, lanes=running.lanes, metrics=running.metrics)
    finally:
        await queries.stop()


async def until_over(database: CellDatabase, *, early_s: float = 0.0) -> None:
    """Every hold's time is over by the database's clock, or soon will be."""
    await until(
        lambda: database.one(
            "SELECT count(*) = 0 FROM holds WHERE expires_at > clock_timestamp() + make_interval(secs => %s)", early_s
        )
    )


def states(database: CellDatabase) -> dict[str, str]:
    return {str(hold_id): state for hold_id, state in database.sql("SELECT hold_id, state FROM holds")}


def endings(database: CellDatabase) -> list[tuple[str, list[str]]]:
    """For each hold the kinds of the entries that ended it."""
    return database.sql(
        "SELECT h.state, coalesce(array_agg(e.kind) FILTER (WHERE e.kind IN ('capture', 'release', 'expire')), '{}') "
        "FROM holds h JOIN entries e ON e.wallet_id = h.wallet_id AND e.subject_id = h.hold_id "
        "GROUP BY h.wallet_id, h.vendor_id, h.hold_id, h.state"
    )


async def place(running: RunningLanes, book: Book, wallet_ids: Sequence[WalletId], **fields: Any) -> list[PlaceHold]:
    holds = [book.hold(wallet_id, 5, **{"expires_in_s": 1, **fields}) for wallet_id in wallet_ids]
    assert set(await running.codes(*holds)) == {"accepted"}
    return holds


async def test_a_sweep_ends_what_is_over_and_nothing_else(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database) as running, expiring(database, running) as expiry:
        wallet_ids = await running.open(book, map(str, range(BATCH_MAX + 20)), balance=10)
        over = await place(running, book, wallet_ids)
        [young] = await place(running, book, wallet_ids[:1], expires_in_s=60)
        await until(
            lambda: database.one("SELECT count(*) FROM holds WHERE expires_at < clock_timestamp()") == len(over)
        )
        await expiry.sweep()
        found = states(database)
        assert {found[hold.transaction_id] for hold in over} == {"expired"}
        assert found[young.transaction_id] == "open"
        assert running.figure("cell_holds_due") == running.figure("cell_holds_expired_total") == len(over)
        assert running.figure("cell_holds_oldest_due_seconds") > 0
        entry = database.sql("SELECT vendor_id, amount, held_delta, context FROM entries WHERE kind = 'expire' LIMIT 1")
        assert entry == [("@cell", 0, -5, '{"loop":"expiry"}')]
        await expiry.sweep()
        assert running.figure("cell_holds_due") == 0
        assert await running.codes(*(book.debit(wallet_id, 5) for wallet_id in wallet_ids)) == ["accepted"] * 220
    await database.assert_clean()


async def test_a_hold_that_is_over_cannot_be_captured_before_the_sweep(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database) as running:
        [hold] = await place(running, book, await running.open(book, ["alice"], balance=10))
        await until_over(database)
        for command in (book.capture(hold), book.release(hold), book.extend(hold)):
            assert await running.codes(command) == ["hold_must_be_open"]
        assert states(database) == {hold.transaction_id: "open"}


async def test_an_extension_in_time_keeps_it_open(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database) as running, expiring(database, running) as expiry:
        wallet_ids = await running.open(book, ["alice", "bob"], balance=10)
        extended, other = await place(running, book, wallet_ids)
        assert await running.codes(book.extend(extended, 60)) == ["accepted"]
        await until(lambda: database.one("SELECT count(*) FROM holds WHERE expires_at < clock_timestamp()") == 1)
        await expiry.sweep()
        assert states(database) == {extended.transaction_id: "open", other.transaction_id: "expired"}
        assert await running.codes(book.capture(extended)) == ["accepted"]


async def test_expiry_survives_a_restart(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database) as running:
        [hold] = await place(running, book, await running.open(book, ["alice"], balance=10))
    await until_over(database)
    async with running_lanes(database) as running, expiring(database, running) as expiry:
        duty = asyncio.create_task(expiry.duty(period_s=0.05).run())
        await until(lambda: states(database) == {hold.transaction_id: "expired"})
        duty.cancel()
        with suppress(asyncio.CancelledError):
            await duty
    await database.assert_clean()


async def test_wallets_that_a_move_has_stopped_are_left_alone(database: CellDatabase, book: Book) -> None:
    """The expiry goes with the wallet; a hold that cannot be ended here holds up no other."""
    async with running_lanes(database) as running, expiring(database, running) as expiry:
        frozen, free = await running.open(book, ["alice", "bob"], balance=10)
        stays, ends = await place(running, book, [frozen, free])
        PostgresUnderTest(database).freeze(frozen)
        await until_over(database)
        await expiry.sweep()
        assert states(database) == {stays.transaction_id: "open", ends.transaction_id: "expired"}


async def test_two_sweeps_at_once_end_each_hold_once(database: CellDatabase, book: Book) -> None:
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(running_lanes(database)) for _ in range(2)]
        wallet_ids = await both[0].open(book, map(str, range(100)), balance=10)
        await place(both[0], book, wallet_ids)
        await until_over(database)
        sweeps = [await stack.enter_async_context(expiring(database, running)) for running in both]
        await asyncio.gather(*(expiry.sweep() for expiry in sweeps))
        assert [kinds for _, kinds in endings(database)] == [["expire"]] * 100
        assert sum(running.figure("cell_holds_expired_total") for running in both) == 100
    await database.assert_clean()


async def test_of_a_capture_and_an_expiry_exactly_one_wins(database: CellDatabase, book: Book) -> None:
    """Two processes: one captures hold after hold while their time runs out, the other expires them all, again and
    again. Repeated until both have won some.
    """
    won: set[str] = set()
    async with AsyncExitStack() as stack:
        capturing, sweeping = [await stack.enter_async_context(running_lanes(database)) for _ in range(2)]
        expiry = await stack.enter_async_context(expiring(database, sweeping))
        wallet_ids = await capturing.open(book, map(str, range(PAIRS)), balance=1_000)
        for _ in range(RACES_MAX):
            holds = await place(capturing, book, wallet_ids)
            await until_over(database, early_s=0.15)
            captured = asyncio.create_task(_capture_all(capturing, book, holds))
            while not captured.done():
                await asyncio.gather(expiry.sweep(), sweeping.do(*(book.expire(hold) for hold in holds)))
            await until_over(database)
            await expiry.sweep()
            found = states(database)
            for hold, answer in zip(holds, await captured, strict=True):
                assert (answer, found[hold.transaction_id]) in {
                    ("accepted", "captured"),
                    ("hold_must_be_open", "expired"),
                }
            won |= {found[hold.transaction_id] for hold in holds}
            if len(won) == 2:
                break
    assert won == {"captured", "expired"}, "one always won: the race was none"
    assert {tuple(kinds) for _, kinds in endings(database)} == {("capture",), ("expire",)}
    assert database.one("SELECT sum(held) FROM wallets") == 0
    await database.assert_clean()


async def _capture_all(running: RunningLanes, book: Book, holds: Sequence[PlaceHold]) -> list[str]:
    return [(await running.codes(book.capture(hold)))[0] for hold in holds]


class LateSession:
    """A writer that is held up between deciding to write and its lock; `reads_early` takes the holds with it that it
    saw before, which is the mistake that the lock is there against.
    """

    def __init__(self, inner: LedgerSession, store: "LateStore") -> None:
        self._inner = inner
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def load(self, footprint: Footprint) -> Loaded:
        early = dict((await self._inner.load(footprint)).holds)
        await self._inner.abandon()
        self._store.has_read.set()
        await self._store.gate.wait()
        loaded = await self._inner.load(footprint)
        if self._store.reads_early:
            loaded.holds.update(early)
        return loaded


class LateStore:
    def __init__(self, database: CellDatabase, *, reads_early: bool) -> None:
        self.has_read, self.gate = asyncio.Event(), asyncio.Event()
        self.reads_early = reads_early
        self._ledger = postgres_ledger(database.app_url)

    def session(self, name: str) -> Any:
        return LateSession(self._ledger.session(name), self)


@pytest.mark.parametrize("reads_early", [False, True], ids=["under the lock", "mutant: before the lock"])
async def test_an_expiry_looks_at_the_hold_under_the_lock(
    database: CellDatabase, book: Book, *, reads_early: bool
) -> None:
    late_store = LateStore(database, reads_early=reads_early)
    async with running_lanes(database) as running, running_lanes(late_store) as late:
        [alice] = await running.open(book, ["alice"], balance=10)
        await place(running, book, [alice], expires_in_s=60)
        [hold] = await place(running, book, [alice])
        expiry = late.submit(book.expire(hold))
        await late_store.has_read.wait()
        assert await running.codes(book.capture(hold)) == ["accepted"]
        await until(lambda: database.one("SELECT count(*) FROM holds WHERE expires_at < clock_timestamp()") == 1)
        late_store.gate.set()
        verdict = code(await expiry)
    [kinds] = [kinds for state, kinds in endings(database) if state != "open"]
    if reads_early:
        assert (verdict, sorted(kinds)) == ("accepted", ["capture", "expire"]), "the mutant must be seen"
        assert (await database.audit()).findings
    else:
        assert (verdict, kinds) == ("hold_must_be_open", ["capture"])
        await database.assert_clean()
