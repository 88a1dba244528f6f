"""Three small cells behind a router, shared by the tests of a module."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sagas.three_cells import ThreeCells, three_cells

from cellwallet.local.postgres import THROWAWAY, Cluster


@pytest.fixture(scope="session")
def saga_cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Started and stopped by each fleet."""
    return Cluster(tmp_path_factory.mktemp("sagas") / "postgres", settings=THROWAWAY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cells(saga_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ThreeCells]:
    folder: Path = tmp_path_factory.mktemp("cells")
    async with three_cells(saga_cluster, folder, name="sagas") as cells:
        yield cells


@pytest_asyncio.fixture(loop_scope="module")
async def cells(shared_cells: ThreeCells) -> AsyncIterator[ThreeCells]:
    """Unarmed before and after."""
    shared_cells.disarm()
    yield shared_cells
    shared_cells.disarm()
