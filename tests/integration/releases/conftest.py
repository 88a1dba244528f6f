"""A fresh database of the control plane, and a machine of stand-ins."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from control_plane_databases import copied, migrated
from platform_keys import PlatformKeys
from releasing.release_world import ReleaseWorld

from cellwallet.local.scratch import ScratchCluster, ScratchDatabase


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
async def world(tmp_path: Path, keys: PlatformKeys, database_url: str) -> AsyncIterator[ReleaseWorld]:
    folder = tmp_path / "machine"
    folder.mkdir()
    async with ReleaseWorld(folder, keys, database_url, cells=2) as started:
        yield started
