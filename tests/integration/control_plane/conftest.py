"""A control plane on a fresh database, and cells for it: everything real but the cells' money."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from admin_cell import AdminCell, NewCell
from control_plane_databases import copied, migrated
from platform_keys import PlatformKeys
from running_platform import RunningPlatform, running_platform, standing_platform, until

from cellwallet.local.scratch import ScratchCluster, ScratchDatabase
from control_plane.fleet.model import Policy
from control_plane.store.database import Database, open_database


@pytest.fixture
def keys(tmp_path: Path) -> PlatformKeys:
    return PlatformKeys(tmp_path)


@pytest.fixture(scope="session")
def migrated_template(postgres_cluster: ScratchCluster) -> ScratchDatabase:
    return migrated(postgres_cluster)


@pytest.fixture
def database_url(postgres_cluster: ScratchCluster, migrated_template: ScratchDatabase) -> Iterator[str]:
    with copied(postgres_cluster, migrated_template) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def new_cell(keys: PlatformKeys) -> AsyncIterator[NewCell]:
    started: list[AdminCell] = []

    async def start(cell: str) -> AdminCell:
        started.append(await AdminCell(cell, keys.own_jwks()).start())
        return started[-1]

    yield start
    for one in started:
        await one.stop()


@pytest.fixture
async def platform(database_url: str, keys: PlatformKeys) -> AsyncIterator[RunningPlatform]:
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as running:
        yield running


@pytest.fixture(scope="session")
def standing(
    postgres_cluster: ScratchCluster, migrated_template: ScratchDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPlatform]:
    """One for all tests that are refused and so leave no trace; it runs in a thread of its own."""
    keys = PlatformKeys(tmp_path_factory.mktemp("standing"))
    with copied(postgres_cluster, migrated_template) as url, standing_platform(url, keys) as running:
        yield running


@pytest.fixture
async def born(platform: RunningPlatform, new_cell: NewCell) -> RunningPlatform:
    """With two active cells, `cell-1` and `cell-2`, and a published directory."""
    for name in ("cell-1", "cell-2"):
        cell = await new_cell(name)
        assert (await platform.register(name, cell.admin_url)).status_code == 200
    await until(platform.directory)
    return platform
