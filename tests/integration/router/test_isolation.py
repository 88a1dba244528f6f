"""A cell that hangs costs only its own wallets: bulkhead and connections are the cell's own."""

import asyncio

import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest, wait_until
from running_haproxy import both_data_planes
from signed_directory import directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell

from contract.directory import DirectoryDocument
from router.routing.health import CellHealth

ROOM = 5


class Fleet:
    def __init__(
        self, hung: StandInCell, well: StandInCell, router: RouterUnderTest, document: DirectoryDocument
    ) -> None:
        self.hung = hung
        self.well = well
        self.router = router
        self.document = document
        self.release = asyncio.Event()
        hung.script = self._hang

    async def _hang(self, seen: Seen) -> Reply:
        await self.release.wait()
        return await self.hung.echo(seen)

    def debit(self, cell: str, number: int) -> "asyncio.Task[object]":
        wallet = wallet_in(self.document, cell, number=number)
        return asyncio.create_task(self.router.post(f"/v1/wallets/{wallet}/debit"))

    def in_flight(self, cell: str) -> int:
        return self.router.router.health.cell(cell).in_flight


@pytest.fixture
async def fleet(new_cell: NewCell, new_router: NewRouter) -> Fleet:
    hung, well = await new_cell("hung"), await new_cell("well")
    document = directory_document({"hung": [hung.url], "well": [well.url]})
    return Fleet(hung, well, await new_router(document=document, in_flight_max=ROOM), document)


async def check_the_bulkhead(fleet: Fleet) -> None:
    waiting = [fleet.debit("hung", number) for number in range(ROOM)]
    await wait_until(lambda: fleet.hung.in_flight == ROOM)
    try:
        refused = await asyncio.wait_for(asyncio.gather(*(fleet.debit("hung", n) for n in range(20))), timeout=2.0)
        assert {answer.status_code for answer in refused} == {503}
        assert {answer.json()["reason"] for answer in refused} == {"cell_must_be_reachable"}
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert fleet.hung.in_flight == ROOM
    except TimeoutError:
        pytest.fail("requests pile up behind a cell that hangs")
    finally:
        fleet.release.set()
        answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in answers] == [200] * ROOM


@both_data_planes
async def test_a_hanging_cell_is_asked_no_more_than_its_room(fleet: Fleet) -> None:
    await check_the_bulkhead(fleet)


async def test_mutant_without_the_bulkhead_is_found(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CellHealth, "is_full", property(lambda _: False))
    with pytest.raises(BaseException, match=r"pile up|assert"):
        await check_the_bulkhead(fleet)


@both_data_planes
async def test_the_other_cell_sees_no_change(fleet: Fleet) -> None:
    waiting = [fleet.debit("hung", number) for number in range(ROOM)]
    await wait_until(lambda: fleet.hung.in_flight == ROOM)
    for _ in range(10):
        answers = await asyncio.gather(*(fleet.debit("well", number) for number in range(ROOM)))
        assert {answer.status_code for answer in answers} == {200}
        assert fleet.hung.in_flight == ROOM, "meanwhile the hanging cell still hangs"
    assert fleet.in_flight("well") == 0
    assert len(fleet.well.seen) == 10 * ROOM, "none of them was sent twice"
    fleet.release.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    await wait_until(lambda: fleet.in_flight("hung") == 0)


async def test_a_vendor_who_leaves_gives_the_room_back(fleet: Fleet) -> None:
    wallet = wallet_in(fleet.document, "hung")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fleet.router.post(f"/v1/wallets/{wallet}/debit", x_deadline_ms="200"), timeout=0.05)
    await wait_until(lambda: fleet.in_flight("hung") == 0)


async def test_waiting_for_a_dead_cell_takes_room_too(fleet: Fleet) -> None:
    """A request that waits for its cell to come back holds its body in memory like one under way."""
    await fleet.hung.kill()
    waiting = [fleet.debit("hung", number) for number in range(20)]
    answers = []
    for task in asyncio.as_completed(waiting):
        answers.append(await task)
        if len(answers) == 20 - ROOM:
            break
    assert {answer.status_code for answer in answers} == {503}
    assert fleet.in_flight("hung") <= ROOM
    fleet.hung.script = fleet.hung.echo
    await fleet.hung.start()
    rest = [task for task in waiting if not task.done()]
    assert {answer.status_code for answer in await asyncio.gather(*rest)} <= {200}
