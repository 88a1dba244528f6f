"""The wallets of one owner, from all cells: all of them or none."""

from collections.abc import Callable

import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest
from running_haproxy import both_data_planes
from signed_directory import directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell, refusal

from contract.directory import DirectoryDocument
from contract.reasons import Reason
from contract.slots import SLOTS

pytestmark = both_data_planes

PATH = "/v1/owners/customer/c%2F1/wallets?currency=EUR"

Cells = dict[str, StandInCell]


def listing(*wallets: dict[str, object]) -> Callable[[Seen], object]:
    async def tell(_seen: Seen) -> Reply:
        return Reply(document={"wallets": wallets})

    return tell


def wallet(document: DirectoryDocument, cell: str, **members: object) -> dict[str, object]:
    return {"wallet_id": wallet_in(document, cell), "kind": "main", "currency": "EUR", **members}


@pytest.fixture
async def cells(new_cell: NewCell) -> Cells:
    return {name: await new_cell(name) for name in ("a", "b", "spare")}


@pytest.fixture
def document(cells: Cells) -> DirectoryDocument:
    half = SLOTS // 2
    urls = {name: [cell.url] for name, cell in cells.items()}
    return directory_document(urls, slot_cells=["a"] * half + ["b"] * half)


@pytest.fixture
async def router(new_router: NewRouter, document: DirectoryDocument) -> RouterUnderTest:
    return await new_router(document=document)


async def test_the_lists_of_all_owning_cells_are_one(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    in_a, in_b = wallet(document, "a", kind="savings"), wallet(document, "b")
    cells["a"].script, cells["b"].script = listing(in_a), listing(in_b)
    answer = await router.get(PATH, x_request_id="mine")
    assert (answer.status_code, answer.json()) == (200, {"wallets": [in_b, in_a]})
    assert (answer.headers["x-cell"], answer.headers["x-request-id"]) == ("a,b", "mine")
    seen = cells["a"].seen[0]
    assert (seen.target, seen.header("x-request-id"), seen.header("x-unit-epoch")) == (PATH, "mine", None)
    assert cells["spare"].seen == [], "a cell without units has no wallets"


async def test_while_a_unit_moves_the_owner_is_believed(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    stale, fresh = wallet(document, "b", balance=1), wallet(document, "b", balance=2)
    cells["a"].script, cells["b"].script = listing(stale), listing(fresh)
    assert (await router.get(PATH)).json() == {"wallets": [fresh]}


async def test_one_cell_out_of_reach_means_no_list(router: RouterUnderTest, cells: Cells) -> None:
    cells["a"].script = listing()
    await cells["b"].kill()
    answer = await router.get(PATH, x_deadline_ms="200")
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")


async def test_a_dead_spare_cell_is_no_obstacle(router: RouterUnderTest, cells: Cells) -> None:
    cells["a"].script = cells["b"].script = listing()
    await cells["spare"].kill()
    assert (await router.get(PATH)).json() == {"wallets": []}


async def test_what_the_vendor_can_mend_comes_before_what_it_cannot(router: RouterUnderTest, cells: Cells) -> None:
    async def refuse(_seen: Seen) -> Reply:
        return refusal(Reason.TOKEN_MUST_BE_VALID)

    cells["b"].script = refuse
    await cells["a"].kill()
    answer = await router.get(PATH, x_deadline_ms="200")
    assert (answer.status_code, answer.json()["reason"]) == (401, "token_must_be_valid")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"wallets":5}'])
async def test_a_cell_that_sends_no_list_means_no_list(router: RouterUnderTest, cells: Cells, body: bytes) -> None:
    async def babble(_seen: Seen) -> Reply:
        return Reply(body=body)

    cells["a"].script, cells["b"].script = listing(), babble
    answer = await router.get(PATH)
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")


async def test_an_owner_that_is_not_well_formed_reaches_no_cell(router: RouterUnderTest, cells: Cells) -> None:
    answer = await router.get("/v1/owners/Customer/c/wallets")
    assert (answer.status_code, answer.json()["reason"]) == (400, "path_must_be_well_formed")
    assert cells["a"].seen == []
