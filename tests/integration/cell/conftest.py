"""A cell's database for every test, copied from one that is migrated once; commands; both stores."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from cell_databases import CellDatabase, CellDatabases
from cell_process import RunningCell, Vendor, running_cell
from cell_stores import MemoryUnderTest, PostgresUnderTest, StoreUnderTest
from ledger_book import Book

from cell.telemetry import Metrics
from cellwallet.local.scratch import ScratchCluster


@pytest.fixture(scope="session")
def databases(postgres_cluster: ScratchCluster) -> CellDatabases:
    return CellDatabases(postgres_cluster)


@pytest.fixture
def database(databases: CellDatabases) -> Iterator[CellDatabase]:
    """Empty; owns every slot."""
    database = databases.copy()
    yield database
    databases.drop(database)


@pytest.fixture(scope="session")
def cell(databases: CellDatabases) -> Iterator[RunningCell]:
    """One for all tests that ask nothing but what a vendor asks; it is audited at the end."""
    with running_cell(databases.copy()) as cell:
        yield cell
    asyncio.run(cell.database.assert_clean())


@pytest.fixture(scope="session")
def vendor(cell: RunningCell) -> Iterator[Vendor]:
    with cell.client() as client:
        yield Vendor(client, cell)


@pytest.fixture
def book() -> Book:
    """Makes commands: ids count upwards from test to test."""
    return Book()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(cell_id="cell-a", zone="zone-1", software_version="1")


@pytest.fixture(params=["postgres", "memory"])
def store(request: pytest.FixtureRequest) -> StoreUnderTest:
    if request.param == "memory":
        return MemoryUnderTest(clock=lambda: time.time_ns() // 1_000)
    return PostgresUnderTest(request.getfixturevalue("database"))
