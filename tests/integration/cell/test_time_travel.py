"""A balance at a past moment: right, the same for ever, and an index seek whatever the length of the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cell_databases import CellDatabase
from cell_lanes import running_lanes
from cell_stores import postgres_ledger
from ledger_book import Book
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from cell.commit import commit
from cell.ledger.decide import decide
from cell.ledger.footprint import footprint
from cell.ledger.outcomes import Accepted
from cell.ledger.view import View
from cell.queries import BalanceAt, Queries
from cell.store import reads
from cell.store.database_url import sqlalchemy_url
from cell.store.ledger_store import PostgresSession
from cell.store.reads import EntryFilter
from contract.ids import WalletId, wallet_id_of
from contract.problems import Problem

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
MICROSECOND = timedelta(microseconds=1)
PAGE_ROWS = 51
BUFFERS_MAX = 60
"""Pages for one seek through a handful of partitions; a scan of the log below reads thousands."""


@pytest.fixture
async def queries(database: CellDatabase) -> AsyncIterator[Queries]:
    queries = Queries(
        database.app_url, connections_max=4, wait_max_ms=2_000, statement_timeout_ms=5_000, connect_timeout_s=3
    )
    queries.start()
    yield queries
    await queries.stop()


@pytest.fixture
async def session(database: CellDatabase, book: Book) -> AsyncIterator[PostgresSession]:
    session = postgres_ledger(database.app_url).session("1")
    await session.connect()
    await commit(session, [book.opening("alice", overdraft_limit=500)])
    yield session
    await session.close()


async def at(queries: Queries, moment: datetime, wallet_id: WalletId = ALICE) -> BalanceAt:
    answer = await queries.balance_at(wallet_id, moment)
    assert isinstance(answer, BalanceAt)
    return answer


async def refused(queries: Queries, moment: datetime) -> Problem:
    answer = await queries.balance_at(ALICE, moment)
    assert isinstance(answer, Problem)
    return answer


def now(database: CellDatabase) -> datetime:
    moment: datetime = database.one("SELECT clock_timestamp()")
    return moment


async def test_every_past_moment_has_the_balance_of_then(
    database: CellDatabase, queries: Queries, session: PostgresSession, book: Book
) -> None:
    for amounts in ([5], [7, 11], [13]):
        await commit(session, [book.credit(ALICE, amount) for amount in amounts])
    history = database.sql("SELECT posted_at, seq, balance_after FROM entries ORDER BY seq")
    last_of_instant = {posted_at: (seq, balance) for posted_at, seq, balance in history}
    for posted_at, (seq, balance) in last_of_instant.items():
        answer = await at(queries, posted_at)
        assert (answer.as_of, answer.entry.seq, answer.entry.balance_after) == (posted_at, seq, balance)
    moments = [*last_of_instant, now(database) - MICROSECOND]
    for index, (posted_at, figures) in enumerate(last_of_instant.items()):
        before_next = moments[index + 1] - MICROSECOND
        answer = await at(queries, before_next)
        assert (answer.entry.seq, answer.entry.balance_after) == figures, posted_at


async def test_before_its_birth_a_wallet_does_not_exist(
    database: CellDatabase, queries: Queries, session: PostgresSession
) -> None:
    born_at = database.one("SELECT posted_at FROM entries WHERE seq = 1")
    problem = await refused(queries, born_at - MICROSECOND)
    moment = (born_at - MICROSECOND).astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert (problem.code, problem.facts) == ("wallet_must_exist", {"at": moment})
    assert (await refused(queries, datetime(1, 1, 1, tzinfo=UTC))).code == "wallet_must_exist"


async def test_the_future_is_not_told(database: CellDatabase, queries: Queries, session: PostgresSession) -> None:
    for ahead in (timedelta(seconds=5), timedelta(days=9_999)):
        assert (await refused(queries, now(database) + ahead)).code == "request_must_be_well_formed"


# An answer never changes later.


class _OpenBatch:
    """A batch between its two round trips: it will post at an instant that is already past."""

    def __init__(self, session: PostgresSession, book: Book) -> None:
        self._session = session
        self._credit = book.credit(ALICE, 5)

    async def begin(self) -> None:
        loaded = await self._session.load(footprint(self._credit))
        outcome = decide(View(loaded, footprint(self._credit)), self._credit, loaded.now_us)
        assert isinstance(outcome, Accepted)
        self._changes = outcome.changes

    async def end(self) -> None:
        await self._session.save([self._changes])


async def test_an_answer_waits_for_what_can_still_be_posted_before_it(
    database: CellDatabase, queries: Queries, session: PostgresSession, book: Book
) -> None:
    batch = _OpenBatch(session, book)
    await batch.begin()
    asked = now(database)
    answer = await at(queries, asked)
    assert answer.as_of < asked
    await batch.end()
    again = await at(queries, answer.as_of)
    assert (again.as_of, again.entry.seq) == (answer.as_of, answer.entry.seq)
    assert (await at(queries, asked)).entry.seq == answer.entry.seq + 1


async def test_an_answer_that_does_not_wait_is_caught(
    database: CellDatabase, queries: Queries, session: PostgresSession, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: no cap. What it says of an instant is not true of that instant a moment later."""
    monkeypatch.setattr(reads, "settled_until", reads.clock)
    batch = _OpenBatch(session, book)
    await batch.begin()
    answer = await at(queries, now(database))
    await batch.end()
    again = await at(queries, answer.as_of)
    assert (again.as_of, again.entry.seq) != (answer.as_of, answer.entry.seq)


