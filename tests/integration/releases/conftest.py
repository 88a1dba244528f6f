"""A fresh database of the control plane, and a machine of stand-ins."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from platform_keys import PlatformKeys
from releasing.release_world import ReleaseWorld

from cellwallet.local.scratch import ScratchCluster, ScratchDatabase
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
    name = f"releases_{next(_numbers)}"
    with postgres_cluster.cluster.superuser() as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {migrated_template.name} OWNER control_plane STRATEGY wal_log"
        )
    yield postgres_cluster.cluster.url("control_plane", name)
    postgres_cluster.cluster.drop_database(name)


@pytest.fixture
async def world(tmp_path: Path, keys: PlatformKeys, database_url: str) -> AsyncIterator[ReleaseWorld]:
    folder = tmp_path / "machine"
    folder.mkdir()
    async with ReleaseWorld(folder, keys, database_url, cells=2) as started:
        yield started
