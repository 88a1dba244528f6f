"""Two cells between which units move; both are audited at the end of each test."""

from collections.abc import AsyncIterator

import pytest
from cell_databases import CellDatabase, CellDatabases
from moving.memory_cells import two_memory_cells
from moving_cells import MovingCell, two_cells


@pytest.fixture
async def cells(databases: CellDatabases, database: CellDatabase) -> AsyncIterator[tuple[MovingCell, MovingCell]]:
    """cell-a owns every slot, cell-b none."""
    second = databases.copy(has_units=False)
    async with two_cells(database, second) as (a, b):
        yield a, b
        for cell in (a, b):
            await cell.assert_clean()
    databases.drop(second)


@pytest.fixture(params=["postgres", "memory"])
async def either(
    request: pytest.FixtureRequest, databases: CellDatabases
) -> AsyncIterator[tuple[MovingCell, MovingCell]]:
    """The same two cells over either kind of store."""
    if request.param == "memory":
        async with two_memory_cells() as (a, b):
            yield a, b  # type: ignore[misc]  # with the same face
            await a.assert_clean()
            await b.assert_clean()
        return
    first, second = databases.copy(), databases.copy(has_units=False)
    async with two_cells(first, second) as (one, other):
        yield one, other
        for cell in (one, other):
            await cell.assert_clean()
    databases.drop(first)
    databases.drop(second)