async def test_a_stranger_s_open_transaction_holds_nothing_up(
    database: CellDatabase, queries: Queries, session: PostgresSession
) -> None:
    with database.transaction("cell_auditor") as reader:
        reader.execute("SELECT 1")
        asked = now(database)
        assert (await at(queries, asked)).as_of == asked


async def test_answers_given_under_load_are_true_later(
    database: CellDatabase, queries: Queries, session: PostgresSession, book: Book
) -> None:
    answers: list[BalanceAt] = []
    async with running_lanes(database, lanes=3, batch_max=5) as running:
        writing = asyncio.gather(*(running.submit(book.credit(ALICE, 1)) for _ in range(400)))
        while not writing.done():
            answers.append(await at(queries, now(database)))
        await writing
    assert len({answer.entry.seq for answer in answers}) > 1
    for answer in answers:
        again = await at(queries, answer.as_of)
        assert (again.as_of, again.entry.seq) == (answer.as_of, answer.entry.seq)


async def test_the_instant_of_a_balance_never_falls(
    database: CellDatabase, queries: Queries, session: PostgresSession, book: Book
) -> None:
    """A wallet that came from a cell whose clock is ahead: its entries stay in order."""
    ahead = now(database) + timedelta(hours=1)
    with database.unprotected() as thief:
        thief.execute("UPDATE wallets SET posted_at = %s", (ahead,))
        thief.execute("UPDATE entries SET posted_at = %s", (ahead,))
    await commit(session, [book.credit(ALICE, 1)])
    assert database.sql("SELECT seq FROM entries ORDER BY posted_at, seq") == [(1,), (2,)]
    assert database.one("SELECT max(posted_at) FROM entries") >= ahead


# What it costs.

LONG_HISTORY = """
INSERT INTO entries (wallet_id, posted_at, seq, kind, amount, held_delta, balance_after, held_after,
                     overdraft_limit_after, status_after, transaction_id, vendor_id, counter_account, sealed, details,
                     context, salt, hash)
SELECT wallet_id, posted_at + number * interval '1 second', seq + number, 'credit', 1, 0, number, 0, 0, 'active',
       gen_random_uuid(), 'acme', 'clearing:acme', hash, '{}', '{}', salt, hash
FROM entries, generate_series(1, 40000) AS number WHERE kind = 'opened'
"""


@pytest.fixture
async def long_history(database: CellDatabase, session: PostgresSession) -> CellDatabase:
    database.sql(LONG_HISTORY)
    database.sql("ANALYZE entries")
    return database


class _Explaining:
    """In the place of a connection: asks what a statement would cost."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.plan: dict[str, Any] = {}

    async def execute(self, statement: Executable) -> "_NoRows":
        compiled = statement.compile(dialect=dialect())  # type: ignore[attr-defined,no-untyped-call]
        rows = await self._connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled.string}",
            {name: value for name, value in compiled.params.items() if not name.startswith("__")},
        )
        told = rows.scalar_one()
        self.plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
        return _NoRows()


class _NoRows:
    def first(self) -> None:
        return None

    def all(self) -> list[Any]:
        return []


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def assert_is_a_seek(plan: dict[str, Any]) -> None:
    """Whatever the plan: no node gives more than a page of rows, and few pages are read. (Of an empty partition the
    planner likes to read nothing by a sequential scan.)
    """
    assert max(node["Actual Rows"] for node in nodes(plan)) <= PAGE_ROWS
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= BUFFERS_MAX


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
async def test_a_past_balance_is_a_seek(long_history: CellDatabase, share: float) -> None:
    first, last = long_history.sql("SELECT min(posted_at), max(posted_at) FROM entries")[0]
    await assert_cheap(long_history, at_moment=first + (last - first) * share)


async def assert_cheap(database: CellDatabase, *, at_moment: datetime) -> None:
    engine = create_async_engine(sqlalchemy_url(database.app_url))
    try:
        async with engine.connect() as connection:
            asking: Any = _Explaining(connection)
            await reads.entry_at(asking, ALICE, at_moment)
            assert_is_a_seek(asking.plan)
            for order in ("asc", "desc"):
                page = EntryFilter(wallet_id=ALICE, limit=PAGE_ROWS, order=order, after=(at_moment, 1))
                await reads.entry_page(asking, page)
                assert_is_a_seek(asking.plan)
    finally:
        await engine.dispose()


async def test_without_its_index_it_would_be_a_scan(long_history: CellDatabase) -> None:
    long_history.sql("ALTER TABLE entries DROP CONSTRAINT entries_pkey")
    with pytest.raises(AssertionError):
        await assert_cheap(long_history, at_moment=now(long_history))
