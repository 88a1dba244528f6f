"""What happens at once: watchdog and grant, openings and a fence, commands under a fence; and cells without a mover."""

import asyncio
import itertools
from typing import Any

import pytest
from cell_databases import CellDatabase
from cell_lanes import code
from cell_stores import postgres_ledger
from cell_waiting import until
from ledger_book import Book
from moving_cells import MovingCell, done, mover, refused
from psycopg import AsyncConnection

from cell.commit import commit
from cell.ledger.footprint import Footprint
from cell.ledger.outcomes import Accepted
from cell.ledger.view import Loaded
from cell.ports import LedgerSession
from contract.ids import WalletId, wallet_id_of
from contract.slots import slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
UNIT = slot_of(ALICE)


def overdue(cell: MovingCell) -> None:
    cell.database.sql("UPDATE unit_state SET deadline = clock_timestamp() WHERE state = 'fenced'")


def until_waiting(database: CellDatabase, count: int = 1) -> Any:
    return until(
        lambda: (
            database.one(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            >= count
        )
    )


# The watchdog.


async def test_a_fence_falls_without_its_mover(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.fence(stands_ms=50))
        waiting = a.running.submit(book.debit(ALICE, 1))
        await a.duties.watch()
    assert a.state(UNIT) == ("active", 1)
    assert code(await waiting) == "accepted"
    assert a.database.one("SELECT fence_no FROM unit_state WHERE unit = %s", UNIT) == 1


async def test_the_watchdog_leaves_a_fence_that_still_stands(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"])
    async with mover(a, b, [UNIT]) as move:
        done(await move.fence())
        await a.moves.source.lapse([UNIT])
        assert a.state(UNIT) == ("fenced", 1)
        done(await move.outgoing("unfence"))


@pytest.mark.parametrize("first", ["watchdog", "grant"])
async def test_of_watchdog_and_grant_exactly_one_happens(cells: Cells, book: Book, first: str) -> None:
    """Both wait for the unit's row; whoever gets it first decides, and the other sees that."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        with a.database.transaction() as stranger:
            stranger.execute("SELECT FROM unit_state WHERE unit = %s FOR UPDATE", (UNIT,))
            steps = {"grant": move.grant, "watchdog": lambda: a.moves.source.lapse([UNIT])}
            others = [name for name in steps if name != first]
            racing = {}
            for number, name in enumerate((first, *others), start=1):
                racing[name] = asyncio.create_task(steps[name]())  # type: ignore[operator]
                await until_waiting(a.database, number)
            stranger.execute(
                "UPDATE unit_state SET deadline = clock_timestamp() + %s * interval '1 second' WHERE unit = %s",
                (0 if first == "watchdog" else 2, UNIT),
            )
            stranger.commit()
        answer, _ = await asyncio.gather(racing["grant"], racing["watchdog"])
        if first == "watchdog":
            assert refused(answer) in {"unit_must_be_fenced", "fence_must_stand"}
            await a.duties.watch()
            assert a.state(UNIT) == ("active", 1)
            assert b.state(UNIT) == ("staged", 2)
        else:
            assert a.state(UNIT) == ("granted", 2)
            assert await a.running.codes(book.debit(ALICE, 1)) == ["wallet_must_be_owned_by_this_cell"]


async def test_many_races_leave_one_owner_each(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    for number in range(8):
        async with mover(a, b, [UNIT], epoch=2) as move:
            done(await move.stage())
            await move.copy()
            await move.copy_state()
            done(await move.fence(stands_ms=50 + 5 * number))
            await move.seal()
            watching = asyncio.create_task(a.duties.watch())
            granted = await move.grant() if move.staged else None
            await watching
            if granted is not None and granted.is_success:
                assert (a.state(UNIT), b.state(UNIT)) == (("granted", 2), ("staged", 2))
                done(await move.activate())
                break
            assert a.state(UNIT) == ("active", 1)
            done(await move.incoming("discard"))
    states = [cell.state(UNIT) for cell in cells]
    assert [state for state in states if state is not None and state[0] == "active"] != []


# The puller, and what is left behind.


async def test_a_target_fetches_the_grant_that_nobody_brings(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        await b.moves.pull(older_s=0)
        assert b.state(UNIT) == ("staged", 2)
        await move.granted()
    await b.duties.pull()
    assert b.state(UNIT) == ("staged", 2), "its seal is younger than a second"
    await b.moves.pull(older_s=0)
    assert b.state(UNIT) == ("active", 2)
    assert await b.running.codes(book.debit(ALICE, 100)) == ["accepted"]


async def test_a_command_that_meets_a_staged_unit_fetches_its_grant_and_is_served(cells: Cells, book: Book) -> None:
    """The router knows more than the cell: it was told of the new owner before the owner was."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        waiting = b.running.submit(book.debit(ALICE, 30))
        await move.granted()
        assert code(await waiting) == "accepted"
    assert b.state(UNIT) == ("active", 2)


async def test_a_staging_that_nobody_goes_on_with_is_wiped(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        await b.moves.end_leftovers(older_s=3_600)
        assert b.state(UNIT) == ("staging", 2)
        await b.moves.end_leftovers(older_s=0)
        assert b.state(UNIT) is None
        assert [b.database.count(table) for table in ("wallets", "entries", "transactions", "cleanups")] == [0] * 4
        assert refused(await move.put(UNIT, "entries", b"wallets\n\\.\nentries\n\\.\n")) == "unit_must_be_staging"


async def test_what_was_sealed_is_not_wiped_while_its_grant_may_come(cells: Cells, book: Book) -> None:
    """Neither under the fence, nor when the source has granted, nor when it does not answer."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        await b.moves.end_leftovers(older_s=0)
        assert b.state(UNIT) == ("staged", 2)
        await move.granted()
        urls = b.database.one("SELECT source_admin_urls FROM cleanups")
        b.database.sql("UPDATE cleanups SET source_admin_urls = '[\"http://127.0.0.1:9\"]'")
        await b.moves.end_leftovers(older_s=0)
        assert b.state(UNIT) == ("staged", 2)
        # The source is gone for good: what the mover kept of its grant is believed.
        done(await move.activate())
        assert b.state(UNIT) == ("active", 2)
        assert urls == f'["{a.url}"]'


# Under a fence.


async def test_commands_wait_for_the_end_of_a_fence_in_their_order(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice", "bob"], balance=100)
    bob = wallet_id_of(owner_type="person", owner_ref="bob", kind="main", currency="EUR")
    async with mover(a, b, [UNIT]) as move:
        done(await move.fence())
        before = a.database.count("entries")
        waiting = [a.running.submit(book.debit(ALICE, 60)) for _ in range(2)]
        waiting += [a.running.submit(book.credit(ALICE, 20)), a.running.submit(book.debit(ALICE, 60))]
        # The lane goes on, and reads and writes of others with it.
        assert await a.running.codes(*(book.debit(bob, 1) for _ in range(50))) == ["accepted"] * 50
        assert a.database.count("entries") == before + 50
        assert not any(answer.done() for answer in waiting)
        done(await move.outgoing("unfence"))
        answers = [code(outcome) for outcome in await asyncio.gather(*waiting)]
    short = "available_balance_must_cover_amount"
    assert answers == ["accepted", short, "accepted", "accepted"]


async def test_whoever_waits_too_long_is_told_so_and_nothing_is_recorded(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.fence())
        a.database.sql("UPDATE unit_state SET deadline = deadline + interval '1 minute' WHERE unit = %s", UNIT)
        before = a.database.count("entries")
        debit = book.debit(ALICE, 1)
        first, second = a.running.submit(debit), a.running.submit(book.opening("alice"))
        assert [code(await first), code(await second)] == ["wallet_is_moving", "wallet_is_moving"]
        assert a.database.count("entries") == before
        done(await move.outgoing("unfence"))
        assert await a.running.codes(debit) == ["accepted"]


async def test_waiting_commands_are_bounded_by_the_queue(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.fence())
        answers = [a.running.submit(book.debit(ALICE, 1)) for _ in range(5_001)]
        assert code(await answers[-1]) == "cell_must_have_capacity"
        done(await move.outgoing("unfence"))
        assert {code(one) for one in await asyncio.gather(*answers[:-1])} <= {
            "accepted",
            "available_balance_must_cover_amount",
        }


async def test_openings_that_race_a_fence_are_in_it_or_refused(cells: Cells, book: Book) -> None:
    """A wallet that is opened either moves with its unit or is not opened here: never one without the other."""
    a, b = cells
    refs = (f"person {number}" for number in itertools.count())
    in_unit = (ref for ref in refs if slot_of(id_of(ref)) % 1_024 == UNIT % 1_024)
    chosen = list(itertools.islice(in_unit, 60))
    units = sorted({slot_of(id_of(ref)) for ref in chosen})
    opening = [a.running.submit(book.opening(ref)) for ref in chosen[:30]]
    async with mover(a, b, units) as move:
        done(await move.stage())
        fencing = asyncio.create_task(move.fence())
        opening += [a.running.submit(book.opening(ref)) for ref in chosen[30:]]
        done(await fencing)
        await move.follow()
        await move.granted()
        done(await move.activate())
        outcomes = await asyncio.gather(*opening)
    opened = {id_of(ref) for ref, outcome in zip(chosen, outcomes, strict=True) if isinstance(outcome, Accepted)}
    assert {row[0] for row in b.database.sql("SELECT wallet_id::text FROM wallets")} == opened
    assert {code(one) for one in outcomes} <= {"accepted", "wallet_must_be_owned_by_this_cell"}
    again = await b.running.codes(*(book.opening(ref) for ref in chosen))
    assert set(again) <= {"accepted", "replayed"}


def id_of(ref: str) -> WalletId:
    return wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR")


# The ways that are not taken, tried on this PostgreSQL; more of them in tests/integration/cell/test_fence.py.


async def test_a_fence_that_takes_the_rows_first_misses_a_wallet_that_is_just_opened(cells: Cells, book: Book) -> None:
    """Why the unit's lock comes first: the opening holds it, and its row is not there to be locked yet."""
    a, _ = cells
    rows_first = (
        f"SELECT FROM wallets WHERE unit = {UNIT} ORDER BY wallet_id FOR UPDATE",
        f"SELECT pg_advisory_xact_lock(1, {UNIT})",
    )
    opener = await AsyncConnection.connect(a.database.url())
    fencer = await AsyncConnection.connect(a.database.url())
    async with opener, fencer:
        await opener.execute(f"SELECT pg_advisory_xact_lock_shared(1, {UNIT})".encode())
        seen = await (await fencer.execute(rows_first[0].encode())).fetchall()
        locking = asyncio.create_task(fencer.execute(rows_first[1].encode()))
        await until_waiting(a.database)
        await opener.execute(
            "INSERT INTO wallets (wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, "
            "overdraft_limit, seq, head_hash, opened_at, posted_at, metadata) VALUES (%s, %s, 'p', 'r', 'k', 'EUR', "
            "'active', 0, 0, 0, 0, '', now(), now(), '{}')",
            (ALICE, UNIT),
        )
        await opener.commit()
        await locking
        assert seen == [], "the rows that this fence would freeze"
        assert await (await fencer.execute("SELECT count(*) FROM wallets WHERE frozen_by IS NULL")).fetchone() == (1,)
    a.database.sql("DELETE FROM wallets")


class _Paused:
    """A writer that stands between its two round trips until it may go on."""

    def __init__(self, session: LedgerSession) -> None:
        self._session = session
        self.has_locks, self.may_go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def load(self, footprint: Footprint) -> Loaded:
        loaded = await self._session.load(footprint)
        self.has_locks.set()
        await self.may_go_on.wait()
        return loaded


async def test_a_tail_by_one_number_for_all_loses_what_commits_late(cells: Cells, book: Book) -> None:
    """T7: the number of a transaction says nothing about when it commits; the seq of a wallet does."""
    a, b = cells
    bob = (await a.running.open(book, ["alice", "bob"], balance=100))[1]
    session = postgres_ledger(a.database.app_url).session("late")
    await session.connect()
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        late = _Paused(session)
        writing = asyncio.create_task(commit(late, [book.debit(ALICE, 1)]))  # type: ignore[arg-type]  # it delegates
        await late.has_locks.wait()
        assert await a.running.codes(book.debit(bob, 1)) == ["accepted"]
        last_seen = a.database.one("SELECT max(xid)::text FROM entries")
        late.may_go_on.set()
        assert isinstance((await writing)[0], Accepted)
        assert a.database.sql("SELECT seq FROM entries WHERE xid > %s::text::xid8", last_seen) == [], "lost for ever"
        assert await move.copy() == 1, "by the wallet's own seq it is found"
    await session.close()
