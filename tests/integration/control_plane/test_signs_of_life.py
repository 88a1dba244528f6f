"""Instances that come and go: the directory follows registrations, and a cell that vanishes keeps its last ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from admin_cell import NewCell
from platform_keys import PlatformKeys
from running_platform import POLL_S, RunningPlatform, running_platform, until

from control_plane.fleet.model import Policy

LEASE = timedelta(seconds=2)


@pytest.fixture
async def platform(database_url: str, keys: PlatformKeys) -> AsyncIterator[RunningPlatform]:
    """With a lease of two seconds, so that nobody waits for ten."""
    async with running_platform(database_url, keys, policy=Policy(first_cells=1, instance_lease=LEASE)) as running:
        yield running


async def test_a_dead_instance_goes_when_another_lives_and_the_last_one_stays(
    platform: RunningPlatform, new_cell: NewCell
) -> None:
    cell = await new_cell("cell-1")
    old, new = ("http://127.0.0.1:1/old", "http://127.0.0.1:1/new")
    async with living(platform, cell.admin_url, new):
        async with living(platform, cell.admin_url, old):
            await until(lambda: listed(platform, [new, old]))
        await until(lambda: listed(platform, [new]))
        assert (await platform.get("/v1/cells/cell-1")).json()["api"] == [{"url": new, "zone": "zone-a"}]

    await until(lambda: is_waiting(platform, "cell_must_show_signs_of_life"))
    assert await listed(platform, [new])
    async with living(platform, cell.admin_url, old):
        await until(lambda: listed(platform, [old]))


@asynccontextmanager
async def living(platform: RunningPlatform, admin_url: str, url: str) -> AsyncIterator[None]:
    """An API process that registers again and again."""

    async def register() -> None:
        while True:
            await platform.register("cell-1", admin_url, url=url)
            await asyncio.sleep(POLL_S * 5)

    task = asyncio.create_task(register())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def listed(platform: RunningPlatform, urls: list[str]) -> bool:
    document = await platform.directory()
    return document is not None and [one["url"] for one in document["cells"]["cell-1"]["api"]] == urls


async def is_waiting(platform: RunningPlatform, reason: str) -> bool:
    return (reason, "cell-1") in await platform.waiting()
