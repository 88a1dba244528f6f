"""A control plane on a fresh database, and cells for it: everything real but the cells' money."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from admin_cell import AdminCell, NewCell
from platform_keys import PlatformKeys
from running_platform import RunningPlatform, running_platform, standing_platform, until

from cellwallet.local.scratch import ScratchCluster, ScratchDatabase
from control_plane.fleet.model import Policy
from control_plane.store.database import Database, open_database
from control_plane.store.migrate import migrate

_numbers = itertools.count(1)


@pytest.fixture
def keys(tmp_path: Path) -> PlatformKeys:
    return PlatformKeys(tmp_path)


@pytest.fixture(scope="session")
def migrated_template(postgres_cluster: ScratchCluster) -> ScratchDatabase:
    template = postgres_cluster.new_control_plane_database()
    migrate(template.url("control_plane"), app_role="control_plane")
    return template


@pytest.fixture
def database_url(postgres_cluster: ScratchCluster, migrated_template: ScratchDatabase) -> Iterator[str]:
    with _copied(postgres_cluster, migrated_template) as url:
        yield url


@contextmanager
def _copied(postgres_cluster: ScratchCluster, migrated_template: ScratchDatabase) -> Iterator[str]:
    """Migrated, empty, and copied from the template, which takes a tenth of the time."""
    name = f"copy_{next(_numbers)}"
    with postgres_cluster.cluster.superuser() as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {migrated_template.name} OWNER control_plane STRATEGY wal_log"
        )
    yield postgres_cluster.cluster.url("control_plane", name)
    postgres_cluster.cluster.drop_database(name)


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
    with _copied(postgres_cluster, migrated_template) as url, standing_platform(url, keys) as running:
        yield running


@pytest.fixture
async def born(platform: RunningPlatform, new_cell: NewCell) -> RunningPlatform:
    """With two active cells, `cell-1` and `cell-2`, and a published directory."""
    for name in ("cell-1", "cell-2"):
        cell = await new_cell(name)
        assert (await platform.register(name, cell.admin_url)).status_code == 200
    await until(platform.directory)
    return platform
