"""The fence: a batch that waits behind somebody else's lock decides on what that other has committed, never on before.

First the ways to check a fence that were tried, as SQL on this PostgreSQL, unsafe ones included: they are what the
code must not become. Then the code itself, and mutants of it that must be caught.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from cell_databases import CellDatabase
from cell_lanes import code, running_lanes
from cell_stores import MOVE_ID, postgres_ledger
from cell_waiting import until
from ledger_book import Book
from psycopg import AsyncConnection, IsolationLevel

from cell.commit import commit
from cell.ledger.commands import Command
from cell.ledger.footprint import Footprint
from cell.ledger.outcomes import Accepted, Outcome, Rejected, Replayed
from cell.ledger.view import Loaded
from cell.ports import LedgerSession
from cell.store.ledger_store import PostgresSession
from contract.ids import WalletId, wallet_id_of
from contract.slots import slot_of

ALICE, BOB = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob"))
UNIT = slot_of(ALICE)

READ_COMMITTED, REPEATABLE_READ = IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ

FUNCTION = """
CREATE FUNCTION locked_state() RETURNS text LANGUAGE plpgsql {volatility} AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1, {unit});
    RETURN (SELECT state FROM unit_state WHERE unit = {unit});
END $$
"""
LOCK_ROW = f"SELECT frozen_by IS NOT NULL FROM wallets WHERE wallet_id = '{ALICE}' FOR UPDATE"  # noqa: S608 - own words
LOCK_UNIT = f"SELECT pg_advisory_xact_lock_shared(1, {UNIT})"
READ_STATE = f"SELECT state = 'fenced' FROM unit_state WHERE unit = {UNIT}"  # noqa: S608
BOTH = f"SELECT state = 'fenced' FROM unit_state, ({LOCK_UNIT}) AS locked WHERE unit = {UNIT}"  # noqa: S608
BOTH_MATERIALIZED = (
    f"WITH locked AS MATERIALIZED ({LOCK_UNIT}) "  # noqa: S608
    f"SELECT state = 'fenced' FROM locked, unit_state WHERE unit = {UNIT}"
)
JOINED = (
    "SELECT state = 'fenced' FROM wallets JOIN unit_state USING (unit) "  # noqa: S608
    f"WHERE wallet_id = '{ALICE}' FOR UPDATE OF wallets"
)
CALL = "SELECT locked_state() = 'fenced'"
VOLATILE, STABLE = (FUNCTION.format(volatility=name, unit=UNIT) for name in ("VOLATILE", "STABLE"))

WAYS = {
    "T1 lock the unit, then read its state": (READ_COMMITTED, [LOCK_UNIT, READ_STATE], None, True),
    "T2 lock and read in one statement": (READ_COMMITTED, [BOTH], None, False),
    "T2b the same with a materialized lock": (READ_COMMITTED, [BOTH_MATERIALIZED], None, False),
    "T3 two statements, repeatable read": (REPEATABLE_READ, [LOCK_UNIT, READ_STATE], None, False),
    "T4 lock the row, join the state": (READ_COMMITTED, [JOINED], None, False),
    "T5 read the mark on the locked row": (READ_COMMITTED, [LOCK_ROW], None, True),
    "T5 and the state in a later statement": (READ_COMMITTED, [LOCK_ROW, READ_STATE], None, True),
    "T8 lock and read in a volatile function": (READ_COMMITTED, [CALL], VOLATILE, True),
    "T10 the same function, said to be stable": (READ_COMMITTED, [CALL], STABLE, False),
}

FENCE = [
    f"SELECT pg_advisory_xact_lock(1, {UNIT})",
    f"SELECT FROM wallets WHERE unit = {UNIT} ORDER BY wallet_id FOR UPDATE",
    f"UPDATE wallets SET frozen_by = '{MOVE_ID}' WHERE unit = {UNIT}",  # noqa: S608
    f"UPDATE unit_state SET state = 'fenced', fence_no = fence_no + 1 WHERE unit = {UNIT}",  # noqa: S608
]


@asynccontextmanager
async def fencing(database: CellDatabase, *more: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A mover that holds the fence; `commit` lets everybody see it."""
    async with await AsyncConnection.connect(database.url()) as mover:
        for statement in (*FENCE, *more):
            await mover.execute(statement.encode())
        yield mover


