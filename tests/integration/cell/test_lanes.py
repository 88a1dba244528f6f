"""The queues of the write path on PostgreSQL: bounds, deadlines, order, bulkheads, and many writers at once."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cell_databases import CellDatabase
from cell_lanes import code, running_lanes
from cell_proxy import database_proxy
from cell_stores import postgres_ledger
from cell_waiting import until
from ledger_book import Book
from psycopg import Connection

from cell.commit import commit
from cell.ledger.decide import decide
from cell.ledger.footprint import footprint
from cell.ledger.outcomes import Accepted, Refused, Replayed
from cell.ledger.view import View
from cell.ports import StoreLostError
from contract.ids import wallet_id_of

ALICE, BOB = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob"))


@contextmanager
def rows_locked(database: CellDatabase) -> Iterator[Connection[tuple[Any, ...]]]:
    """Every wallet's row is somebody else's for a while."""
    with database.transaction() as blocker:
        blocker.execute("SELECT FROM wallets FOR UPDATE")
        yield blocker


def is_waiting(database: CellDatabase, words: str = "FOR UPDATE") -> bool:
    return bool(
        database.one(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cell-write:%%' "
            "AND wait_event_type = 'Lock' AND query LIKE %s AND datname = current_database()",
            f"%{words}%",
        )
    )


async def test_a_full_queue_turns_away_at_once(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database, lanes=1, queue_max=10) as running:
        await running.open(book, ["alice"])
        with rows_locked(database):
            first = running.submit(book.credit(ALICE, 1))
            await until(lambda: is_waiting(database))
            queued = [running.submit(book.credit(ALICE, 1)) for _ in range(10)]
            turned_away = [running.submit(book.credit(ALICE, 1)) for _ in range(5)]
            assert [answer.done() for answer in turned_away] == [True] * 5
            assert {code(answer.result()) for answer in turned_away} == {"cell_must_have_capacity"}
            assert not any(answer.done() for answer in (first, *queued))
        assert {code(outcome) for outcome in await asyncio.gather(first, *queued)} == {"accepted"}
        assert await running.codes(book.credit(ALICE, 1)) == ["accepted"]
    assert database.one("SELECT balance FROM wallets") == 12
    await database.assert_clean()


async def test_what_is_late_is_told_so_and_dropped_before_its_batch(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database, lanes=1) as running:
        await running.open(book, ["alice"])
        with rows_locked(database):
            in_flight = running.submit(book.credit(ALICE, 1))
            await until(lambda: is_waiting(database))
            late = [running.submit(book.credit(ALICE, 100), deadline_s=0.1) for _ in range(5)]
            patient = running.submit(book.credit(ALICE, 10))
            assert {code(outcome) for outcome in await asyncio.gather(*late)} == {"deadline_must_not_pass"}
            assert not in_flight.done()
        assert [code(await answer) for answer in (in_flight, patient)] == ["accepted", "accepted"]
    assert database.one("SELECT balance FROM wallets") == 11
    assert database.count("entries") == 3


async def test_a_batch_on_its_way_is_finished_though_its_caller_was_told_late(
    database: CellDatabase, book: Book
) -> None:
    credit = book.credit(ALICE, 1)
    async with running_lanes(database, lanes=1) as running:
        await running.open(book, ["alice"])
        with rows_locked(database):
            answer = running.submit(credit, deadline_s=0.2)
            await until(lambda: is_waiting(database))
            assert code(await answer) == "deadline_must_not_pass"
        (again,) = await running.do(credit)
        assert isinstance(again, Replayed)
    assert database.one("SELECT balance FROM wallets") == 1


async def test_a_deadline_that_has_passed_already_is_not_even_tried(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database) as running:
        await running.open(book, ["alice"])
        assert await running.codes(book.credit(ALICE, 1), deadline_s=-1) == ["deadline_must_not_pass"]
    assert database.count("entries") == 1


async def test_a_database_that_is_gone_is_told_within_patience_and_missed_no_longer(
    database: CellDatabase, book: Book
) -> None:
    async with (
        database_proxy(database) as proxy,
        running_lanes(postgres_ledger(proxy.url()), patience_s=0.3) as running,
    ):
        await running.open(book, ["alice"])
        proxy.go_down()
        assert await running.codes(book.credit(ALICE, 1)) == ["cell_must_be_reachable"]
        assert not running.lanes.are_connected
        await until(lambda: running.submit(book.credit(ALICE, 1)).done())
        proxy.come_back()
        await until(lambda: running.lanes.are_connected)
        assert await running.codes(book.credit(ALICE, 10), book.credit(BOB, 1)) == ["accepted", "wallet_must_exist"]
    assert database.one("SELECT balance FROM wallets") == 10
    await database.assert_clean()


async def test_a_short_outage_is_not_noticed(database: CellDatabase, book: Book) -> None:
    async with (
        database_proxy(database) as proxy,
        running_lanes(postgres_ledger(proxy.url()), patience_s=10) as running,
    ):
        await running.open(book, ["alice"])
        proxy.go_down()
        answers = [running.submit(book.credit(ALICE, 1)) for _ in range(10)]
        await until(lambda: not running.lanes.are_connected)
        proxy.come_back()
        assert {code(outcome) for outcome in await asyncio.gather(*answers)} == {"accepted"}


async def test_a_wallets_commands_keep_their_order(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database, lanes=4, batch_max=7) as running:
        wallet_ids = await running.open(book, [f"ref-{number}" for number in range(6)])
        commands = [book.credit(wallet_id, 1) for _ in range(40) for wallet_id in wallet_ids]
        outcomes = await running.do(*commands)
    for wallet_id in wallet_ids:
        seqs = [
            outcome.recorded.seq
            for command, outcome in zip(commands, outcomes, strict=True)
            if command.wallet_id == wallet_id and isinstance(outcome, Accepted)
        ]
        assert seqs == list(range(2, 42))


async def test_a_flood_of_openings_does_not_hold_up_money(database: CellDatabase, book: Book) -> None:
    """Openings wait for their unit, which a fence holds; money goes on, and openings have a bound of their own."""
    async with running_lanes(database, openings_max=200) as running:
        await running.open(book, ["alice"])
        with database.transaction() as fence:
            fence.execute("SELECT pg_advisory_xact_lock(1, unit) FROM generate_series(0, 16383) AS unit")
            openings = [running.submit(book.opening(f"flood-{number}")) for number in range(400)]
            await until(lambda: is_waiting(database, "pg_advisory_xact_lock_shared"))
            for _ in range(5):
                assert await running.codes(*(book.credit(ALICE, 1) for _ in range(20))) == ["accepted"] * 20
            turned_away = [answer for answer in openings if answer.done()]
            assert {code(answer.result()) for answer in turned_away} == {"cell_must_have_capacity"}
            assert len(turned_away) == 200
        codes = [code(outcome) for outcome in await asyncio.gather(*openings)]
        assert codes == ["accepted"] * 200 + ["cell_must_have_capacity"] * 200
    await database.assert_clean()


async def test_many_writers_on_the_same_wallets_neither_deadlock_nor_lose_a_cent(
    database: CellDatabase, book: Book
) -> None:
    """Two processes of four lanes each; transfers in both directions between ten wallets, and the outside."""
    dice = random.Random(7)
    async with running_lanes(database, lanes=4, batch_max=20) as one, running_lanes(database, lanes=4) as other:
        wallet_ids = await one.open(book, [f"ref-{number}" for number in range(10)], balance=100)
        before = database.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        commands = []
        for number in range(1_500):
            sender, receiver = dice.sample(wallet_ids, 2)
            amount = dice.randint(1, 40)
            make = (book.transfer(sender, receiver, amount), book.credit(sender, amount), book.debit(sender, amount))
            commands.append(make[0] if number % 3 else make[1 + number % 2])
        processes = itertools.cycle((one, other))
        answers = [next(processes).submit(command) for command in commands]
        codes = [code(outcome) for outcome in await asyncio.gather(*answers)]
        # Each command again at the other process: what was decided stands.
        again = [code(outcome) for outcome in await asyncio.gather(*(other.submit(one) for one in commands))]
    assert set(codes) == {"accepted", "available_balance_must_cover_amount"}
    assert [("replayed" if one == "accepted" else one) for one in codes] == again
    after = database.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert after == before
    await database.assert_clean()


async def test_openings_of_the_same_wallets_by_two_processes_open_each_once(database: CellDatabase, book: Book) -> None:
    refs = [f"ref-{number}" for number in range(60)]
    async with running_lanes(database, batch_max=9) as one, running_lanes(database, batch_max=14) as other:
        shuffled = random.Random(3).sample(refs, len(refs))
        codes = await asyncio.gather(
            one.codes(*(book.opening(ref) for ref in refs)), other.codes(*(book.opening(ref) for ref in shuffled))
        )
    ways = [sorted((codes[0][refs.index(ref)], codes[1][shuffled.index(ref)])) for ref in refs]
    assert ways == [["accepted", "replayed"]] * 60
    assert database.count("entries") == 60
    await database.assert_clean()


async def test_a_wallet_that_somebody_holds_holds_up_nobody_else(database: CellDatabase, book: Book) -> None:
    """Its own commands wait aside, in order, and are done once it is free; its lane's other wallets go on."""
    async with running_lanes(postgres_ledger(database.app_url, lock_timeout_ms=100), lanes=1) as running:
        await running.open(book, ["alice", "bob"])
        with database.transaction() as stranger:
            stranger.execute("SELECT FROM wallets WHERE wallet_id = %s FOR UPDATE", (ALICE,))
            held = [running.submit(book.credit(ALICE, amount)) for amount in (1, 2, 3)]
            crossing = running.submit(book.transfer(BOB, ALICE, 1))
            for _ in range(20):
                assert await running.codes(book.credit(BOB, 1)) == ["accepted"]
            later = running.submit(book.credit(ALICE, 4))
            assert not any(answer.done() for answer in (*held, crossing, later))
        outcomes = await asyncio.gather(*held, later)
        assert {code(outcome) for outcome in (*outcomes, await crossing)} == {"accepted"}
        credits_ = database.sql(
            "SELECT amount FROM entries WHERE wallet_id = %s AND kind = 'credit' ORDER BY seq", ALICE
        )
        assert credits_ == [(1,), (2,), (3,), (4,)]
    await database.assert_clean()


