"""Two cells between which units move; both are audited at the end of each test."""

from collections.abc import AsyncIterator

import pytest
from cell_databases import CellDatabase, CellDatabases
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
