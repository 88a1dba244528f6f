"""The write path reads by index from its first batch on, whatever the statistics of the tables say or do not say."""

import pytest
from cell_databases import CellDatabase
from cell_lanes import running_lanes
from cell_waiting import until
from ledger_book import Book

from cell.store import ledger_store

TABLES = "'wallets', 'transactions', 'entries', 'holds', 'reversals', 'transfers', 'spent'"
WHOLE_READS = f"SELECT coalesce(sum(seq_scan), 0)::int FROM pg_stat_user_tables WHERE relname IN ({TABLES})"  # noqa: S608
INDEX_READS = "SELECT coalesce(sum(idx_scan), 0)::int FROM pg_stat_user_tables WHERE relname = 'transactions'"
WALLETS, BATCHES = 20, 30


async def whole_reads_of_a_busy_cell(database: CellDatabase, book: Book) -> int:
    before, seen_before = database.one(WHOLE_READS), database.one(INDEX_READS)
    async with running_lanes(database, lanes=1) as running:
        wallets = await running.open(book, [f"owner {number}" for number in range(WALLETS)], balance=1_000)
        for _ in range(BATCHES):
            await running.do(*(book.credit(wallet_id, 1) for wallet_id in wallets))
            await running.do(book.hold(wallets[0], 1), book.transfer(wallets[1], wallets[2], 1))
    # Sessions tell their figures when they end; the last of them has then been seen by its index reads.
    await until(lambda: database.one(INDEX_READS) + database.one(WHOLE_READS) > seen_before + before)
    whole_reads: int = database.one(WHOLE_READS) - before
    return whole_reads


async def test_a_fresh_cell_never_reads_a_whole_table(database: CellDatabase, book: Book) -> None:
    assert await whole_reads_of_a_busy_cell(database, book) == 0


async def test_it_would_if_it_were_left_to_the_planner(
    database: CellDatabase, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_store, "BY_INDEX", "")
    assert await whole_reads_of_a_busy_cell(database, book) > BATCHES
