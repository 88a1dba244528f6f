"""The control plane's PostgreSQL is killed and comes back: long polls end with a clear 503, then everything goes on."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from admin_cell import NewCell
from platform_keys import PlatformKeys
from running_platform import RunningPlatform, running_platform, until

from cellwallet.local.databases import provision_control_plane
from cellwallet.local.postgres import THROWAWAY, Cluster
from cellwallet.local.processes import processes_in
from control_plane.fleet.model import Policy
from control_plane.store.migrate import migrate


@pytest.fixture(scope="module")
def mortal_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of its own: the session's cluster is everybody's."""
    cluster = Cluster(tmp_path_factory.mktemp("mortal"), settings=THROWAWAY)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def database_url(mortal_cluster: Cluster) -> str:
    mortal_cluster.drop_database("control_plane")
    provision_control_plane(mortal_cluster)
    url = mortal_cluster.url("control_plane", "control_plane")
    migrate(url, app_role="control_plane")
    return url


@pytest.fixture
async def platform(database_url: str, keys: PlatformKeys) -> AsyncIterator[RunningPlatform]:
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as running:
        yield running


async def test_a_killed_database_costs_a_pause_and_nothing_else(
    born: RunningPlatform, mortal_cluster: Cluster, new_cell: NewCell
) -> None:
    before = await until(born.directory)
    configuration = await until(lambda: born.configuration("cell-1"))
    polls = [
        asyncio.create_task(born.get(f"{path}?wait=50", **{"If-None-Match": f'"{version}"'}))
        for path, version in (
            ("/v1/directory", before["version"]),
            ("/v1/cells/cell-1/configuration", configuration["version"]),
        )
    ]
    await until(lambda: waiters(born, 2))

    mortal_cluster.stop(signal.SIGKILL)

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*polls)
    assert [answer.json()["reason"] for answer in answers] == ["database_must_be_ready"] * 2
    assert [answer.headers["Retry-After"] for answer in answers] == ["1", "1"]
    for path in ("/v1/directory", "/v1/directory?wait=50", "/v1/cells", "/v1/vendors/v-1", "/readyz"):
        refused = await born.get(path)
        assert (refused.status_code, refused.json()["retry"]) == (503, "same_id"), path
    assert (await born.put("/v1/vendors/v-1", {"blocked": True})).status_code == 503
    assert (await born.client.get("/healthz")).status_code == 200
    assert "control_plane_database_up 0.0" in (await born.client.get("/metrics")).text

    mortal_cluster.start()

    await until(lambda: is_ready(born))
    assert await until(born.directory) == before
    assert await until(lambda: born.configuration("cell-1")) == configuration
    cell = await new_cell("cell-3")
    assert (await born.register("cell-3", cell.admin_url)).status_code == 200
    following = await until(lambda: born.directory(newer_than=before["version"]))
    assert following["previous_version"] == before["version"]
    assert following["slots"] == before["slots"]
    assert set(following["cells"]["cell-1"]["api"][0].items()) == set(before["cells"]["cell-1"]["api"][0].items())


async def test_a_database_that_is_not_there_at_the_start_is_waited_for(
    database_url: str, mortal_cluster: Cluster, keys: PlatformKeys, new_cell: NewCell
) -> None:
    mortal_cluster.stop(signal.SIGKILL)
    async with running_platform(database_url, keys, policy=Policy(first_cells=1)) as platform:
        assert (await platform.client.get("/readyz")).status_code == 503
        mortal_cluster.start()
        await until(lambda: is_ready(platform))
        cell = await new_cell("cell-1")
        await platform.register("cell-1", cell.admin_url)
        await until(platform.directory)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_hanging_database_is_told_from_a_patient_one(
    born: RunningPlatform, mortal_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, not killed: connections stay open and nothing answers.

    A connection whose opening runs out of time is left to the garbage collector by the driver, which grumbles.
    """
    for module in ("database", "nudges"):
        monkeypatch.setattr(f"control_plane.store.{module}.TRANSACTION_TIMEOUT_S", 0.5)
    pids = [process.pid for process in processes_in(mortal_cluster.data_folder)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        refused = await born.get("/v1/cells")
        assert (refused.status_code, refused.json()["reason"]) == (503, "database_must_be_ready")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await until(lambda: is_ready(born))
    assert (await born.get("/v1/cells")).status_code == 200


async def test_a_database_that_was_never_migrated_is_told(
    mortal_cluster: Cluster, keys: PlatformKeys, tmp_path: Path
) -> None:
    mortal_cluster.drop_database("control_plane")
    provision_control_plane(mortal_cluster)
    url = mortal_cluster.url("control_plane", "control_plane")
    async with running_platform(url, keys) as platform:
        for path in ("/v1/directory", "/readyz"):
            refused = await platform.get(path)
            assert (refused.status_code, refused.json()["reason"]) == (503, "database_must_be_ready")
        assert "migrated" in refused.json()["detail"]
        migrate(url, app_role="control_plane")
        await until(lambda: is_ready(platform))


async def is_ready(platform: RunningPlatform) -> bool:
    return (await platform.client.get("/readyz")).status_code == 200


async def waiters(platform: RunningPlatform, count: int) -> bool:
    return platform.app.state.parts.watch.waiters == count