def has_waiter(database: CellDatabase) -> Callable[[], bool]:
    return lambda: bool(
        database.one(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    )


@pytest.fixture
async def alice(database: CellDatabase, book: Book) -> str:
    session = postgres_ledger(database.app_url).session("opening")
    await session.connect()
    await commit(session, [book.opening("alice"), book.credit(ALICE, 100)])
    await session.close()
    return ALICE


@pytest.mark.parametrize("way", WAYS)
async def test_which_checks_see_a_fence_that_they_waited_for(database: CellDatabase, alice: str, way: str) -> None:
    isolation, statements, function, is_safe = WAYS[way]
    if function is not None:
        database.sql(function)

    async def writer() -> bool:
        async with await AsyncConnection.connect(database.url()) as connection:
            await connection.set_isolation_level(isolation)
            for statement in statements:
                cursor = await connection.execute(statement.encode())
            row = await cursor.fetchone()
            assert row is not None
            return bool(row[0])

    async with fencing(database) as mover:
        writing = asyncio.create_task(writer())
        await until(has_waiter(database))
        await mover.commit()
        assert await writing is is_safe


async def test_an_update_that_waited_for_the_fence_changes_nothing(database: CellDatabase, alice: str) -> None:
    """T6, and T6b: what re-checks the row after the wait is safe; repeatable read says so with an error."""
    update = f"UPDATE wallets SET balance = 0 WHERE wallet_id = '{ALICE}' AND frozen_by IS NULL"  # noqa: S608

    async def writer(isolation: IsolationLevel) -> int:
        async with await AsyncConnection.connect(database.url()) as connection:
            await connection.set_isolation_level(isolation)
            return (await connection.execute(update.encode())).rowcount

    async with fencing(database) as mover:
        writing = [asyncio.create_task(writer(isolation)) for isolation in (READ_COMMITTED, REPEATABLE_READ)]
        await until(lambda: database.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") >= 2)
        await mover.commit()
        assert await writing[0] == 0
        with pytest.raises(psycopg.errors.SerializationFailure):
            await writing[1]


# The code.


@pytest.mark.parametrize("way", ["debit", "credit", "transfer out", "transfer in", "reverse", "change", "replay"])
async def test_a_command_that_waited_for_the_fence_is_told_that_the_wallet_moves(
    database: CellDatabase, book: Book, way: str
) -> None:
    credit = book.credit(ALICE, 100)
    commands: dict[str, Command] = {
        "debit": book.debit(ALICE, 1),
        "credit": book.credit(ALICE, 1),
        "transfer out": book.transfer(ALICE, BOB, 1),
        "transfer in": book.transfer(BOB, ALICE, 1, may_leave=False),
        "reverse": book.reverse(ALICE, credit, 1),
        "change": book.change(ALICE, status="suspended"),
        "replay": credit,
    }
    async with running_lanes(database) as running:
        await running.open(book, ["alice", "bob"])
        assert await running.codes(credit, book.credit(BOB, 50)) == ["accepted", "accepted"]
        before = database.count("entries")
        async with fencing(database) as mover:
            answer = running.submit(commands[way])
            await until(has_waiter(database))
            await mover.commit()
        # A cell does not judge for another: a receiver that moves is not there to be judged.
        assert code(await answer) == ("cell_must_be_reachable" if way == "transfer in" else "wallet_is_moving")
        assert database.count("entries") == before
        database.sql("UPDATE wallets SET frozen_by = NULL")
        database.sql("UPDATE unit_state SET state = 'active' WHERE state = 'fenced'")
        assert code(await running.submit(commands[way])) == ("replayed" if way == "replay" else "accepted")
    await database.assert_clean()


async def test_a_transfer_to_a_wallet_that_moves_leaves_the_cell(database: CellDatabase, book: Book) -> None:
    """Wherever the receiver will be, it is asked there."""
    async with running_lanes(database) as running:
        await running.open(book, ["alice", "bob"])
        assert await running.codes(book.credit(BOB, 50)) == ["accepted"]
        async with fencing(database) as mover:
            answer = running.submit(book.transfer(BOB, ALICE, 20))
            await until(has_waiter(database))
            await mover.commit()
        assert code(await answer) == "accepted"
        assert database.one("SELECT state FROM transfers") == "in_transit"
        database.sql("UPDATE wallets SET frozen_by = NULL")
        database.sql("UPDATE unit_state SET state = 'active' WHERE state = 'fenced'")
    await database.assert_clean()


@pytest.mark.parametrize("state", ["granted", "moved"])
async def test_after_the_grant_the_command_is_sent_to_the_new_owner(
    database: CellDatabase, book: Book, alice: str, state: str
) -> None:
    granted = f"UPDATE unit_state SET state = '{state}', epoch = 2, peer_cell = 'cell-b' WHERE unit = {UNIT}"  # noqa: S608
    async with running_lanes(database) as running:
        async with fencing(database, granted) as mover:
            answer = running.submit(book.debit(ALICE, 1))
            await until(has_waiter(database))
            await mover.commit()
        outcome = await answer
    assert isinstance(outcome, Rejected)
    assert outcome.problem.code == "wallet_must_be_owned_by_this_cell"
    assert outcome.problem.facts == {"unit": UNIT, "cell": "cell-b", "epoch": 2}


async def test_a_fence_that_is_given_up_lets_the_waiter_through(database: CellDatabase, book: Book, alice: str) -> None:
    async with running_lanes(database) as running:
        async with fencing(database) as mover:
            answer = running.submit(book.debit(ALICE, 1))
            await until(has_waiter(database))
            await mover.rollback()
        assert code(await answer) == "accepted"


async def test_an_opening_that_waited_for_the_fence_does_not_escape_it(database: CellDatabase, book: Book) -> None:
    """There is no row yet: the unit's lock is what openings wait for."""
    async with running_lanes(database) as running:
        async with fencing(database) as mover:
            answer = running.submit(book.opening("alice"))
            await until(has_waiter(database))
            await mover.commit()
        assert code(await answer) == "wallet_is_moving"
    assert database.count("wallets") == 0


async def test_a_fence_waits_for_an_opening_and_finds_its_wallet(database: CellDatabase, book: Book) -> None:
    session = postgres_ledger(database.app_url).session("opening")
    await session.connect()

    async def fence() -> None:
        async with fencing(database) as mover:
            await mover.commit()

    paused = _Paused(session)
    opening = asyncio.create_task(commit(paused, [book.opening("alice")]))
    await paused.has_lock.wait()
    mover = asyncio.create_task(fence())
    await until(has_waiter(database))
    paused.may_go_on.set()
    assert isinstance((await opening)[0], Accepted)
    await mover
    await session.close()
    assert database.sql("SELECT frozen_by::text FROM wallets") == [(MOVE_ID,)]


# Waiting behind another batch: its recorded outcome is seen.


class _Delegating:
    """A session that can be made wrong in one place."""

    def __init__(self, session: PostgresSession) -> None:
        self.session = session

    async def connect(self) -> None:
        await self.session.connect()

    async def load(self, footprint: Footprint) -> Loaded:
        return await self.session.load(footprint)

    async def save(self, changes: Any) -> None:
        await self.session.save(changes)

    async def held_wallets(self, wallet_ids: Sequence[WalletId]) -> frozenset[WalletId]:
        return await self.session.held_wallets(wallet_ids)

    async def confirm(self) -> None:
        await self.session.confirm()

    async def abandon(self) -> None:
        await self.session.abandon()

    async def close(self) -> None:
        await self.session.close()


class _Paused(_Delegating):
    """Stands between its two round trips until it may go on."""

    def __init__(self, session: PostgresSession) -> None:
        super().__init__(session)
        self.has_lock, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def load(self, footprint: Footprint) -> Loaded:
        loaded = await self.session.load(footprint)
        self.has_lock.set()
        await self.may_go_on.wait()
        return loaded


class _ReadsRecordedBeforeTheLock(_Delegating):
    """A mutant: what is recorded is read in a statement before the locks are had."""

    def __init__(self, session: PostgresSession, database: CellDatabase) -> None:
        super().__init__(session)
        self._database = database

    async def load(self, footprint: Footprint) -> Loaded:
        known = {(str(row[0]), row[1], str(row[2])) for row in self._database.sql("SELECT * FROM transactions")}
        loaded = await self.session.load(footprint)
        for key in [key for key in loaded.recorded if tuple(key) not in known]:
            del loaded.recorded[key]
        return loaded


async def the_second_of_two_equal_commands(
    database: CellDatabase, book: Book, make: Callable[[PostgresSession], LedgerSession]
) -> Outcome:
    """The same credit by two processes; the second loads while the first has its lock."""
    ledger = postgres_ledger(database.app_url)
    first, second = ledger.session("first"), ledger.session("second")
    for session in (first, second):
        await session.connect()

    credit = book.credit(ALICE, 1)
    try:
        paused = _Paused(first)
        holding = asyncio.create_task(commit(paused, [credit]))
        await paused.has_lock.wait()
        waiting = asyncio.create_task(commit(make(second), [credit]))
        await until(has_waiter(database))
        paused.may_go_on.set()
        assert isinstance((await holding)[0], Accepted)
        return (await waiting)[0]
    finally:
        await first.close()
        await second.close()


async def test_who_waited_behind_a_batch_sees_what_it_recorded(database: CellDatabase, book: Book, alice: str) -> None:
    outcome = await the_second_of_two_equal_commands(database, book, lambda session: session)
    assert isinstance(outcome, Replayed)
    assert database.one("SELECT balance FROM wallets") == 101


async def test_reading_what_is_recorded_before_the_lock_is_caught(
    database: CellDatabase, book: Book, alice: str
) -> None:
    """The mutant decides the command a second time; only the primary key of `transactions` is left to stop it."""
    outcome = await the_second_of_two_equal_commands(
        database, book, lambda session: _ReadsRecordedBeforeTheLock(session, database)
    )
    assert not isinstance(outcome, Replayed)
    assert isinstance(outcome, Rejected)
    assert "transactions_pkey" in str(outcome.cause)


async def test_without_its_primary_key_the_mutant_would_take_the_money_twice(
    database: CellDatabase, book: Book, alice: str
) -> None:
    database.sql("ALTER TABLE transactions DROP CONSTRAINT transactions_pkey")
    outcome = await the_second_of_two_equal_commands(
        database, book, lambda session: _ReadsRecordedBeforeTheLock(session, database)
    )
    assert isinstance(outcome, Accepted)
    assert database.one("SELECT balance FROM wallets") == 102
