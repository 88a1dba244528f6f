"""A cell's database for every test, copied from one that is migrated once, and a log to write by hand."""

from collections.abc import AsyncIterator, Iterator

import pytest
from cell_databases import CellDatabase, CellDatabases
from event_log import EventLog, event_store

from cell.store.events import EventStore
from cellwallet.local.scratch import ScratchCluster


@pytest.fixture(scope="session")
def databases(postgres_cluster: ScratchCluster) -> CellDatabases:
    return CellDatabases(postgres_cluster)


@pytest.fixture
def database(databases: CellDatabases) -> Iterator[CellDatabase]:
    database = databases.copy(has_units=False)
    yield database
    databases.drop(database)


@pytest.fixture
def log(database: CellDatabase) -> EventLog:
    return EventLog(database)


@pytest.fixture
async def store(database: CellDatabase) -> AsyncIterator[EventStore]:
    store = event_store(database)
    yield store
    await store.close()
