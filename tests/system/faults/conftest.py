"""The stages of the fault tests: one whole platform for its module, one PostgreSQL for small fleets, one seed."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from faults.site import BACK_DEADLINE_S, wait_until
from faults.whole_platform import WholePlatform, whole_platform

from cellwallet.local.postgres import THROWAWAY, Cluster


@pytest.fixture(scope="module")
def started_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePlatform]:
    with whole_platform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture
async def platform(started_platform: WholePlatform) -> AsyncIterator[WholePlatform]:
    """With every part ready: also for the next test, whatever this one does to it."""
    if not await wait_until(started_platform.is_whole, deadline_s=BACK_DEADLINE_S):
        await asyncio.to_thread(started_platform.end)
        await asyncio.to_thread(started_platform.up)
    yield started_platform
    assert await wait_until(started_platform.is_whole, deadline_s=BACK_DEADLINE_S), "the platform is not whole again"


@pytest.fixture(scope="session")
def fleet_cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Started and stopped by each small fleet; its own, because faults kill it."""
    return Cluster(tmp_path_factory.mktemp("fleet") / "postgres", settings=THROWAWAY)


@pytest.fixture
def fleet_folder(tmp_path: Path) -> Path:
    return tmp_path / "fleet"


@pytest.fixture
def seed() -> int:
    """Of all dice of a scenario; follows from the seed of the run, which a failure prints."""
    chosen = random.randrange(2**32)
    print(f"scenario seed {chosen}")  # noqa: T201 - shown with a failure
    return chosen
