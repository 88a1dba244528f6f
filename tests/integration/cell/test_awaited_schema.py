"""`python -m cell await-schema`: a new version does not begin before its schema is there, and waits for no more."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cell.store.applied_revision import applied_revision, has_schema
from cell.store.migrate import migrate
from cell.store.revision import SCHEMA_REVISION
from cellwallet.local.scratch import ScratchCluster, ScratchDatabase

ROOT = Path(__file__).parents[3]


@pytest.fixture
def empty(postgres_cluster: ScratchCluster) -> Iterator[ScratchDatabase]:
    database = postgres_cluster.new_cell_database()
    yield database
    postgres_cluster.drop(database)


def waiting(database_url: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("CELL_")},
        "CELL_ID": "cell-1",
        "CELL_ZONE": "a",
        "CELL_HOME_ZONE": "a",
        "CELL_PORT": "0",
        "CELL_ADMIN_PORT": "0",
        "CELL_DATABASE_URL": database_url,
        "CELL_STATE_DIR": str(tmp_path),
        "CELL_SIGNING_KEY_FILE": str(tmp_path / "nobody-reads-it.pem"),
        "CELL_CONTROL_PLANE_JWKS_FILE": str(tmp_path / "nor-this.json"),
    }
    command = [sys.executable, "-m", "cell", "await-schema"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def test_it_ends_when_the_migration_has_and_not_before(empty: ScratchDatabase, tmp_path: Path) -> None:
    process = waiting(empty.url("cell_app"), tmp_path)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        migrate(empty.url("cell_owner"))
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_an_older_schema_is_not_enough_and_a_newer_one_is(empty: ScratchDatabase) -> None:
    migrate(empty.url("cell_owner"))
    for revision, is_enough in (("0001", False), (SCHEMA_REVISION, True), ("9999", True)):
        with psycopg.connect(empty.url("cell_owner")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [revision])
        assert applied_revision(empty.url("cell_app"), connect_timeout_s=3) == revision
        assert has_schema(empty.url("cell_app"), connect_timeout_s=3) == is_enough, revision


def test_a_database_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    nowhere = f"postgresql://cell_app@/cell?host={tmp_path}"
    assert applied_revision(nowhere, connect_timeout_s=2) is None
    process = waiting(nowhere, tmp_path)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
        assert time.monotonic() - began_s < 10
    finally:
        process.kill()
        process.wait()
