"""A unit moves from one real cell to another through the admin APIs, and takes everything of its wallets along."""

from cell_lanes import code
from ledger_book import Book
from moving_cells import MovingCell, mover

from contract.slots import slot_of

Cells = tuple[MovingCell, MovingCell]


async def test_a_unit_moves_and_its_new_owner_goes_on(cells: Cells, book: Book) -> None:
    a, b = cells
    (alice,) = await a.running.open(book, ["alice"], balance=100)
    unit = slot_of(alice)
    async with mover(a, b, [unit]) as move:
        await move.whole()
    assert (a.state(unit), b.state(unit)) == (("moved", 2), ("active", 2))
    assert await b.running.codes(book.debit(alice, 30)) == ["accepted"]
    assert b.database.one("SELECT balance FROM wallets") == 70
    assert code(await a.running.submit(book.debit(alice, 1))) == "wallet_must_be_owned_by_this_cell"