async def test_a_look_at_who_holds_what_holds_nothing(database: CellDatabase, book: Book) -> None:
    """Also right after a batch, when the connection's pipeline is still open."""
    ledger = postgres_ledger(database.app_url)
    holder, looker = ledger.session("holder"), ledger.session("looker")
    for session in (holder, looker):
        await session.connect()
        await commit(session, [book.opening("alice"), book.opening("bob")])
    assert await looker.held_wallets([ALICE, BOB]) == frozenset()
    await holder.load(footprint(book.credit(ALICE, 1)))
    assert await looker.held_wallets([ALICE, BOB]) == {ALICE}
    assert database.sql(
        "SELECT state, xact_start FROM pg_stat_activity WHERE application_name = 'cell-write:looker'"
    ) == [("idle", None)]
    await holder.abandon()
    assert await looker.held_wallets([ALICE, BOB]) == frozenset()
    assert [code(outcome) for outcome in await commit(holder, [book.credit(ALICE, 1), book.credit(BOB, 1)])] == [
        "accepted",
        "accepted",
    ]
    for session in (holder, looker):
        await session.close()


async def test_parked_commands_are_told_when_they_are_late(database: CellDatabase, book: Book) -> None:
    async with running_lanes(postgres_ledger(database.app_url, lock_timeout_ms=100), lanes=1) as running:
        await running.open(book, ["alice"])
        with rows_locked(database):
            answer = running.submit(book.credit(ALICE, 1), deadline_s=0.6)
            assert code(await answer) == "deadline_must_not_pass"
        assert await running.codes(book.credit(ALICE, 2)) == ["accepted"]
    assert database.one("SELECT balance FROM wallets") == 2


