"""A unit moves from one real cell to another through the admin APIs, and takes everything of its wallets along."""

import asyncio
import itertools
from typing import Any

import psycopg
import pytest
from cell_lanes import code
from cell_waiting import until
from ledger_book import Book
from moving_cells import MovingCell, done, mover

from cell.crash_points import MOVE_POINTS
from cell.ledger.limits import Caps
from cell.ledger.outcomes import Accepted
from cell.store.moves.departures import ENTRIES_QUESTION
from contract.ids import WalletId, wallet_id_of
from contract.slots import slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE, FAR = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "far"))
UNIT = slot_of(ALICE)
CAPS = Caps(wallet_day_max=1_000, vendor_day_max=1_000)

TABLES = {
    "wallets": "unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit, seq, head_hash, "
    "opened_at, posted_at, blocked_by, metadata, pinned",
    "entries": "posted_at, seq, kind, amount, held_delta, balance_after, held_after, overdraft_limit_after, "
    "status_after, transaction_id, vendor_id, counter_account, subject_id, subject_vendor_id, expires_at, "
    "requested_kind, requested_amount, reason, sealed, details, context, salt, hash",
    "transactions": "*",
    "reversals": "*",
    "holds": "*",
    "spent": "*",
    "transfers": "*",
    "groups": "*",
}


def rows_of(cell: MovingCell, wallet_id: WalletId) -> dict[str, list[Any]]:
    return {
        table: sorted(map(repr, cell.database.sql(f"SELECT {columns} FROM {table} WHERE wallet_id = %s", wallet_id)))  # noqa: S608
        for table, columns in TABLES.items()
    }


async def filled(a: MovingCell, book: Book) -> dict[str, Any]:
    """Everything that a wallet can have, some of it open; by name the commands that tests go on with."""
    a.database.sql("DELETE FROM unit_state WHERE unit = %s", slot_of(FAR))
    assert await a.running.codes(book.opening("alice", overdraft_limit=50)) == ["accepted"]
    first, gone, kept, ended = (
        book.credit(ALICE, 500),
        book.debit(ALICE, 40, caps=CAPS),
        book.hold(ALICE, 30, expires_in_s=3_600),
        book.hold(ALICE, 20),
    )
    for command in (first, gone, kept, ended):
        assert await a.running.codes(command) == ["accepted"]
    sent = book.transfer(ALICE, FAR, 25)
    group = book.group([(ALICE, -15), (FAR, 15)])
    for command in (
        book.reverse(ALICE, gone, 10),
        book.capture(kept, 5, is_final=False),
        book.release(ended),
        sent,
        group,
        book.change(ALICE, metadata='{"tier":"gold"}', details='{"change":{"metadata":{"tier":"gold"}}}'),
    ):
        assert await a.running.codes(command) == ["accepted"], command
    assert await a.running.codes(book.debit(ALICE, 100_000)) == ["available_balance_must_cover_amount"]
    return {"credit": first, "debit": gone, "hold": kept, "sent": sent, "group": group}


@pytest.mark.parametrize("rows_max", [1, 3, 5_000])
async def test_everything_of_a_wallet_arrives_as_it_was(cells: Cells, book: Book, rows_max: int) -> None:
    a, b = cells
    named = await filled(a, book)
    before = rows_of(a, ALICE)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy(rows_max=rows_max)
        await move.copy_state()
        done(await move.fence())
        for step in (move.seal, move.grant, move.activate):
            done(await step())
            for cell in cells:
                await cell.assert_clean()
    assert rows_of(b, ALICE) == before
    assert all(before.values()), "each table has rows of the wallet"
    assert b.database.one("SELECT count(*) FROM entries WHERE xid <> '0'::xid8") == 0
    # What was recorded there is known here; what is open there is ended here.
    assert await b.running.codes(named["credit"], named["debit"]) == ["replayed", "replayed"]
    assert await b.running.codes(book.capture(named["hold"])) == ["accepted"]
    assert await b.running.codes(book.reverse(ALICE, named["debit"], 31)) == ["reversal_must_not_exceed_original"]
    assert await b.running.codes(book.refund(named["sent"])) == ["accepted"]
    assert await b.running.codes(book.debit(ALICE, 970, caps=CAPS)) == ["amount_must_not_exceed_limit"]


