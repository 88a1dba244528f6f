"""A commit whose answer never came is run again: every command once, acknowledged or not, whatever the database did."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import psycopg
import pytest
from cell_databases import CellDatabase
from cell_lanes import code, running_lanes
from cell_proxy import database_proxy
from cell_stores import postgres_ledger
from cell_waiting import until
from ledger_book import Book

from cell.commit import commit
from cell.ledger.outcomes import Accepted, Changes, Replayed
from cell.ports import StoreLostError
from cell.store.ledger_store import PostgresLedger, PostgresSession
from contract.ids import WalletId, wallet_id_of

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")


async def assert_once(database: CellDatabase, wallet_id: WalletId, *, commands: int, balance: int) -> None:
    """The opening and each command have one entry; the figures are those of each command once."""
    rows = database.sql("SELECT seq, transaction_id FROM entries WHERE wallet_id = %s ORDER BY seq", wallet_id)
    assert [seq for seq, _ in rows] == list(range(1, commands + 2))
    assert len({transaction_id for _, transaction_id in rows}) == commands + 1
    assert database.one("SELECT balance FROM wallets WHERE wallet_id = %s", wallet_id) == balance
    await database.assert_clean()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_wire_cut_at_the_commit_costs_nothing_and_doubles_nothing(
    database: CellDatabase, book: Book, moment: Literal["before", "after"]
) -> None:
    async with database_proxy(database) as proxy, running_lanes(postgres_ledger(proxy.url())) as running:
        await running.open(book, ["alice"])
        proxy.cut_at_commit = moment
        outcomes = await running.do(*(book.credit(ALICE, 1) for _ in range(20)))
        await running.do(book.credit(ALICE, 1))
        assert proxy.cuts == 1
        assert running.figure("cell_ambiguous_commands_total") == 20
    assert {code(outcome) for outcome in outcomes} <= {"accepted", "replayed"}
    assert any(isinstance(outcome, Replayed) for outcome in outcomes) == (moment == "after")
    await assert_once(database, ALICE, commands=21, balance=21)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_opening_cut_at_the_commit_opens_once(
    database: CellDatabase, book: Book, moment: Literal["before", "after"]
) -> None:
    async with database_proxy(database) as proxy, running_lanes(postgres_ledger(proxy.url())) as running:
        proxy.cut_at_commit = moment
        outcomes = await running.codes(book.opening("alice"), book.opening("bob"))
        assert proxy.cuts == 1
        assert set(outcomes) == {"accepted" if moment == "before" else "replayed"}
    assert (database.count("wallets"), database.count("entries")) == (2, 2)
    await database.assert_clean()


async def test_cut_again_and_again(database: CellDatabase, book: Book) -> None:
    async with database_proxy(database) as proxy, running_lanes(postgres_ledger(proxy.url()), batch_max=7) as running:
        await running.open(book, ["alice"])
        answers = [running.submit(book.credit(ALICE, 1)) for _ in range(60)]
        moments: list[Literal["before", "after"]] = ["before", "after"] * 3
        while not all(answer.done() for answer in answers):
            if proxy.cut_at_commit is None and moments:
                proxy.cut_at_commit = moments.pop()
            await asyncio.sleep(0)
        assert {code(answer.result()) for answer in answers} <= {"accepted", "replayed"}
        assert proxy.cuts >= 3
    await assert_once(database, ALICE, commands=60, balance=60)


async def test_a_backend_terminated_while_it_writes_costs_nothing(database: CellDatabase, book: Book) -> None:
    """From the side, after the batch was sent: a lock on `entries` holds the insert until the backend is gone."""
    async with running_lanes(database) as running:
        await running.open(book, ["alice"])
        with database.transaction() as blocker:
            blocker.execute("LOCK TABLE entries IN SHARE MODE")
            answers = [running.submit(book.credit(ALICE, 1)) for _ in range(5)]
            pid = await until(lambda: waiting_backend(database, "INSERT"))
            database.sql("SELECT pg_terminate_backend(%s)", pid)
        assert {code(outcome) for outcome in await asyncio.gather(*answers)} == {"accepted"}
    await assert_once(database, ALICE, commands=5, balance=5)


async def test_a_backend_terminated_while_it_waits_for_its_locks_costs_nothing(
    database: CellDatabase, book: Book
) -> None:
    async with running_lanes(database) as running:
        await running.open(book, ["alice"])
        with database.transaction() as blocker:
            blocker.execute("SELECT FROM wallets FOR UPDATE")
            answer = running.submit(book.credit(ALICE, 1))
            pid = await until(lambda: waiting_backend(database, "FOR UPDATE"))
            database.sql("SELECT pg_terminate_backend(%s)", pid)
        assert code(await answer) == "accepted"
    await assert_once(database, ALICE, commands=1, balance=1)


def waiting_backend(database: CellDatabase, words: str) -> Any:
    rows = database.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'cell-write:%%' AND wait_event_type = 'Lock' "
        "AND query LIKE %s AND datname = current_database()",
        f"%{words}%",
    )
    return rows[0][0] if rows else None


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_session_never_guesses(database: CellDatabase, book: Book, moment: Literal["before", "after"]) -> None:
    """At the port: both cuts are the same error, for nobody can tell them apart from there."""
    credit = book.credit(ALICE, 1)
    async with database_proxy(database) as proxy:
        session = postgres_ledger(proxy.url()).session("1")
        await session.connect()
        await commit(session, [book.opening("alice")])
        proxy.cut_at_commit = moment
        with pytest.raises(StoreLostError):
            await commit(session, [credit])
        await session.connect()
        assert database.one("SELECT seq FROM wallets") == (1 if moment == "before" else 2)
        (outcome,) = await commit(session, [credit])
        assert isinstance(outcome, Accepted if moment == "before" else Replayed)
        await session.close()


async def test_a_commit_with_a_warning_is_not_acknowledged(database: CellDatabase, book: Book) -> None:
    """01000 at COMMIT: the wait for a standby was cancelled. The row is here, and perhaps nowhere else."""
    database.sql(
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'canceling the wait'; "
        "RETURN NULL; END $$"
    )
    database.sql(
        "CREATE CONSTRAINT TRIGGER warns AFTER INSERT ON account_deltas DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION warn()"
    )
    session = postgres_ledger(database.app_url).session("1")
    await session.connect()
    await commit(session, [book.opening("alice")])
    credit = book.credit(ALICE, 1)
    with pytest.raises(StoreLostError):
        await commit(session, [credit])
    await session.connect()
    assert isinstance((await commit(session, [credit]))[0], Replayed)
    await session.close()


# A mutant: an acknowledgement that does not wait for COMMIT.


class _HastySession(PostgresSession):
    """Takes a lost answer for a done commit."""

    async def save(self, changes: Sequence[Changes]) -> None:
        try:
            await super().save(changes)
        except StoreLostError:
            await self.connect()


class _HastyLedger(PostgresLedger):
    def session(self, name: str) -> PostgresSession:
        session = super().session(name)
        session.__class__ = _HastySession
        return session


async def test_an_acknowledgement_that_guesses_is_caught(database: CellDatabase, book: Book) -> None:
    async with database_proxy(database) as proxy:
        hasty = _HastyLedger(proxy.url(), process_id="test", lock_timeout_ms=5_000, idle_timeout_ms=5_000)
        async with running_lanes(hasty) as running:
            await running.open(book, ["alice"])
            proxy.cut_at_commit = "before"
            assert await running.codes(book.credit(ALICE, 1)) == ["accepted"]
    with pytest.raises(AssertionError):
        await assert_once(database, ALICE, commands=1, balance=1)


async def test_the_proxy_is_a_wire_when_nothing_is_cut(database: CellDatabase) -> None:
    async with (
        database_proxy(database) as proxy,
        await psycopg.AsyncConnection.connect(proxy.url("cell_app")) as connection,
    ):
        rows = await (await connection.execute("SELECT repeat('x', 300000)")).fetchall()
        assert len(rows[0][0]) == 300_000


@contextlib.contextmanager
def waiting_for_a_standby(database: CellDatabase) -> Iterator[None]:
    """Commits wait for one that is away, until the end."""
    cluster = database.scratch.cluster
    with cluster.superuser() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CHECKPOINT")  # the checkpointer reads the setting before it does
    try:
        yield
    finally:
        with cluster.superuser() as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CHECKPOINT")


def waiting_commits(database: CellDatabase) -> list[int]:
    asked = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
    return [pid for (pid,) in database.sql(asked)]


async def is_answered_who_asks_again(database: CellDatabase, book: Book) -> bool:
    """A credit waits for the standby; somebody ends the wait by hand, and its vendor asks another process again.

    Everybody sees the credit then, though the primary alone has it.
    """
    async with (
        running_lanes(postgres_ledger(database.app_url), lanes=1) as first,
        running_lanes(postgres_ledger(database.app_url), lanes=1) as other,
    ):
        await first.open(book, ["alice"])
        credit = book.credit(ALICE, 1)
        with waiting_for_a_standby(database):
            doubtful = first.submit(credit)
            await until(lambda: len(waiting_commits(database)) == 1)
            database.sql("SELECT pg_cancel_backend(%s)", *waiting_commits(database))
            await until(lambda: database.one("SELECT balance FROM wallets") == 1)
            again = other.submit(credit)
            await until(lambda: again.done() or len(waiting_commits(database)) == 2)
            is_answered = again.done()
        assert code(await again) == "replayed"
        assert code(await doubtful) == "replayed"
    await assert_once(database, ALICE, commands=1, balance=1)
    return is_answered


async def test_what_the_standby_lacks_is_not_acknowledged_to_who_asks_again_either(
    database: CellDatabase, book: Book
) -> None:
    """It would be lost with the primary, and the standby takes over."""
    assert not await is_answered_who_asks_again(database, book)


async def test_mutant_a_replay_that_commits_nothing_is_acknowledged_by_the_primary_alone(
    database: CellDatabase, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresSession, "confirm", PostgresSession.abandon)
    assert await is_answered_who_asks_again(database, book)
