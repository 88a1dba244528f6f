"""What connections leave behind when they end: nothing, for the collector of a router that serves looks seldom."""

import gc
from collections.abc import Iterator

import pytest
from router_under_test import NewCell, NewRouter
from signed_directory import directory_document, wallet_in
from stand_in_cell import Reply

from router.cell_connections import CellConnection
from router.strict_server import StrictProtocol

REQUESTS = 5


@pytest.fixture
def nobody_collects() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("nobody_collects")
async def test_connections_that_ended_are_gone_without_a_collector(new_cell: NewCell, new_router: NewRouter) -> None:
    cell = await new_cell("a")
    document = directory_document({"a": [cell.url]})
    router = await new_router(document=document)
    balance = f"/v1/wallets/{wallet_in(document, 'a')}/balance"

    async def ends_the_connection(_: object) -> Reply:
        return Reply(document={}, headers={"connection": "close"})

    cell.script = ends_the_connection
    for _ in range(REQUESTS):
        assert (await router.get(balance, connection="close")).status_code == 200
    assert cell.connections == REQUESTS
    assert [one for one in gc.get_objects() if type(one) in {CellConnection, StrictProtocol}] == []
