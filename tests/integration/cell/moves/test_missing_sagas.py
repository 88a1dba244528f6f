"""Entries that an earlier version had copied without the sagas that they began: the migration has them asked for."""

from importlib import import_module

import pytest
from cell_databases import CellDatabase
from ledger_book import Book
from moving_cells import MovingCell, done, give_away, mover

from contract.ids import wallet_id_of
from contract.slots import slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE, FAR = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "far"))
UNIT = slot_of(ALICE)
MISSING: str = import_module("cell.store.migrations.versions.0009_open_sagas").MISSING


def told(database: CellDatabase) -> list[tuple[object, ...]]:
    """Of every saga whether it is over; what schedules it is left out."""
    return database.sql("SELECT transfer_id, to_wallet_id, amount, state, sent_at FROM transfers") + database.sql(
        "SELECT group_id, state, is_finished, legs, started_at, decide_by FROM groups"
    )


@pytest.mark.parametrize("is_migrated", [True, False])
async def test_what_was_copied_without_its_sagas(cells: Cells, book: Book, *, is_migrated: bool) -> None:
    """Without the migration (the mutant) they would never come: they have ended, and their entries are there."""
    a, b = cells
    async with mover(a, a, [slot_of(FAR)]) as away:
        await give_away(away)
    await a.running.open(book, ["alice"], balance=100)
    transfer = book.transfer(ALICE, FAR, 25)
    group = book.group([(ALICE, -200), (FAR, 200)])
    assert await a.running.codes(transfer) == ["accepted"]
    await a.running.do(book.settle(transfer))
    assert await a.running.codes(group) == ["available_balance_must_cover_amount"]
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        with b.database.unprotected() as thief:
            thief.execute("DELETE FROM transfers")
            thief.execute("DELETE FROM groups")
            if is_migrated:
                thief.execute(MISSING.encode())
        assert len(done(await move.incoming("positions"))["open_sagas"]) == 2 * is_migrated
        await move.copy_state()
        done(await move.fence())
        done(await move.seal())
        assert told(b.database) == (told(a.database) if is_migrated else [])
        done(await move.outgoing("unfence"))
        done(await move.incoming("discard"))


async def test_the_migration_leaves_units_alone_that_are_served(cells: Cells, book: Book) -> None:
    a, _ = cells
    await a.running.open(book, ["alice"], balance=100)
    with a.database.unprotected() as thief:
        thief.execute("UPDATE transactions SET kind = 'group' WHERE kind = 'credit'")
        thief.execute(MISSING.encode())
        thief.execute("UPDATE transactions SET kind = 'credit' WHERE kind = 'group'")
    assert a.database.count("groups") == 0
