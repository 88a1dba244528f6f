"""What a store promises to the steps of moves (cell/move_ports.py): PostgreSQL for cells, memory for simulations.

With tests/integration/cell/moves/test_refusals.py, whose table of refusals both kinds of stores answer alike.
"""

import asyncio
import itertools
from typing import Any

import pytest
from cell_lanes import code
from ledger_book import Book
from moving_cells import MovingCell, done, give_away, mover, refused

from cell.ledger.commands import Command
from cell.ledger.footprint import Footprint, footprint, union
from cell.ledger.limits import Caps
from cell.ledger.outcomes import Accepted, Rejected
from contract.ids import WalletId, wallet_id_of
from contract.slots import ISOLATED_UNIT_FIRST, slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE, FAR = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "far"))
UNIT = slot_of(ALICE)
HOT = ISOLATED_UNIT_FIRST + 7
CAPS = Caps(wallet_day_max=1_000, vendor_day_max=1_000)


async def filled(a: MovingCell, book: Book) -> dict[str, Command]:
    """Everything that a wallet can have, some of it open; by name the commands that did it."""
    async with mover(a, a, [slot_of(FAR)]) as away:
        await give_away(away)
    first, gone = book.credit(ALICE, 500), book.debit(ALICE, 40, caps=CAPS)
    kept, ended = book.hold(ALICE, 30, expires_in_s=3_600), book.hold(ALICE, 20)
    commands: dict[str, Command] = {
        "opening": book.opening("alice", overdraft_limit=50),
        "credit": first,
        "debit": gone,
        "hold": kept,
        "ended": ended,
        "reversal": book.reverse(ALICE, gone, 10),
        "capture": book.capture(kept, 5, is_final=False),
        "release": book.release(ended),
        "sent": book.transfer(ALICE, FAR, 25),
        "group": book.group([(ALICE, -15), (FAR, 15)]),
        "change": book.change(ALICE, metadata='{"tier":"gold"}', details='{"change":{"metadata":{"tier":"gold"}}}'),
    }
    for command in commands.values():
        assert await a.running.codes(command) == ["accepted"], command
    refused_one = book.debit(ALICE, 100_000)
    assert await a.running.codes(refused_one) == ["available_balance_must_cover_amount"]
    return {**commands, "refused": refused_one}


def footprint_of(commands: dict[str, Command]) -> Footprint:
    return union([footprint(command) for command in commands.values()])


async def rows_of(cell: MovingCell, commands: dict[str, Command]) -> dict[str, Any]:
    loaded = await cell.load(footprint_of(commands))
    tables = ("recorded", "reversed_amounts", "holds", "transfers", "groups", "spent")
    return {"alice": loaded.wallets[ALICE], **{table: getattr(loaded, table) for table in tables}}


@pytest.mark.parametrize("rows_max", [1, 3, 5_000])
async def test_everything_of_a_wallet_arrives_as_it_was(either: Cells, book: Book, rows_max: int) -> None:
    a, b = either
    named = await filled(a, book)
    before, logged = await rows_of(a, named), a.count_entries()
    assert all(before.values()), "each table has rows of the wallet"
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        assert await move.copy(rows_max=rows_max) == logged
        await move.copy_state()
        done(await move.fence())
        for step in (move.seal, move.grant, move.activate):
            done(await step())
            for cell in either:
                await cell.assert_clean()
    assert await rows_of(b, named) == before
    assert await b.running.codes(named["credit"], named["refused"]) == [
        "replayed",
        "available_balance_must_cover_amount",
    ]
    assert await b.running.codes(book.capture(named["hold"])) == ["accepted"]  # type: ignore[arg-type]
    assert await b.running.codes(book.reverse(ALICE, named["debit"], 31)) == [  # type: ignore[arg-type]
        "reversal_must_not_exceed_original"
    ]
    assert await b.running.codes(book.refund(named["sent"])) == ["accepted"]  # type: ignore[arg-type]
    assert await b.running.codes(book.debit(ALICE, 970, caps=CAPS)) == ["amount_must_not_exceed_limit"]
    assert a.migrated() == -b.migrated() == before["alice"].balance


async def test_a_unit_moves_back_and_only_the_difference_travels(either: Cells, book: Book) -> None:
    a, b = either
    named = await filled(a, book)
    async with mover(a, b, [UNIT]) as there:
        await there.whole()
    assert await b.running.codes(book.debit(ALICE, 3), book.capture(named["hold"])) == ["accepted", "accepted"]  # type: ignore[arg-type]
    async with mover(b, a, [UNIT], epoch=3) as back:
        await back.whole()
    assert back.copied == 2
    assert (a.state(UNIT), b.state(UNIT)) == (("active", 3), ("moved", 3))
    assert await rows_of(a, named) == {**await rows_of(b, named), "alice": (await rows_of(a, named))["alice"]}
    assert await a.running.codes(named["credit"], book.credit(ALICE, 1)) == ["replayed", "accepted"]


