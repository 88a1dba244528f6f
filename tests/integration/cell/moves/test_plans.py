"""A move reads by index in both cells, also where nobody has analysed a table yet: in a cell that was just added."""

import pytest
from cell_waiting import until
from ledger_book import Book
from moving_cells import MovingCell, done, mover

from cell.store.moves import sessions
from cell.store.plans import BY_INDEX
from contract.ids import wallet_id_of
from contract.slots import slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
UNIT = slot_of(ALICE)
WALLETS = 20
OF_THE_LEDGER = "^((entries|transactions).*|wallets|holds|reversals|transfers|groups|spent)$"
READS = f"SELECT coalesce(sum({{}}), 0)::int FROM pg_stat_user_tables WHERE relname ~ '{OF_THE_LEDGER}'"  # noqa: S608
WHOLE_READS, INDEX_READS = READS.format("seq_scan"), READS.format("idx_scan")


async def whole_reads_of_moves(cells: Cells, book: Book) -> int:
    """Of one that is given up, one that arrives, and of deleting what each left behind; in both cells."""
    a, b = cells
    wallets = await a.running.open(book, ["alice", *(f"person {number}" for number in range(WALLETS))], balance=100)
    for wallet_id in wallets:
        a.database.sql("UPDATE wallets SET unit = %s WHERE wallet_id = %s", UNIT, wallet_id)
        await a.running.do(book.hold(wallet_id, 1), book.credit(wallet_id, 1))
    before = sum(one.database.one(WHOLE_READS) for one in cells)
    async with mover(a, b, [UNIT]) as given_up:
        done(await given_up.stage())
        await given_up.copy()
        done(await given_up.incoming("discard"))
        await b.moves.end_leftovers(older_s=60)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
        while done(await move.outgoing("clean"))["left"]:
            pass
    for one in cells:
        seen = one.database.one(INDEX_READS)
        await one.moves.close()  # sessions tell their figures when they end
        await until(lambda cell=one, figure=seen: cell.database.one(INDEX_READS) > figure)  # type: ignore[misc]
    return sum(one.database.one(WHOLE_READS) for one in cells) - before


async def test_a_move_never_reads_a_whole_table(cells: Cells, book: Book) -> None:
    assert await whole_reads_of_moves(cells, book) == 0


async def test_it_would_if_it_were_left_to_the_planner(
    cells: Cells, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_OPTIONS", sessions._OPTIONS.replace(BY_INDEX, ""))
    assert await whole_reads_of_moves(cells, book) > WALLETS
