"""A hot wallet leaves its slot within the cell, moves alone, and is never opened a second time by its slot's owner."""

from typing import Any

import httpx
from cell_lanes import code
from ledger_book import Book
from moving_cells import OPERATOR, MovingCell, done, mover

from cell.ledger.outcomes import Rejected
from contract.ids import wallet_id_of
from contract.slots import ISOLATED_UNIT_FIRST, slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
SLOT = slot_of(ALICE)
HOT = ISOLATED_UNIT_FIRST + 7


async def ask(cell: MovingCell, verb: str, unit: int = HOT) -> httpx.Response:
    async with httpx.AsyncClient(base_url=cell.url, headers=OPERATOR) as client:
        return await client.post(f"/admin/{verb}", json={"wallet_id": ALICE, "unit": unit})


async def facts_of(cell: MovingCell, command: Any) -> dict[str, Any]:
    outcome = await cell.running.submit(command)
    assert isinstance(outcome, Rejected)
    assert outcome.problem.code == "wallet_must_be_owned_by_this_cell"
    return outcome.problem.facts or {}


async def test_isolating_costs_nothing_and_may_be_asked_twice(cells: Cells, book: Book) -> None:
    a, _ = cells
    await a.running.open(book, ["alice"], balance=100)
    history = a.database.sql("SELECT ctid, * FROM entries")
    first = done(await ask(a, "isolate"))
    assert first["units"] == [{"unit": HOT, "state": "active", "epoch": 1, "move_id": None, "fence_no": 0}]
    assert done(await ask(a, "isolate")) == first
    assert a.database.sql("SELECT ctid, * FROM entries") == history
    assert await a.running.codes(book.debit(ALICE, 1)) == ["accepted"]
    answer = await ask(a, "isolate", HOT + 1)
    assert (answer.status_code, answer.json()["reason"]) == (409, "unit_must_be_absent")


async def test_an_isolated_wallet_moves_alone_and_its_slot_tells_the_way(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    done(await ask(a, "isolate"))
    async with mover(a, b, [HOT]) as move:
        await move.whole()
    assert a.state(SLOT) == ("active", 1)
    assert await b.running.codes(book.debit(ALICE, 40)) == ["accepted"]
    assert await facts_of(a, book.debit(ALICE, 1)) == {"unit": HOT, "cell": "cell-b", "epoch": 2}
    # Also when its rows are gone: it is not opened a second time by the owner of its slot.
    async with httpx.AsyncClient(base_url=a.url, headers=OPERATOR) as client:
        cleaned = await client.post(f"/admin/outgoing/{move.id}/clean", json={"units": [HOT]})
        assert cleaned.json()["deleted"] > 0
    assert a.database.count("wallets") == 0
    elsewhere = {"unit": HOT, "cell": "cell-b", "epoch": 2, "wallet_id": ALICE}
    assert await facts_of(a, book.opening("alice")) == elsewhere
    assert await facts_of(a, book.debit(ALICE, 1)) == elsewhere


async def test_a_slot_takes_the_exile_rows_of_its_wallets_along(cells: Cells, book: Book) -> None:
    """Its new owner would otherwise open the wallet again: shown with the row taken away."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    done(await ask(a, "isolate"))
    async with mover(a, b, [SLOT]) as move:
        done(await move.stage())
        page = await move.outgoing("rows", {"unit": SLOT, "part": "state"})
        done(await move.put(SLOT, "state", page.content))
        done(await move.fence())
        done(await move.seal())
        await move.granted()
        done(await move.activate())
    opening = book.opening("alice")
    assert await facts_of(b, opening) == {"unit": HOT, "cell": "cell-a", "epoch": 1, "wallet_id": ALICE}
    assert await a.running.codes(book.debit(ALICE, 1)) == ["accepted"]
    b.database.sql("DELETE FROM isolated")
    assert code(await b.running.submit(opening)) == "accepted"


async def test_without_its_exile_rows_a_slot_is_not_granted(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"])
    done(await ask(a, "isolate"))
    async with mover(a, b, [SLOT]) as move:
        done(await move.stage())
        done(await move.fence())
        assert (await move.seal()).json()["reason"] == "digests_must_match"
        done(await move.outgoing("unfence"))


async def test_a_wallet_that_rejoins_is_its_slots_again(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    done(await ask(a, "isolate"))
    async with mover(a, b, [HOT]) as there:
        await there.whole()
    answer = await ask(b, "rejoin")
    assert (answer.status_code, answer.json()["reason"]) == (409, "unit_must_be_active"), "its slot is elsewhere"
    async with mover(b, a, [HOT], epoch=3) as back:
        await back.whole()
        assert back.copied == 0
    first = done(await ask(a, "rejoin"))
    assert first["units"][0]["unit"] == SLOT
    assert done(await ask(a, "rejoin")) == first
    assert a.state(HOT) == ("moved", 4)
    assert a.database.count("isolated") == 0
    assert await a.running.codes(book.debit(ALICE, 1)) == ["accepted"]
    # The number is not used again, and the slot moves as if nothing had been.
    assert (await ask(a, "isolate")).json()["reason"] == "unit_must_be_absent"
    async with mover(a, b, [SLOT]) as move:
        await move.whole()
    assert await b.running.codes(book.debit(ALICE, 1)) == ["accepted"]
    assert b.database.one("SELECT unit FROM wallets") == SLOT


async def test_neither_is_done_under_a_fence(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"])
    async with mover(a, b, [SLOT]) as move:
        done(await move.fence())
        assert (await ask(a, "isolate")).json()["reason"] == "unit_must_be_active"
        done(await move.outgoing("unfence"))
    done(await ask(a, "isolate"))
    async with mover(a, b, [HOT]) as move:
        done(await move.fence())
        assert (await ask(a, "rejoin")).json()["reason"] == "unit_must_be_active"
        done(await move.outgoing("unfence"))
