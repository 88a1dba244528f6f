"""Who carries releases out, alone: by a lease on a real database, whose number outlives even that."""

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from control_plane.store.database import Database, open_database
from control_plane.store.leases import Lease, hold, let_go, still_holds

LASTS = timedelta(seconds=30)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened
    await opened.close()


async def held(database: Database, holder: str) -> Lease | None:
    async with database.transaction() as connection:
        return await hold(connection, "releases", holder=holder, lasts=LASTS)


async def test_one_holds_it_until_it_lets_go_and_the_next_has_a_higher_number(database: Database) -> None:
    first = await held(database, "one")
    assert first is not None
    assert await held(database, "one") == first, "renewed"
    assert await held(database, "two") is None
    async with database.transaction() as connection:
        await let_go(connection, first)
    second = await held(database, "two")
    assert second is not None
    assert second.fence > first.fence
    async with database.transaction() as connection:
        assert not await still_holds(connection, first)
        assert await still_holds(connection, second)


async def test_a_database_that_was_lost_gives_higher_numbers_than_the_one_before(
    database: Database, database_url: str
) -> None:
    """What runs the cells remembers the highest number, and refuses all below it for ever."""
    before = await held(database, "one")
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM leases")
    after = await held(database, "two")
    assert before is not None
    assert after is not None
    assert after.fence > before.fence
