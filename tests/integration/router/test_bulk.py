"""Many operations over many cells: split, sent in parallel, merged in order; a cell that is dead costs its own only."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest
from running_haproxy import both_data_planes
from signed_directory import directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell, refusal

from contract.bulk import BULK_MAX_BYTES, OPERATIONS_MAX
from contract.directory import DirectoryDocument
from contract.ids import WalletId
from contract.problems import Problem, problem_document
from contract.reasons import Reason
from contract.slots import SLOTS, slot_of

pytestmark = both_data_planes

Cells = dict[str, StandInCell]
Judge = Callable[[Any], dict[str, Any]]


def applying(cell: StandInCell, judge: Judge | None = None) -> None:
    """The cell answers each operation by name, or as `judge` says."""

    async def apply(seen: Seen) -> Reply:
        operations = json.loads(seen.body)["operations"]
        told = judge or (lambda one: {"status": 201, "body": {"cell": cell.id, "operation": one}})
        return Reply(document={"results": [told(one) for one in operations]})

    cell.script = apply


def no(reason: Reason, **facts: Any) -> dict[str, Any]:
    problem = Problem(reason=reason, detail="The stand-in says no.", facts=facts)
    return {"status": problem.status, "body": problem_document(problem, request_id="of-the-cell")}


@pytest.fixture
async def cells(new_cell: NewCell) -> Cells:
    cells = {name: await new_cell(name) for name in ("a", "b")}
    for cell in cells.values():
        applying(cell)
    return cells


@pytest.fixture
def document(cells: Cells) -> DirectoryDocument:
    urls = {name: [cell.url] for name, cell in cells.items()}
    return directory_document(urls, slot_cells=["a"] * (SLOTS // 2) + ["b"] * (SLOTS // 2), epochs={0: 1})


@pytest.fixture
async def router(document: DirectoryDocument, new_router: NewRouter) -> RouterUnderTest:
    return await new_router(document=document)


def of(document: DirectoryDocument, cell: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"op": "credit", "wallet_id": wallet_in(document, cell, number=number), **fields}


async def results(router: RouterUnderTest, *operations: Any, **headers: str) -> list[dict[str, Any]]:
    answer = await router.post("/v1/bulk", {"operations": operations}, **headers)
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()["results"]
    assert len(told) == len(operations)
    return told


def sent(cell: StandInCell) -> list[list[int]]:
    """The numbers of the operations in each request that the cell got."""
    return [[one["n"] for one in json.loads(seen.body)["operations"]] for seen in cell.seen]


async def test_each_cell_gets_its_own_in_order_and_results_keep_their_places(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    names = ["a", "b", "b", "a", "a", "b"]
    told = await results(router, *(of(document, name, n=n) for n, name in enumerate(names)))
    assert [one["body"]["cell"] for one in told] == names
    assert [one["body"]["operation"]["n"] for one in told] == list(range(6))
    assert (sent(cells["a"]), sent(cells["b"])) == ([[0, 3, 4]], [[1, 2, 5]])
    for cell in cells.values():
        assert (cell.seen[0].method, cell.seen[0].target) == ("POST", "/v1/bulk")
        assert cell.seen[0].header("authorization") == "Bearer token"


async def test_of_one_cell_the_request_goes_on_as_it_came(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    raw = json.dumps({"operations": [of(document, "a", amount=10**30)]}, indent=3).encode()
    assert (await router.post("/v1/bulk", raw)).status_code == 200
    assert cells["a"].seen[0].body == raw


async def test_what_names_no_wallet_is_for_a_cell_to_refuse(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    odd = [{"n": 0}, {"wallet_id": "x", "n": 1}, {"wallet_id": 7, "n": 2, "amount": 10**30}]
    assert len(await results(router, *odd, of(document, "b", n=3), of(document, "a", n=4))) == 5
    assert sorted(sent(cells["a"]) + sent(cells["b"])) == [[0, 1, 2, 3], [4]]
    assert len(await results(router, *odd)) == 3


async def test_a_dead_cell_costs_its_own_operations_only(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    await cells["b"].kill()
    told = await results(router, of(document, "a"), of(document, "b"), of(document, "a"), x_deadline_ms="500")
    assert [one["status"] for one in told] == [201, 503, 201]
    assert (told[1]["body"]["reason"], told[1]["body"]["retry"]) == ("cell_must_be_reachable", "same_id")


async def test_both_dead_is_still_an_answer_of_each(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    for cell in cells.values():
        await cell.kill()
    told = await results(router, of(document, "a"), of(document, "b"), x_deadline_ms="300")
    assert {one["body"]["reason"] for one in told} == {"cell_must_be_reachable"}


async def test_a_cell_that_dies_in_the_middle_is_asked_again(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    async def dies(_seen: Seen) -> Reply:
        applying(cells["b"])
        return Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", cuts=True)

    cells["b"].script = dies
    told = await results(router, of(document, "a", n=0), of(document, "b", n=1))
    assert [one["status"] for one in told] == [201, 201]
    assert sent(cells["b"]) == [[1], [1]]
    assert sent(cells["a"]) == [[0]]


async def test_what_a_cell_sends_elsewhere_is_followed_once(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    moved = wallet_in(document, "a")
    applying(cells["a"], lambda one: _moved(moved, "b") if one["wallet_id"] == moved else {"status": 201, "body": {}})
    told = await results(router, of(document, "a", n=0), of(document, "a", number=1, n=1), of(document, "a", n=2))
    assert [one["status"] for one in told] == [201, 201, 201]
    assert [one["body"].get("cell") for one in told] == ["b", None, "b"]
    assert (sent(cells["a"]), sent(cells["b"])) == ([[0, 1, 2]], [[0, 2]])
    await results(router, of(document, "a", n=3))
    assert sent(cells["b"])[-1] == [3], "the router has learned it"


async def test_two_cells_that_send_it_to_each_other_are_asked_once_each(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    wallet_id = wallet_in(document, "a")
    applying(cells["a"], lambda _: _moved(wallet_id, "b", epoch=5))
    applying(cells["b"], lambda _: _moved(wallet_id, "a", epoch=6))
    [told] = await results(router, of(document, "a", n=0))
    assert (told["status"], told["body"]["reason"]) == (503, "wallet_is_moving")
    assert (len(cells["a"].seen), len(cells["b"].seen)) == (1, 1)


def _moved(wallet_id: WalletId, cell: str, *, epoch: int = 4) -> dict[str, Any]:
    return no(Reason.WALLET_MUST_BE_OWNED_BY_THIS_CELL, unit=slot_of(wallet_id), cell=cell, epoch=epoch)


async def test_what_is_moving_is_waited_for(router: RouterUnderTest, cells: Cells, document: DirectoryDocument) -> None:
    times = 0

    def judge(one: Any) -> dict[str, Any]:
        nonlocal times
        times += one["n"] == 1
        is_moving = one["n"] == 1 and times < 4
        return no(Reason.WALLET_IS_MOVING) if is_moving else {"status": 201, "body": {}}

    applying(cells["a"], judge)
    told = await results(router, of(document, "a", n=0), of(document, "a", number=1, n=1), of(document, "b", n=2))
    assert [one["status"] for one in told] == [201, 201, 201]
    assert sent(cells["a"]) == [[0, 1], [1], [1], [1]]
    assert sent(cells["b"]) == [[2]]


async def test_what_moves_for_too_long_is_told_so(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    applying(cells["a"], lambda _: no(Reason.WALLET_IS_MOVING))
    told = await results(router, of(document, "a", n=0), of(document, "b", n=1), x_deadline_ms="300")
    assert [one["status"] for one in told] == [503, 201]
    assert told[0]["body"]["reason"] == "wallet_is_moving"
    assert len(cells["a"].seen) > 1


async def test_what_a_cell_says_of_its_whole_part_is_said_of_each(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    async def full(_seen: Seen) -> Reply:
        return refusal(Reason.CELL_MUST_HAVE_CAPACITY)

    cells["b"].script = full
    told = await results(router, of(document, "b"), of(document, "a"), of(document, "b"))
    assert [one["status"] for one in told] == [429, 201, 429]
    assert told[0]["body"]["reason"] == "cell_must_have_capacity"


@pytest.mark.parametrize("reason", [Reason.TOKEN_MUST_BE_VALID, Reason.REQUEST_MUST_FIT_RATE_LIMIT])
async def test_what_every_cell_says_of_the_whole_is_the_answer(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument, reason: Reason
) -> None:
    async def refuse(_seen: Seen) -> Reply:
        return refusal(reason)

    for cell in cells.values():
        cell.script = refuse
    answer = await router.post("/v1/bulk", {"operations": [of(document, "a"), of(document, "b")]})
    assert (answer.status_code, answer.json()["reason"]) == (refusal(reason).status, reason)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(document={"results": []}),
        Reply(document={"results": [1]}),
        Reply(document=[]),
        Reply(body=b"{"),
        Reply(status=500, document={}),
        Reply(status=404, document={"no": "problem"}),
    ],
    ids=["too few", "no objects", "no object", "no JSON", "500", "404"],
)
async def test_an_answer_that_is_none_costs_its_part_only(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument, reply: Reply
) -> None:
    async def tell(_seen: Seen) -> Reply:
        return reply

    cells["b"].script = tell
    told = await results(router, of(document, "a"), of(document, "b"))
    assert told[0]["status"] == 201
    assert told[1]["status"] in {500, 503}
    assert told[1]["body"]["retry"] == "same_id"


async def test_long_answers_are_put_together(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    for cell in cells.values():
        applying(cell, lambda one: {"status": 201, "body": {"n": one["n"], "text": "x" * 2_000}})
    operations = [of(document, "ab"[n % 2], n=n) for n in range(OPERATIONS_MAX)]
    told = await results(router, *operations)
    assert [one["body"]["n"] for one in told] == list(range(OPERATIONS_MAX))


async def test_a_long_answer_that_breaks_costs_its_part_only(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    async def breaks(_seen: Seen) -> Reply:
        return Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 900000\r\n\r\n{%b" % (b"x" * 600_000), cuts=True)

    cells["b"].script = breaks
    told = await results(router, of(document, "a"), of(document, "b"))
    assert [one["status"] for one in told] == [201, 503]


FRAMES = [b"", b"{", b"[]", b"{}", b'{"operations":[]}', b'{"operations":[1],"more":1}', b'{"operations":"x"}']
FRAMES += [b'{"operations":[%b]}' % b",".join([b"1"] * (OPERATIONS_MAX + 1))]


@pytest.mark.parametrize("raw", FRAMES, ids=lambda raw: raw[:30])
async def test_a_frame_that_is_none_reaches_no_cell(router: RouterUnderTest, cells: Cells, raw: bytes) -> None:
    answer = await router.post("/v1/bulk", raw)
    assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed")
    assert answer.json()["errors"]
    nobody = await router.client.post("/v1/bulk", content=raw, headers={"content-type": "application/json"})
    assert nobody.status_code == 401, "a missing token outranks it"
    assert not cells["a"].seen + cells["b"].seen


async def test_the_body_is_bounded(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument, data_plane: str
) -> None:
    """Through HAProxy the refusal of a body that is still being sent may get lost with the connection."""
    raw = json.dumps({"operations": [of(document, "a")]}).encode()
    assert (await router.post("/v1/bulk", raw.ljust(BULK_MAX_BYTES))).status_code == 200
    assert len(cells["a"].seen[0].body) == BULK_MAX_BYTES
    try:
        too_long = await router.post("/v1/bulk", raw.ljust(BULK_MAX_BYTES + 1))
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        assert data_plane == "haproxy"
    else:
        assert (too_long.status_code, too_long.json()["reason"]) == (413, "body_must_fit")
    assert len(cells["a"].seen) == 1


async def test_many_at_once(router: RouterUnderTest, document: DirectoryDocument) -> None:
    operations = [of(document, "ab"[n % 2], n=n) for n in range(100)]
    for told in await asyncio.gather(*(results(router, *operations) for _ in range(20))):
        assert [one["body"]["operation"]["n"] for one in told] == list(range(100))


async def test_a_dead_process_of_a_cell_is_replaced_by_the_other(new_cell: NewCell, new_router: NewRouter) -> None:
    """Two processes of one cell share a request; with one of them dead the other does all of it."""
    one, other = await new_cell("a"), await new_cell("a")
    document = directory_document({"a": [one.url, other.url]})
    for cell in (one, other):
        applying(cell)
    router = await new_router(document=document)
    operations = [of(document, "a", number=n, n=n) for n in range(40)]
    assert [told["body"]["operation"]["n"] for told in await results(router, *operations)] == list(range(40))
    assert sorted(sent(one)[0] + sent(other)[0]) == list(range(40))
    await one.kill()
    assert {told["status"] for told in await results(router, *operations)} == {201}