async def test_what_is_written_during_the_copy_follows(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        assert await move.copy() == 2
        hold = book.hold(ALICE, 7)
        assert await a.running.codes(book.debit(ALICE, 1), hold) == ["accepted", "accepted"]
        assert (await move.copy(), await move.copy()) == (2, 0)
        assert await a.running.codes(book.capture(hold)) == ["accepted"]
        done(await move.fence())
        assert (await move.seal()).json()["reason"] == "digests_must_match"
        assert await move.copy() == 1
        await move.copy_state()
        done(await move.seal())
        await move.granted()
        done(await move.activate())
    wallet = (await b.load(footprint(hold))).wallets[ALICE]
    assert (wallet.balance, wallet.held, wallet.seq) == (92, 0, 5)


async def test_a_state_may_arrive_before_the_entries_that_it_follows(either: Cells, book: Book) -> None:
    a, b = either
    await filled(a, book)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy_state()
        await move.copy()
        done(await move.fence())
        assert refused(await move.seal()) == "digests_must_match"
        await move.copy_state()
        done(await move.seal())
        done(await move.outgoing("unfence"))


async def test_a_wallet_that_nobody_opened_moves_too_and_is_opened_there(either: Cells, book: Book) -> None:
    a, b = either
    (bob,) = await a.running.open(book, ["bob"], balance=100)
    asked = book.receive(book.transfer(bob, ALICE, 5))
    assert await a.running.codes(asked) == ["target_wallet_must_accept"]
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    assert await b.running.codes(asked, book.opening("alice")) == ["target_wallet_must_accept", "accepted"]
    assert await b.running.codes(book.credit(ALICE, 5)) == ["accepted"]


async def test_rows_that_arrive_make_a_seal_void(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        done(await move.put(UNIT, "entries", b.forgeries.empty_page))
        assert b.state(UNIT) == ("staging", 2)
        await move.granted()
        assert refused(await move.activate()) == "unit_must_be_staged"
        done(await move.incoming("seal", move.fences))
        done(await move.activate())


async def test_a_fence_falls_without_its_mover_and_not_before_its_time(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.fence())
        await a.moves.source.lapse([UNIT])
        assert a.state(UNIT) == ("fenced", 1)
        ((unit, left_us),) = await a.moves.source.standing()
        assert unit == UNIT
        assert 0 < left_us <= 2_000_000
        waiting = a.running.submit(book.debit(ALICE, 1))
        a.forget_fence()
        assert refused(await move.fence()) == "fence_must_stand"
        await a.duties.watch()
        assert a.state(UNIT) == ("active", 1)
        assert code(await waiting) == "accepted"
        done(await move.fence())
        assert move.fences["fences"][0]["fence_no"] == 2
        done(await move.outgoing("unfence"))
        assert done(await move.outgoing("unfence"))["units"][0]["state"] == "active"


async def test_a_grant_is_final_for_the_watchdog_and_the_mover(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        await move.granted()
        a.forget_fence()
        await a.duties.watch()
        done(await move.outgoing("unfence"))
        assert a.state(UNIT) == ("granted", 2)
        outcome = await a.running.submit(book.debit(ALICE, 1))
        assert isinstance(outcome, Rejected)
        assert outcome.problem.facts == {"unit": UNIT, "cell": "cell-b", "epoch": 2}
        done(await move.activate())


async def test_a_target_fetches_the_grant_that_nobody_brings(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        await b.moves.pull(older_s=0)
        assert b.state(UNIT) == ("staged", 2)
        await move.granted()
    await b.duties.pull()
    assert b.state(UNIT) == ("staged", 2), "its seal is younger than a second"
    waiting = b.running.submit(book.debit(ALICE, 100))
    assert code(await waiting) == "accepted", "a command that meets it fetches the grant at once"
    assert b.state(UNIT) == ("active", 2)


async def test_a_staging_that_nobody_goes_on_with_is_wiped(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        await move.copy()
        await b.moves.end_leftovers(older_s=3_600)
        assert b.state(UNIT) == ("staging", 2)
        await b.moves.end_leftovers(older_s=0)
        assert (b.state(UNIT), b.count_entries()) == (None, 0)
        assert await b.moves.target.intents([UNIT]) == {}
        assert refused(await move.put(UNIT, "entries", b.forgeries.empty_page)) == "unit_must_be_staging"


async def test_what_was_sealed_is_given_up_only_by_its_sources_word(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        await b.moves.end_leftovers(older_s=0)
        assert b.state(UNIT) == ("staged", 2)
        done(await move.outgoing("unfence"))
        await b.moves.end_leftovers(older_s=0)
        assert (b.state(UNIT), b.count_entries()) == (None, 0)


async def test_a_discarded_return_leaves_the_tombstone_and_the_rows(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as there, mover(b, a, [UNIT], epoch=3) as back:
        await there.whole()
        assert await b.running.codes(book.debit(ALICE, 1)) == ["accepted"]
        done(await back.stage())
        await back.copy()
        assert done(await back.incoming("discard"))["units"][0]["state"] == "moved"
        assert done(await there.outgoing("tombstone"))["units"][0]["epoch"] == 2
    assert a.state(UNIT) == ("moved", 2)
    async with mover(b, a, [UNIT], epoch=3) as again:
        await again.whole()
        assert again.copied == 0


async def test_rows_of_a_moved_unit_go_and_the_tombstone_stays(either: Cells, book: Book) -> None:
    a, b = either
    named = await filled(a, book)
    (bob,) = await a.running.open(book, ["bob"], balance=5)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
        while done(await move.outgoing("clean"))["left"]:
            await a.assert_clean()
    assert a.count_entries() == 2
    assert await a.running.codes(book.debit(bob, 1), named["credit"]) == [
        "accepted",
        "wallet_must_be_owned_by_this_cell",
    ]
    async with mover(b, a, [UNIT], epoch=3) as back:
        await back.whole()
    assert await rows_of(a, named) == await rows_of(b, named) | {"alice": (await rows_of(a, named))["alice"]}


async def test_an_isolated_wallet_moves_alone_and_comes_back(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    first = await a.moves.isolation.isolate(ALICE, HOT)  # type: ignore[arg-type]
    assert await a.moves.isolation.isolate(ALICE, HOT) == first  # type: ignore[arg-type]
    async with mover(a, b, [HOT]) as there:
        await there.whole()
        assert await b.running.codes(book.debit(ALICE, 40)) == ["accepted"]
        done(await there.outgoing("clean"))
    # Also when its rows are gone it is not opened a second time by the owner of its slot.
    outcome = await a.running.submit(book.opening("alice"))
    assert isinstance(outcome, Rejected)
    assert outcome.problem.facts == {"unit": HOT, "cell": "cell-b", "epoch": 2, "wallet_id": ALICE}
    async with mover(b, a, [HOT], epoch=3) as back:
        await back.whole()
    told = await a.moves.isolation.rejoin(ALICE, HOT)  # type: ignore[arg-type]
    assert await a.moves.isolation.rejoin(ALICE, HOT) == told  # type: ignore[arg-type]
    assert (told.units[0].unit, a.state(HOT)) == (UNIT, ("moved", 4))
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    assert await b.running.codes(book.debit(ALICE, 60)) == ["accepted"]


async def test_a_slot_takes_the_exile_rows_of_its_wallets_along(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    await a.moves.isolation.isolate(ALICE, HOT)  # type: ignore[arg-type]
    async with mover(a, b, [UNIT]) as move:
        done(await move.stage())
        done(await move.fence())
        assert refused(await move.seal()) == "digests_must_match"
        page = await move.outgoing("rows", {"unit": UNIT, "part": "state"})
        done(await move.put(UNIT, "state", page.content))
        done(await move.seal())
        await move.granted()
        done(await move.activate())
    outcome = await b.running.submit(book.opening("alice"))
    assert isinstance(outcome, Rejected)
    assert outcome.problem.facts == {"unit": HOT, "cell": "cell-a", "epoch": 1, "wallet_id": ALICE}
    assert await a.running.codes(book.debit(ALICE, 1)) == ["accepted"]


async def test_openings_that_race_a_fence_are_in_it_or_refused(either: Cells, book: Book) -> None:
    a, b = either
    refs = (f"person {number}" for number in itertools.count())
    chosen = list(itertools.islice((ref for ref in refs if slot_of(id_of(ref)) % 1_024 == UNIT % 1_024), 30))
    units = sorted({slot_of(id_of(ref)) for ref in chosen})
    opening = [a.running.submit(book.opening(ref)) for ref in chosen[:15]]
    async with mover(a, b, units) as move:
        done(await move.stage())
        fencing = asyncio.create_task(move.fence())
        opening += [a.running.submit(book.opening(ref)) for ref in chosen[15:]]
        done(await fencing)
        await move.follow()
        await move.granted()
        done(await move.activate())
        outcomes = await asyncio.gather(*opening)
    opened = {id_of(ref) for ref, outcome in zip(chosen, outcomes, strict=True) if isinstance(outcome, Accepted)}
    everybody = Footprint(wallet_ids=tuple(sorted(map(id_of, chosen))))
    assert set((await b.load(everybody)).wallets) == opened
    assert {code(one) for one in outcomes} <= {"accepted", "wallet_must_be_owned_by_this_cell", "wallet_is_moving"}


def id_of(ref: str) -> WalletId:
    return wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR")
