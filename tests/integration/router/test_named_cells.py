"""Questions to a cell that the query names: what a cell signed can be had of every cell through the one router."""

import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest
from running_haproxy import both_data_planes
from signed_directory import directory_document
from stand_in_cell import StandInCell

pytestmark = both_data_planes

Cells = dict[str, StandInCell]


@pytest.fixture
async def cells(new_cell: NewCell) -> Cells:
    return {name: await new_cell(name) for name in ("a", "b")}


@pytest.fixture
async def router(new_router: NewRouter, cells: Cells) -> RouterUnderTest:
    return await new_router(document=directory_document({name: [cell.url] for name, cell in cells.items()}))


async def test_the_named_cell_is_asked(router: RouterUnderTest, cells: Cells) -> None:
    for name in ("b", "a", "b"):
        path = f"/v1/checkpoints?limit=2&cell={name}"
        answer = await router.get(path)
        assert (answer.status_code, answer.headers["x-cell"], answer.json()["target"]) == (200, name, path)
    assert (len(cells["a"].seen), len(cells["b"].seen)) == (1, 2)


async def test_without_a_name_any_cell_in_reach_answers(router: RouterUnderTest, cells: Cells) -> None:
    await cells["a"].kill()
    for path in ("/v1/checkpoints", "/v1/keys"):
        assert (await router.get(path)).headers["x-cell"] == "b"


async def test_a_named_cell_out_of_reach_is_not_replaced_by_another(router: RouterUnderTest, cells: Cells) -> None:
    await cells["a"].kill()
    answer = await router.get("/v1/checkpoints?cell=a", x_deadline_ms="200")
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")
    assert cells["b"].seen == []


@pytest.mark.parametrize("query", ["cell=z", "cell=", "cell=a&cell=b", "cell=A"])
async def test_a_name_of_nobody_is_refused(router: RouterUnderTest, cells: Cells, query: str) -> None:
    answer = await router.get(f"/v1/checkpoints?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed")
    assert cells["a"].seen == cells["b"].seen == []
