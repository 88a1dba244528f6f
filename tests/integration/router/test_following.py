"""Following a wallet to its new cell: one 421 teaches the router, a moving wallet is waited for."""

import asyncio
from collections.abc import Callable

import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest
from running_haproxy import both_data_planes
from signed_directory import directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell, misdirected, refusal

from contract.directory import DirectoryDocument
from contract.ids import WalletId
from contract.reasons import Reason
from contract.slots import ISOLATED_UNIT_FIRST, slot_of
from router.routing.learning import Hint, learn

HOT = ISOLATED_UNIT_FIRST + 1


class Fleet:
    """Two cells; the map says that the wallet is in `old`, and its slot is at epoch 3."""

    def __init__(
        self, old: StandInCell, new: StandInCell, document: DirectoryDocument, router: RouterUnderTest
    ) -> None:
        self.old = old
        self.new = new
        self.document = document
        self.router = router
        self.wallet = wallet_in(document, "old")
        self.slot = slot_of(self.wallet)

    @property
    def path(self) -> str:
        return f"/v1/wallets/{self.wallet}/debit"

    def old_says_moved(self, **changes: object) -> None:
        self.old.script = telling(lambda _: misdirected(**{"unit": self.slot, "cell": "new", "epoch": 4, **changes}))


def telling(reply: Callable[[Seen], Reply]) -> Callable[[Seen], asyncio.Future[Reply]]:
    async def tell(seen: Seen) -> Reply:
        return reply(seen)

    return tell


@pytest.fixture
async def fleet(new_cell: NewCell, new_router: NewRouter) -> Fleet:
    old, new = await new_cell("old"), await new_cell("new")
    urls = {"new": [new.url], "old": [old.url]}
    slot = slot_of(wallet_in(directory_document(urls), "old"))
    document = directory_document(urls, epochs={slot: 3}, moving=(slot,))
    return Fleet(old, new, document, await new_router(document=document))


@both_data_planes
async def test_a_421_is_followed_and_remembered(fleet: Fleet) -> None:
    fleet.old_says_moved()
    answer = await fleet.router.post(fleet.path, {"amount": 1})
    assert (answer.status_code, answer.headers["x-cell"]) == (200, "new")
    first = fleet.new.seen[0]
    assert (first.method, first.target, first.body) == ("POST", fleet.path, b'{"amount": 1}')
    assert (fleet.old.seen[0].header("x-unit-epoch"), first.header("x-unit-epoch")) == ("3", "4")
    assert (await fleet.router.post(fleet.path)).status_code == 200
    assert (len(fleet.old.seen), len(fleet.new.seen)) == (1, 2), "the second request knows the way"
    figures = await fleet.router.figures()
    assert figures["router_learned_total"] == figures["router_learned_units"] == 1
    assert figures['router_sent_again_total{cause="misdirected"}'] == 1


@both_data_planes
async def test_only_the_unit_of_the_421_is_learned(fleet: Fleet) -> None:
    fleet.old_says_moved()
    await fleet.router.post(fleet.path)
    other = next(
        wallet
        for number in range(1, 50)
        if slot_of(wallet := wallet_in(fleet.document, "old", number=number)) != fleet.slot
    )
    fleet.old.script = fleet.old.echo
    assert (await fleet.router.post(f"/v1/wallets/{other}/debit")).headers["x-cell"] == "old"


@both_data_planes
async def test_a_second_421_is_the_end(fleet: Fleet) -> None:
    fleet.old_says_moved()
    fleet.new.script = telling(lambda _: misdirected(unit=fleet.slot, cell="old", epoch=5))
    answer = await fleet.router.post(fleet.path)
    assert (answer.status_code, answer.json()["reason"]) == (503, "wallet_is_moving")
    assert (answer.json()["retry"], answer.headers["retry-after"]) == ("same_id", "1")
    assert (len(fleet.old.seen), len(fleet.new.seen)) == (1, 1)


@both_data_planes
@pytest.mark.parametrize("epoch", [1, 2, 3])
async def test_an_older_epoch_teaches_nothing(fleet: Fleet, epoch: int) -> None:
    fleet.old_says_moved(epoch=epoch)
    answer = await fleet.router.post(fleet.path)
    assert (answer.status_code, answer.json()["reason"]) == (503, "wallet_is_moving")
    assert (len(fleet.old.seen), fleet.new.seen) == (1, [])


@both_data_planes
async def test_a_cell_that_does_not_know_the_owner_teaches_nothing(fleet: Fleet) -> None:
    fleet.old_says_moved(cell=None)
    assert (await fleet.router.post(fleet.path)).json()["reason"] == "wallet_is_moving"


