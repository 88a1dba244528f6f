"""Cells between which units move; all are audited at the end of each test."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from cell_databases import CellDatabase, CellDatabases
from moving.memory_cells import memory_cells
from moving_cells import MovingCell, moving_cell, two_cells


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
async def either(request: pytest.FixtureRequest, databases: CellDatabases) -> AsyncIterator[list[MovingCell]]:
    """The same two cells over either kind of store."""
    async with _cells(request.param, databases, "cell-a", "cell-b") as cells:
        yield cells


@pytest.fixture(params=["postgres", "memory"])
async def three(request: pytest.FixtureRequest, databases: CellDatabases) -> AsyncIterator[list[MovingCell]]:
    """And a third one, which owns nothing either."""
    async with _cells(request.param, databases, "cell-a", "cell-b", "cell-c") as cells:
        yield cells


@asynccontextmanager
async def _cells(kind: str, databases: CellDatabases, *names: str) -> AsyncIterator[list[MovingCell]]:
    async with AsyncExitStack() as stack:
        if kind == "memory":
            cells: list[MovingCell] = await stack.enter_async_context(memory_cells(*names))  # type: ignore[assignment]
        else:
            copies = [databases.copy(has_units=name == names[0]) for name in names]
            for copied in copies:
                stack.callback(databases.drop, copied)
            pairs = zip(names, copies, strict=True)
            cells = [await stack.enter_async_context(moving_cell(name, copied)) for name, copied in pairs]
        yield cells
        for cell in cells:
            await cell.assert_clean()
