"""Sagas that end while their unit moves: each arrives once, as it ended, and what has long ended is not carried again.

Each case that could lose or double money has its mutant: the source keeps the end to itself, or tells another saga.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from cell_lanes import code
from ledger_book import Book
from moving_cells import Mover, MovingCell, done, give_away, mover, refused

from cell.ledger.commands import Command, SendTransfer, StartGroup
from cell.ledger.footprint import footprint, union
from cell.ledger.outcomes import Marked
from cell.store import memory_rows
from cell.store.moves import departures
from contract.ids import WalletId, wallet_id_of
from contract.moves import SagaName
from contract.slots import ISOLATED_UNIT_FIRST, slot_of

Cells = list[MovingCell]

ALICE, FAR = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "far"))
UNIT = slot_of(ALICE)
HOT = ISOLATED_UNIT_FIRST + 7
LONG_PAST = 40


async def alice(a: MovingCell, book: Book, *, balance: int = 1_000) -> WalletId:
    """Her wallet, and another cell's to which she sends."""
    async with mover(a, a, [slot_of(FAR)]) as away:
        await give_away(away)
    await a.running.open(book, ["alice"], balance=balance)
    return ALICE


async def sent(cell: MovingCell, book: Book, amount: int = 25) -> SendTransfer:
    transfer = book.transfer(ALICE, FAR, amount)
    assert await cell.running.codes(transfer) == ["accepted"]
    return transfer


async def grouped(cell: MovingCell, book: Book) -> StartGroup:
    group = book.group([(ALICE, -15), (FAR, 15)], within_us=3_600_000_000)
    assert await cell.running.codes(group) == ["accepted"]
    return group


async def confirm(cell: MovingCell, book: Book, group: StartGroup) -> None:
    await marked(cell, book.decide_group(group, prepared=[FAR]))
    await marked(cell, book.mark(group, FAR))


async def marked(cell: MovingCell, command: Command) -> None:
    (outcome,) = await cell.running.do(command)
    assert isinstance(outcome, Marked), outcome


async def sagas_of(cell: MovingCell, *commands: SendTransfer | StartGroup) -> dict[str, Any]:
    loaded = await cell.load(union([footprint(command) for command in commands]))
    return {**loaded.transfers, **loaded.groups}


async def rows_of_state(move: Mover, unit: int = UNIT) -> int:
    open_sagas = done(await move.incoming("positions", {"units": [unit]}))["open_sagas"]
    page = await move.outgoing("rows", {"unit": unit, "part": "state", "open_sagas": open_sagas})
    return int(page.headers["X-Rows"])