@both_data_planes
async def test_an_owner_without_addresses_is_out_of_reach(fleet: Fleet) -> None:
    fleet.old_says_moved(cell="newest")
    answer = await fleet.router.post(fleet.path)
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")
    assert answer.headers["retry-after"] == "1"


@both_data_planes
async def test_a_421_that_is_no_problem_document_is_not_believed(fleet: Fleet) -> None:
    fleet.old.script = telling(lambda _: Reply(status=421, body=b"<html>", headers={"content-type": "text/html"}))
    assert (await fleet.router.post(fleet.path)).json()["reason"] == "wallet_is_moving"


@both_data_planes
async def test_an_isolated_wallet_is_followed(fleet: Fleet) -> None:
    fleet.old_says_moved(unit=HOT, epoch=2, wallet_id=fleet.wallet)
    answer = await fleet.router.post(fleet.path)
    assert (answer.status_code, fleet.new.seen[0].header("x-unit-epoch")) == (200, "2")
    assert (await fleet.router.post(fleet.path)).status_code == 200
    assert len(fleet.old.seen) == 1


@both_data_planes
async def test_what_was_published_meanwhile_is_followed_too(fleet: Fleet) -> None:
    """The 421 itself teaches nothing new, but the map is another one by now."""

    def answer_late(_seen: Seen) -> Reply:
        live = fleet.router.router.live_map
        assert live.current is not None
        hint = Hint(unit=slot_of(fleet.wallet), cell="new", epoch=9)
        published = learn(live.current, hint, asked=WalletId(fleet.wallet))
        assert published is not None
        live.replace(published)
        return misdirected(unit=fleet.slot, cell="new", epoch=9)

    fleet.old.script = telling(answer_late)
    assert (await fleet.router.post(fleet.path)).headers["x-cell"] == "new"


@both_data_planes
async def test_a_moving_wallet_is_waited_for(fleet: Fleet) -> None:
    def moving_at_first(_seen: Seen) -> Reply:
        return refusal(Reason.WALLET_IS_MOVING) if len(fleet.old.seen) < 4 else Reply(document={"done": True})

    fleet.old.script = telling(moving_at_first)
    answer = await fleet.router.post(fleet.path, {"amount": 1})
    assert (answer.status_code, answer.json(), len(fleet.old.seen)) == (200, {"done": True}, 4)
    assert {seen.body for seen in fleet.old.seen} == {b'{"amount": 1}'}
    left = [int(seen.header("x-deadline-ms") or 0) for seen in fleet.old.seen]
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0], "each sending has less time than the one before"


@both_data_planes
async def test_a_move_is_seen_through_to_the_new_cell(fleet: Fleet) -> None:
    """Fenced at the old cell, then granted; staged at the new one, then active: the vendor sees one answer."""
    old = iter([refusal(Reason.WALLET_IS_MOVING), misdirected(unit=fleet.slot, cell="new", epoch=4)])
    new = iter([refusal(Reason.WALLET_IS_MOVING), refusal(Reason.WALLET_IS_MOVING), Reply(status=201, document={})])
    fleet.old.script = telling(lambda _: next(old))
    fleet.new.script = telling(lambda _: next(new))
    answer = await fleet.router.post(fleet.path)
    assert (answer.status_code, answer.headers["x-cell"]) == (201, "new")


@both_data_planes
async def test_a_wallet_that_moves_for_too_long_is_the_cells_own_answer(fleet: Fleet) -> None:
    fleet.old.script = telling(lambda _: refusal(Reason.WALLET_IS_MOVING))
    answer = await fleet.router.post(fleet.path, x_deadline_ms="150")
    assert (answer.status_code, answer.json()["reason"]) == (503, "wallet_is_moving")
    assert (answer.headers["retry-after"], answer.headers["x-cell"]) == ("7", "old")
    assert len(fleet.old.seen) > 1


@both_data_planes
@pytest.mark.parametrize("reason", [Reason.CELL_MUST_BE_REACHABLE, Reason.CELL_MUST_HAVE_CAPACITY])
async def test_another_later_of_the_cell_is_for_the_vendor(fleet: Fleet, reason: Reason) -> None:
    fleet.old.script = telling(lambda _: refusal(reason))
    answer = await fleet.router.post(fleet.path)
    assert (answer.json()["reason"], answer.headers["retry-after"], len(fleet.old.seen)) == (reason.value, "7", 1)
