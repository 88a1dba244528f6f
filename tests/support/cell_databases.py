"""Databases of a cell, migrated once and copied from a template; and questions to them, as whichever role."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Connection

from cell.store.audit import AuditReport, audit
from cell.store.migrate import migrate
from cellwallet.local.scratch import ScratchCluster
from contract.slots import SLOTS

_numbers = itertools.count(1)

CELL_KEY = Ed25519PrivateKey.generate()
"""What every cell under test signs with."""


class CellDatabase:
    """One database of a cell. `sql` waits in this thread: never ask it for what a lane of the same loop has locked."""

    def __init__(self, scratch: ScratchCluster, name: str) -> None:
        self.scratch = scratch
        self.name = name

    @property
    def app_url(self) -> str:
        return self.url("cell_app")

    def url(self, role: str = "postgres") -> str:
        return self.scratch.cluster.url(role, self.name)

    def sql(self, statement: str, *parameters: Any, role: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement, committed; its rows, if it has any."""
        with psycopg.connect(self.url(role), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    def one(self, statement: str, *parameters: Any) -> Any:
        return self.sql(statement, *parameters)[0][0]

    def count(self, table: str) -> int:
        number: int = self.one(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own words
        return number

    @contextmanager
    def transaction(self, role: str = "postgres") -> Iterator[Connection[tuple[Any, ...]]]:
        """A connection whose transaction the test ends itself; rolled back otherwise."""
        connection = psycopg.connect(self.url(role))
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def unprotected(self) -> Iterator[Connection[tuple[Any, ...]]]:
        """As the superuser with every trigger and constraint trigger asleep: what a thief with the disk can do."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            yield connection

    def backup(self) -> "CellDatabase":
        """As it is now; nobody may be connected."""
        name = f"{self.name}_backup_{next(_numbers)}"
        with self.scratch.cluster.superuser() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {self.name} OWNER cell_owner STRATEGY wal_log")
        return CellDatabase(self.scratch, name)

    async def audit(self, *, is_full: bool = True) -> AuditReport:
        keys = {"cell:cell-a": CELL_KEY.public_key()}
        return await audit(self.app_url, cell="cell-a", is_full=is_full, checkpoint_keys=keys)

    async def assert_clean(self) -> AuditReport:
        for is_full in (False, True):
            report = await self.audit(is_full=is_full)
            assert report.findings == ()
        return report


class CellDatabases:
    """Copies of one migrated template; `with_units` own every slot at epoch 1."""

    def __init__(self, scratch: ScratchCluster) -> None:
        self._scratch = scratch
        self._bare = scratch.new_cell_database().name
        migrate(scratch.cluster.url("cell_owner", self._bare))
        self._with_units = self.copy(has_units=False).name
        CellDatabase(scratch, self._with_units).sql(
            "INSERT INTO unit_state (unit, state, epoch) SELECT unit, 'active', 1 FROM generate_series(0, %s) AS unit",
            SLOTS - 1,
        )

    def copy(self, *, has_units: bool = True) -> CellDatabase:
        name = f"cell_copy_{next(_numbers)}"
        template = self._with_units if has_units else self._bare
        with self._scratch.cluster.superuser() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER cell_owner STRATEGY wal_log")
        return CellDatabase(self._scratch, name)

    def drop(self, database: CellDatabase) -> None:
        self._scratch.cluster.drop_database(database.name)