@contextmanager
def the_end_is_kept_secret() -> Iterator[None]:
    """The mutant: the source tells what is open, and nothing of what it is asked for besides."""
    stores = (departures.Departures, memory_rows.MemoryDepartures)
    honest = [one.state for one in stores]

    def silent(state: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(store: Any, unit: int, open_sagas: tuple[SagaName, ...] = ()) -> Any:
            del open_sagas
            return await state(store, unit)

        return told

    with patch.object(stores[0], "state", silent(honest[0])), patch.object(stores[1], "state", silent(honest[1])):
        yield


async def settle(cell: MovingCell, book: Book, transfer: SendTransfer) -> None:
    await marked(cell, book.settle(transfer))


async def refund(cell: MovingCell, book: Book, transfer: SendTransfer) -> None:
    assert await cell.running.codes(book.refund(transfer)) == ["accepted"]


ENDS = {"settled": settle, "refunded": refund}


@pytest.mark.parametrize("end", ENDS)
async def test_a_transfer_that_ends_between_two_passes_has_ended_there(either: Cells, book: Book, end: str) -> None:
    a, b = either
    await alice(a, book)
    transfer = await sent(a, book)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        await move.copy_state()
        assert (await sagas_of(b, transfer)).popitem()[1].state == "in_transit"
        await ENDS[end](a, book, transfer)
        await move.copy()
        await move.copy_state()
        assert (await sagas_of(b, transfer)).popitem()[1].state == end
        done(await move.fence())
        done(await move.seal())
        await move.granted()
        done(await move.activate())
    await it_ended_once(b, book, transfer, end)


async def it_ended_once(cell: MovingCell, book: Book, transfer: SendTransfer, end: str) -> None:
    """Whoever comes with the other end finds it over."""
    assert (await sagas_of(cell, transfer)).popitem()[1].state == end
    wallet = (await cell.load(footprint(transfer))).wallets[ALICE]
    assert (wallet.balance, wallet.pinned) == (1_000 if end == "refunded" else 975, 0)
    again = "replayed" if end == "refunded" else "transaction_must_exist"
    assert await cell.running.codes(book.refund(transfer)) == [again]
    await marked(cell, book.settle(transfer))
    assert (await cell.load(footprint(transfer))).wallets[ALICE].balance == wallet.balance


@pytest.mark.parametrize("end", ENDS)
async def test_a_transfer_that_ends_before_the_fence_follows_under_it(either: Cells, book: Book, end: str) -> None:
    a, b = either
    await alice(a, book)
    transfer = await sent(a, book)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        await move.copy_state()
        await ENDS[end](a, book, transfer)
        done(await move.fence())
        assert refused(await move.seal()) == "digests_must_match"
        await move.follow()
        await move.granted()
        done(await move.activate())
    await it_ended_once(b, book, transfer, end)


@pytest.mark.parametrize("end", ENDS)
async def test_a_source_that_keeps_the_end_to_itself_gets_no_seal(either: Cells, book: Book, end: str) -> None:
    """The mutant: at the target it would still be on its way, and somebody would go on with it."""
    a, b = either
    await alice(a, book)
    transfer = await sent(a, book)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        await move.copy_state()
        await ENDS[end](a, book, transfer)
        done(await move.fence())
        with the_end_is_kept_secret():
            await move.copy()
            await move.copy_state()
            assert refused(await move.seal()) == "digests_must_match"
        await move.copy_state()
        done(await move.seal())
        done(await move.outgoing("unfence"))


async def test_a_transfer_that_should_end_under_the_fence_ends_at_the_target(either: Cells, book: Book) -> None:
    a, b = either
    await alice(a, book)
    transfer = await sent(a, book)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        waiting = a.running.submit(book.settle(transfer))
        await move.granted()
        done(await move.activate())
        assert code(await waiting) == "wallet_must_be_owned_by_this_cell"
    assert (await sagas_of(b, transfer)).popitem()[1].state == "in_transit"
    await settle(b, book, transfer)
    await it_ended_once(b, book, transfer, "settled")


async def test_a_group_that_ends_between_two_passes_has_ended_there(either: Cells, book: Book) -> None:
    a, b = either
    await alice(a, book)
    kept, ended = await grouped(a, book), await grouped(a, book)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        await move.copy_state()
        await confirm(a, book, ended)
        before = await sagas_of(a, kept, ended)
        assert {one.is_finished for one in before.values()} == {True, False}
        done(await move.fence())
        with the_end_is_kept_secret():
            await move.copy()
            await move.copy_state()
            assert refused(await move.seal()) == "digests_must_match"
        await move.follow()
        await move.granted()
        done(await move.activate())
    assert await sagas_of(b, kept, ended) == before
    await confirm(b, book, kept)


async def test_after_an_aborted_move_another_cell_and_the_way_back(three: Cells, book: Book) -> None:
    """What ended in each of the three is in each of them as it ended."""
    a, b, c = three
    await alice(a, book)
    first, second, group = await sent(a, book, 10), await sent(a, book, 20), await grouped(a, book)
    await settle(a, book, second)
    async with mover(a, b, [UNIT]) as aborted:
        await aborted.up_to_staged()
        done(await aborted.outgoing("unfence"))
        done(await aborted.incoming("discard"))
    await b.moves.end_leftovers(older_s=0)
    await refund(a, book, first)
    third = await sent(a, book, 30)
    async with mover(a, c, [UNIT]) as there:
        await there.whole()
    await settle(c, book, third)
    await confirm(c, book, group)
    fourth = await sent(c, book, 40)
    every = (first, second, third, fourth, group)
    async with mover(c, a, [UNIT], epoch=3) as back:
        done(await back.stage())
        await back.copy()
        done(await back.incoming("discard"))
    await refund(c, book, fourth)
    at_c = await sagas_of(c, *every)
    async with mover(c, a, [UNIT], epoch=3) as again:
        await again.whole()
    assert await sagas_of(a, *every) == at_c
    async with mover(a, b, [UNIT], epoch=4) as onward:
        await onward.whole()
    assert await sagas_of(b, *every) == at_c
    assert {getattr(one, "state", None) for one in at_c.values()} == {"refunded", "settled", "confirmed"}
    wallet = (await b.load(footprint(first))).wallets[ALICE]
    assert (wallet.balance, wallet.held, wallet.pinned) == (1_000 - 20 - 30 - 15, 0, 0)


async def test_what_ended_at_the_other_cell_is_asked_for_on_the_way_back(three: Cells, book: Book) -> None:
    """The mutant: the rows that A kept would say for ever that it is on its way."""
    a, _, c = three
    await alice(a, book)
    transfer = await sent(a, book)
    async with mover(a, c, [UNIT]) as there:
        await there.whole()
    await settle(c, book, transfer)
    async with mover(c, a, [UNIT], epoch=3) as back:
        with the_end_is_kept_secret():
            done(await back.stage())
            await back.copy()
            await back.copy_state()
            done(await back.fence())
            assert refused(await back.seal()) == "digests_must_match"
        done(await back.outgoing("unfence"))
        await back.copy_state()
        done(await back.fence())
        await back.follow()
        await back.granted()
        done(await back.activate())
    await it_ended_once(a, book, transfer, "settled")


@pytest.mark.parametrize("rows_max", [7, 5_000])
async def test_an_isolated_wallet_takes_its_long_past_along(either: Cells, book: Book, rows_max: int) -> None:
    a, b = either
    await alice(a, book)
    past = [await sent(a, book, 1) for _ in range(LONG_PAST)]
    for transfer in past[: LONG_PAST // 2]:
        await settle(a, book, transfer)
    for transfer in past[LONG_PAST // 2 :]:
        await refund(a, book, transfer)
    await a.moves.isolation.isolate(ALICE, HOT)  # type: ignore[arg-type]
    still = await sent(a, book)
    before = await sagas_of(a, *past, still)
    async with mover(a, b, [HOT]) as move:
        done(await move.stage())
        await move.copy(rows_max=rows_max)
        await move.copy_state()
        done(await move.fence())
        await move.follow()
        await move.granted()
        done(await move.activate())
    assert len(before) == LONG_PAST + 1
    assert await sagas_of(b, *past, still) == before


async def test_how_much_has_ended_does_not_matter_under_the_fence(either: Cells, book: Book) -> None:
    a, b = either
    await alice(a, book)
    open_one = await sent(a, book)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        few = await rows_of_state(move)
        for _ in range(LONG_PAST):
            await settle(a, book, await sent(a, book, 1))
            await confirm(a, book, await grouped(a, book))
        await move.copy()
        await move.copy_state()
        done(await move.fence())
        assert await rows_of_state(move) == few
        done(await move.seal())
        done(await move.outgoing("unfence"))
    await settle(a, book, open_one)


async def test_a_saga_that_is_not_what_its_entry_began_is_refused(either: Cells, book: Book) -> None:
    a, b = either
    await alice(a, book)
    await sent(a, book, 25)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        body = {"unit": UNIT, "part": "entries", "positions": [[ALICE, 0]]}
        page = (await move.outgoing("rows", body)).content
        honest, forged = b.forgeries.saga
        assert honest in page
        assert refused(await move.put(UNIT, "entries", page.replace(honest, forged))) == "rows_must_fold"
        assert b.count_entries() == 0
        done(await move.put(UNIT, "entries", page))
        done(await move.incoming("discard"))


async def test_a_saga_never_becomes_another_one(either: Cells, book: Book) -> None:
    """What has ended is in no digest any more, so it is held against what was open."""
    a, b = either
    await alice(a, book)
    transfer = await sent(a, book, 25)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        await settle(a, book, transfer)
        open_sagas = done(await move.incoming("positions"))["open_sagas"]
        body = {"unit": UNIT, "part": "state", "open_sagas": open_sagas}
        page = (await move.outgoing("rows", body)).content
        forged = page.replace(transfer.transfer_id.encode(), FAR.encode())
        assert forged != page
        assert refused(await move.put(UNIT, "state", forged)) == "rows_must_fold"
        done(await move.put(UNIT, "state", page))
        assert (await sagas_of(b, transfer)).popitem()[1].state == "settled"
        done(await move.incoming("discard"))