async def test_the_money_of_both_cells_is_the_money_there_was(cells: Cells, book: Book) -> None:
    a, b = cells
    await filled(a, book)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    question = "SELECT currency, sum(delta)::bigint FROM account_deltas WHERE account = 'migrated' GROUP BY currency"
    migrated = [cell.database.sql(question) for cell in cells]
    balance = b.database.one("SELECT balance FROM wallets WHERE wallet_id = %s", ALICE)
    assert migrated == [[("EUR", balance)], [("EUR", -balance)]]


async def test_what_is_written_during_the_copy_follows(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        assert await move.copy() == 2
        hold = book.hold(ALICE, 7)
        assert await a.running.codes(book.debit(ALICE, 1), hold) == ["accepted", "accepted"]
        assert await move.copy() == 2
        assert await move.copy() == 0
        assert await a.running.codes(book.capture(hold)) == ["accepted"]
        done(await move.fence())
        assert await move.copy() == 1
        await move.copy_state()
        done(await move.seal())
        await move.granted()
        done(await move.activate())
    assert b.database.sql("SELECT balance, held, seq FROM wallets") == [(92, 0, 5)]


async def test_a_wallet_that_nobody_opened_moves_too_and_is_opened_there(cells: Cells, book: Book) -> None:
    """Its log begins with the refusal of a transfer, in no currency."""
    a, b = cells
    await a.running.open(book, ["bob"], balance=100)
    bob = wallet_id_of(owner_type="person", owner_ref="bob", kind="main", currency="EUR")
    asked = book.receive(book.transfer(bob, ALICE, 5))
    assert await a.running.codes(asked) == ["target_wallet_must_accept"]
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    assert await b.running.codes(asked, book.opening("alice")) == ["target_wallet_must_accept", "accepted"]
    assert await b.running.codes(book.credit(ALICE, 5)) == ["accepted"]


async def test_a_unit_moves_back_and_only_the_difference_travels(cells: Cells, book: Book) -> None:
    a, b = cells
    named = await filled(a, book)
    async with mover(a, b, [UNIT]) as there:
        await there.whole()
    entries = b.database.count("entries")
    assert await b.running.codes(book.debit(ALICE, 3), book.capture(named["hold"])) == ["accepted", "accepted"]
    async with mover(b, a, [UNIT], epoch=3) as back:
        await back.whole()
    assert there.copied == entries
    assert back.copied == 2
    assert (a.state(UNIT), b.state(UNIT)) == (("active", 3), ("moved", 3))
    assert rows_of(a, ALICE) == rows_of(b, ALICE)
    assert await a.running.codes(named["credit"], book.credit(ALICE, 1)) == ["replayed", "accepted"]


async def test_many_empty_slots_and_a_full_one_move_together(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    units = sorted({UNIT, *range(200, 300)})
    async with mover(a, b, units) as move:
        await move.whole()
    assert {b.state(unit) for unit in units} == {("active", 2)}
    assert await b.running.codes(book.debit(ALICE, 100)) == ["accepted"]


async def test_vendors_who_keep_writing_lose_nothing_and_pay_nothing_twice(cells: Cells, book: Book) -> None:
    """Four vendors, each with one debit after the other, sent on to where the wallet is; a fence stands meanwhile."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=10_000)
    is_over, paid = asyncio.Event(), itertools.count()
    done_by_now = 0

    async def vendor() -> int:
        nonlocal done_by_now
        count = 0
        while not is_over.is_set():
            debit = book.debit(ALICE, 1)
            for cell in itertools.cycle((a, b)):
                outcome = await cell.running.submit(debit)
                if isinstance(outcome, Accepted):
                    break
                assert code(outcome) in {"wallet_must_be_owned_by_this_cell", "wallet_is_moving", "replayed"}
            count += 1
            done_by_now = next(paid)
        return count

    async def at_least(number: int) -> None:
        await until(lambda: done_by_now >= number)

    vendors = [asyncio.create_task(vendor()) for _ in range(4)]
    await at_least(50)
    async with mover(a, b, [UNIT]) as there:
        await there.whole()
    await at_least(done_by_now + 50)
    async with mover(b, a, [UNIT], epoch=3) as back:
        await back.whole()
    await at_least(done_by_now + 50)
    is_over.set()
    total = sum(await asyncio.gather(*vendors))
    assert a.database.one("SELECT balance FROM wallets") == 10_000 - total
    assert a.database.one("SELECT count(*) FROM transactions WHERE kind = 'debit'") == total
    assert a.database.one("SELECT count(*) FROM entries WHERE kind = 'debit' AND xid <> '0'::xid8") > 50
    assert b.database.one("SELECT count(*) FROM entries WHERE kind = 'debit' AND xid <> '0'::xid8") > 50


async def test_rows_of_a_moved_unit_go_in_batches_and_both_cells_stay_sound(cells: Cells, book: Book) -> None:
    a, b = cells
    await filled(a, book)
    bob = (await a.running.open(book, ["bob"], balance=5))[0]
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
        cleaned = done(await move.outgoing("clean"))
        assert cleaned["deleted"] > 10
        while cleaned["left"]:
            await a.assert_clean()
            cleaned = done(await move.outgoing("clean"))
        assert done(await move.outgoing("clean")) == {"deleted": 0, "left": 0}
    assert not any(rows_of(a, ALICE).values())
    assert rows_of(a, bob)["entries"]
    assert a.state(UNIT) == ("moved", 2)
    assert await a.running.codes(book.debit(ALICE, 1)) == ["wallet_must_be_owned_by_this_cell"]
    # And it may come back, from nothing.
    async with mover(b, a, [UNIT], epoch=3) as back:
        await back.whole()
    assert rows_of(a, ALICE) == rows_of(b, ALICE)


async def test_each_named_point_is_passed_once_its_step_is_committed(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
        done(await move.outgoing("clean"))
    there = [point for point, _ in itertools.groupby(b.points.passed)]
    assert there == ["move.staging", "move.rows_taken", "move.staged", "move.activated"]
    here = ["move.fencing", "move.fenced", "move.granting", "move.granted", "move.tombstoned", "move.cleaned"]
    assert a.points.passed == here
    assert {*a.points.passed, *there} == set(MOVE_POINTS)


async def test_a_partly_deleted_unit_stays_sound_and_is_not_staged(cells: Cells, book: Book) -> None:
    a, b = cells
    await filled(a, book)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
        a.database.sql("INSERT INTO cleanups (unit, cause, move_id) VALUES (%s, 'moved', %s)", UNIT, move.id)
        before = a.database.count("entries")
        assert await a.moves.deletion.delete_batch(UNIT, rows_max=4) == 4
        assert a.database.count("entries") == before - 4
        await a.assert_clean()
    async with mover(b, a, [UNIT], epoch=3) as back:
        answer = await back.stage()
        assert (answer.status_code, answer.json()["reason"]) == (409, "unit_must_not_be_in_another_move")
    await a.duties.end_leftovers()
    assert a.database.count("entries") == 0
    assert a.database.count("cleanups") == 0


async def test_a_log_of_many_pages_is_entered_where_it_goes_on(cells: Cells, book: Book) -> None:
    """Beyond a thousand entries the place is found by bisection; several entries may bear one instant."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=10_000)
    for _ in range(30):
        assert set(await a.running.codes(*(book.debit(ALICE, 1) for _ in range(80)))) == {"accepted"}
    assert a.database.one("SELECT count(*) > count(DISTINCT posted_at) FROM entries WHERE wallet_id = %s", ALICE)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        assert await move.copy(rows_max=170) == 2_402
        await move.copy_state()
        done(await move.fence())
        done(await move.seal())
        await move.granted()
        done(await move.activate())


async def test_a_page_touches_no_more_logs_than_it_takes(cells: Cells, book: Book) -> None:
    """Otherwise a unit of many wallets would be read whole for each of its pages."""
    a, b = cells
    wallets = await a.running.open(book, [f"person {number}" for number in range(40)], balance=100)
    for wallet_id in wallets:
        a.database.sql("UPDATE wallets SET unit = %s WHERE wallet_id = %s", UNIT, wallet_id)
    question = {
        "unit": UNIT,
        "wallets": sorted(wallets),
        "seqs": [0] * len(wallets),
        "rows_max": 5,
    }
    with a.database.transaction() as connection:
        connection.execute("SET plan_cache_mode = force_custom_plan")
        plan = psycopg.ClientCursor(connection).execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + ENTRIES_QUESTION.partition("COPY (")[2].rpartition(")")[0], question
        )
        row = plan.fetchone()
        assert row is not None
        assert scanned(row[0][0]["Plan"]) <= 10, "rows of entries"
    async with mover(a, b, [UNIT]) as move:
        await move.whole()


def scanned(node: dict[str, Any]) -> float:
    """Rows that came out of partitions of the log."""
    own = node["Actual Rows"] * node["Actual Loops"] if node.get("Relation Name", "").startswith("entries_") else 0
    return float(own + sum(scanned(child) for child in node.get("Plans", ())))
