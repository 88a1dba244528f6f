"""A unit that its new owner has lost is served again by who gave it: from every row that was granted, or not at all."""

from typing import Any

import pytest
from ledger_book import Book
from moving_cells import Mover, MovingCell, done, mover

from cell.store import memory_moves
from cell.store.moves import revival
from cell.store.moves.sessions import MoveRefusedError
from contract.ids import wallet_id_of
from contract.moves import MoveReason
from contract.quarantine import ReviveOrder
from contract.slots import ISOLATED_UNIT_FIRST, slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
UNIT = slot_of(ALICE)


def order(*, unit: int = UNIT, epoch: int = 2, lost_by: str = "cell-b") -> ReviveOrder:
    return ReviveOrder(lost_by=lost_by, units=((unit, epoch),))


async def refusal(cell: MovingCell, wanted: ReviveOrder) -> MoveReason:
    before = cell.everything()
    with pytest.raises(MoveRefusedError) as refused:
        await cell.moves.revival.revive(wanted)
    assert cell.everything() == before
    return refused.value.reason


async def gone(a: MovingCell, b: MovingCell, book: Book) -> Mover:
    """Alice, with 100 and a hold, has moved from a to b."""
    await a.running.open(book, ["alice"], balance=100)
    assert await a.running.codes(book.hold(ALICE, 30)) == ["accepted"]
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    return move


async def test_the_giver_serves_it_again_above_the_epoch_of_its_grant(either: Cells, book: Book) -> None:
    a, b = either
    await gone(a, b, book)
    assert a.migrated() == 100
    told = await a.moves.revival.revive(order())
    assert [(one.unit, one.state, one.epoch) for one in told.units] == [(UNIT, "active", 3)]
    assert a.state(UNIT) == ("active", 3)
    assert a.migrated() == 0
    assert await a.running.codes(book.debit(ALICE, 70), book.debit(ALICE, 1)) == [
        "accepted",
        "available_balance_must_cover_amount",
    ]


async def test_the_same_order_again_changes_nothing(either: Cells, book: Book) -> None:
    a, b = either
    await gone(a, b, book)
    first = await a.moves.revival.revive(order())
    after = a.everything()
    assert await a.moves.revival.revive(order()) == first
    assert a.everything() == after


async def test_only_what_went_there_at_that_epoch_comes_back(either: Cells, book: Book) -> None:
    a, b = either
    await gone(a, b, book)
    assert await refusal(a, order(lost_by="cell-c")) == MoveReason.UNIT_MUST_HAVE_GONE_THERE
    assert await refusal(a, order(epoch=1)) == MoveReason.EPOCH_MUST_FOLLOW
    assert await refusal(a, order(epoch=3)) == MoveReason.EPOCH_MUST_FOLLOW
    assert await refusal(a, order(unit=UNIT + 1, epoch=1)) == MoveReason.UNIT_MUST_BE_MOVED
    assert await refusal(a, order(unit=ISOLATED_UNIT_FIRST + 9)) == MoveReason.UNIT_MUST_BE_MOVED
    async with mover(b, a, [UNIT], epoch=3) as back:
        done(await back.stage())
        assert await refusal(a, order()) == MoveReason.ROWS_MUST_BE_RETAINED
        done(await back.incoming("discard"))


async def test_one_unit_that_cannot_be_revived_keeps_the_others_back(either: Cells, book: Book) -> None:
    a, b = either
    await gone(a, b, book)
    both = ReviveOrder(lost_by="cell-b", units=((UNIT, 2), (UNIT + 1, 2)))
    assert await refusal(a, both) == MoveReason.UNIT_MUST_BE_MOVED
    assert a.state(UNIT) == ("moved", 2)


async def cleaned(move: Mover) -> None:
    while done(await move.outgoing("clean"))["left"]:
        pass


async def test_rows_that_were_deleted_are_not_taken_for_an_empty_unit(either: Cells, book: Book) -> None:
    a, b = either
    await gone(a, b, book)
    move = await same_move(a, b)
    await cleaned(move)
    assert await refusal(a, order()) == MoveReason.ROWS_MUST_BE_RETAINED
    await move.close()


async def same_move(a: MovingCell, b: MovingCell) -> Mover:
    """Its hands once more: rows are deleted by the move that took them away."""
    move = Mover(a, b, [UNIT])
    grant, _ = await a.moves.source.grant_of(UNIT)
    assert grant is not None
    move.id = grant.move_id
    return move


async def test_without_the_digest_a_unit_would_be_served_without_its_wallets(
    either: Cells, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: whatever is here is taken for what was granted."""
    a, b = either
    await gone(a, b, book)
    move = await same_move(a, b)
    await cleaned(move)
    await move.close()
    grant, _ = await a.moves.source.grant_of(UNIT)
    assert grant is not None

    async def believed(connection: Any, units: Any) -> dict[int, str]:
        del connection
        return dict.fromkeys(units, grant.digest)

    monkeypatch.setattr(revival, "digests", believed)
    monkeypatch.setattr(memory_moves, "digest_of", lambda *_: grant.digest)
    await a.moves.revival.revive(order())
    assert a.state(UNIT) == ("active", 3)
    assert await a.running.codes(book.debit(ALICE, 1)) == ["wallet_must_exist"]


async def test_a_wallet_with_a_unit_of_its_own_comes_back_with_its_exile_row(either: Cells, book: Book) -> None:
    a, b = either
    await a.running.open(book, ["alice"], balance=100)
    hot = ISOLATED_UNIT_FIRST + 3
    async with a.client() as client:
        done(await client.post("/admin/isolate", json={"wallet_id": ALICE, "unit": hot}))
    async with mover(a, b, [hot]) as move:
        await move.whole()
    assert await a.running.codes(book.debit(ALICE, 1)) == ["wallet_must_be_owned_by_this_cell"]
    await a.moves.revival.revive(order(unit=hot))
    assert await a.running.codes(book.debit(ALICE, 1)) == ["accepted"]
