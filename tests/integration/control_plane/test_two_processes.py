"""Two control plane processes on one database: both answer, one acts, and a race of both publishes once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psycopg
import pytest
from admin_cell import NewCell, Rendezvous
from platform_keys import PlatformKeys
from running_platform import RunningPlatform, registration, running_platform, settings_of, until
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.fleet import Registration
from control_plane import reconcile
from control_plane.api.parts import Parts
from control_plane.app import build
from control_plane.fleet.model import Policy
from control_plane.fleet.publish import Publication
from control_plane.store.cells import register as store_registration
from control_plane.store.database import Database
from control_plane.store.documents import newest_directory, publish_directory
from control_plane.store.locks import lock_fleet

TWO = Policy(first_cells=2)


@pytest.fixture
async def other(database_url: str, keys: PlatformKeys, platform: RunningPlatform) -> AsyncIterator[RunningPlatform]:
    async with running_platform(database_url, keys, policy=TWO) as running:
        yield running


async def test_both_answer_and_nothing_is_published_twice(
    platform: RunningPlatform, other: RunningPlatform, new_cell: NewCell, database_url: str
) -> None:
    cells = [await new_cell(name) for name in ("cell-1", "cell-2")]
    waiting = asyncio.create_task(other.get("/v1/directory?wait=20"))
    for cell, where in zip(cells, (platform, other), strict=True):
        await where.register(cell.cell, cell.admin_url)
    answer = await waiting
    assert answer.status_code == 200
    assert await until(platform.directory) == answer.json()
    assert [len(cell.puts) for cell in cells] == [1, 1]
    assert published(database_url) == [answer.json()["version"]]


async def test_a_nudge_reaches_the_other_process(born: RunningPlatform, other: RunningPlatform) -> None:
    before = await until(lambda: other.configuration("cell-1"))
    path, known = "/v1/cells/cell-1/configuration?wait=20", {"If-None-Match": f'"{before["version"]}"'}
    waiting = asyncio.create_task(other.get(path, **known))
    await born.put("/v1/vendors/v-1", {"blocked": True})
    assert (await waiting).json()["vendors"]["v-1"]["blocked"] is True


async def test_who_does_not_hold_the_lock_does_not_act(
    database: Database, database_url: str, keys: PlatformKeys
) -> None:
    async with reconciling(database_url, keys) as other:
        async with database.acting_alone() as is_alone:
            assert is_alone
            assert not await other.reconciler.settle()
            assert other.reconciler.planned is None
        assert await other.reconciler.settle()
        assert other.reconciler.planned is not None


async def publish_whatever_came_before(connection: AsyncConnection, publication: Publication, signed_text: str) -> bool:
    """The mutant: takes the newest version for the one that it saw."""
    await lock_fleet(connection)
    newest = await newest_directory(connection)
    after = newest.version if newest else None
    document = publication.document
    if after is not None and document.version <= after:
        document = document.model_copy(update={"version": after + 1})
    return await publish_directory(connection, replace(publication, document=document, after=after), signed_text)


@pytest.mark.parametrize("is_mutant", [False, True])
async def test_two_that_both_believe_to_be_alone_publish_once(
    database_url: str, keys: PlatformKeys, new_cell: NewCell, monkeypatch: pytest.MonkeyPatch, *, is_mutant: bool
) -> None:
    """Without the lock both plan on what they loaded before the other acted; what remains is compare-and-set."""
    monkeypatch.setattr(Database, "acting_alone", nobody_asks)
    cell = await new_cell("cell-1")
    async with reconciling(database_url, keys) as one, reconciling(database_url, keys) as other:
        await register(one, cell.admin_url, number=1)
        await one.reconciler.settle()
        assert len(published(database_url)) == 1
        if is_mutant:
            monkeypatch.setattr(reconcile, "publish_directory", publish_whatever_came_before)
        await register(one, cell.admin_url, number=2)
        cell.before_telling_units = Rendezvous(2)
        await asyncio.gather(one.reconciler.settle(), other.reconciler.settle())
        assert len(published(database_url)) == (3 if is_mutant else 2)


@asynccontextmanager
async def nobody_asks(_: Database) -> AsyncIterator[bool]:
    yield True


@asynccontextmanager
async def reconciling(database_url: str, keys: PlatformKeys) -> AsyncIterator[Parts]:
    """A control plane that acts only when it is told to."""
    parts: Parts = build(settings_of(database_url, keys), policy=Policy(first_cells=1)).state.parts
    try:
        yield parts
    finally:
        await parts.cells.close()
        await parts.database.close()


async def register(parts: Parts, admin_url: str, *, number: int) -> None:
    body = registration("cell-1", admin_url, url=f"http://127.0.0.1:1/{number}")
    async with parts.database.transaction() as connection:
        await store_registration(connection, Registration.model_validate(body))


def published(database_url: str) -> list[int]:
    with psycopg.connect(database_url) as connection:
        return [version for (version,) in connection.execute("SELECT version FROM directories ORDER BY version")]