@pytest.mark.parametrize("is_transfer", [False, True], ids=["one round trip", "and one for what is absent"])
async def test_a_process_that_stops_between_its_round_trips_lets_go(
    database: CellDatabase, book: Book, *, is_transfer: bool
) -> None:
    """The database ends its transaction; the others go on, and what it had decided is not written."""
    command = book.transfer(ALICE, BOB, 1) if is_transfer else book.credit(ALICE, 1)
    stopped = postgres_ledger(database.app_url, idle_timeout_ms=200).session("stopped")
    await stopped.connect()
    await commit(stopped, [book.opening("alice")])
    loaded = await stopped.load(footprint(command))
    async with running_lanes(database) as running:
        assert await running.codes(book.credit(ALICE, 10)) == ["accepted"]
    outcome = decide(View(loaded, footprint(command)), command, loaded.now_us)
    assert isinstance(outcome, Accepted | Refused)
    with pytest.raises(StoreLostError):
        await stopped.save([outcome.changes])
    await stopped.close()
    assert database.one("SELECT balance FROM wallets") == 10
    await database.assert_clean()


async def test_stopping_answers_what_is_queued(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database, batch_max=5) as running:
        await running.open(book, ["alice"])
        answers = [running.submit(book.credit(ALICE, 1)) for _ in range(30)]
    assert {code(answer.result()) for answer in answers} == {"accepted"}
    assert database.one("SELECT balance FROM wallets") == 30


async def test_lanes_prove_that_the_primary_takes_writes(database: CellDatabase) -> None:
    async with running_lanes(database):
        pass
    assert database.sql("SELECT process_id FROM api_processes") == [("test",)]


async def test_stopping_does_not_wait_for_a_database_that_is_gone(database: CellDatabase, book: Book) -> None:
    with database.transaction() as foreign:
        async with running_lanes(database, lanes=1) as running:
            [alice] = await running.open(book, ["alice"])
            foreign.execute("SELECT FROM wallets WHERE wallet_id = %s FOR UPDATE", (alice,))
            waiting = running.submit(book.credit(alice, 1))
            await until(lambda: is_waiting(database))
            stopping = asyncio.create_task(running.lanes.stop())
            await asyncio.sleep(0)
            with database.scratch.cluster.superuser() as superuser:
                superuser.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
            foreign.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'cell-write:%' AND datname = current_database()"
            )
            foreign.commit()
            async with asyncio.timeout(20):
                await stopping
            assert code(await waiting) == "cell_must_be_reachable"
