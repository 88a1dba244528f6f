"""A backup is verified and never overwritten; what is restored from it is closed before anybody can connect to it."""

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cell.quarantine import DatabaseWatch
from cell.store.migrate import migrate
from cell.store.restored import InQuarantineError
from cellwallet.local.backups import BackupRefusedError, back_up, restore
from cellwallet.local.databases import CELL_APP, CELL_DATABASE, CELL_OWNER, provision_cell, record_promotion
from cellwallet.local.postgres import THROWAWAY, Cluster
from cellwallet.local.standby import standing_by


def silent(phase: str, done: int, total: int) -> None:
    assert phase
    assert done >= 0 <= total


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "postgres" / "cell-1", settings=THROWAWAY)
    cluster.start()
    provision_cell(cluster)
    migrate(cluster.url(CELL_OWNER, CELL_DATABASE))
    try:
        yield cluster
    finally:
        cluster.stop()


def asked(cluster: Cluster, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(cluster.url(CELL_APP, CELL_DATABASE), autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def seen(cluster: Cluster, folder: Path) -> bool:
    """One look of an API process; whether it is in quarantine then."""

    async def look() -> bool:
        watch = DatabaseWatch(cluster.url(CELL_APP, CELL_DATABASE), state_dir=folder)
        try:
            await watch.remember()
        finally:
            await watch.close()
        return watch.is_quarantined

    return asyncio.run(look())


def test_what_is_restored_is_closed_and_what_was_there_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    note = back_up(cluster, tmp_path / "backup", cell="cell-1", tell=silent)
    assert (note.cell, note.bytes > 0) == ("cell-1", True)
    with pytest.raises(BackupRefusedError, match="never overwritten"):
        back_up(cluster, tmp_path / "backup", cell="cell-1", tell=silent)
    with pytest.raises(BackupRefusedError, match="runs"):
        restore(cluster, tmp_path / "backup", cell="cell-1", tell=silent)
    with pytest.raises(BackupRefusedError, match="not of cell-2"):
        restore(cluster, tmp_path / "backup", cell="cell-2", tell=silent)
    asked(cluster, "INSERT INTO unit_state (unit, state, epoch) VALUES (7, 'active', 1) RETURNING unit")
    cluster.stop()
    kept = restore(cluster, tmp_path / "backup", cell="cell-1", tell=silent)
    assert kept is not None
    assert (kept / "PG_VERSION").exists()
    cluster.start()
    assert asked(cluster, "SELECT unit FROM unit_state") == []
    assert asked(cluster, "SELECT cause FROM quarantines WHERE opened_at IS NULL") == [("restored",)]
    with pytest.raises(InQuarantineError):
        asked(cluster, "SELECT cell_must_be_open()")
    assert asked(
        cluster, "SELECT count(*) FROM database_eras JOIN present_era() USING (system_identifier, timeline)"
    ) == [(0,)]


def test_a_backup_with_one_wrong_byte_is_not_restored(cluster: Cluster, tmp_path: Path) -> None:
    back_up(cluster, tmp_path / "backup", cell="cell-1", tell=silent)
    file = next((tmp_path / "backup" / "pgdata" / "base").rglob("1259"))
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    cluster.stop()
    with pytest.raises(BackupRefusedError, match="does not verify"):
        restore(cluster, tmp_path / "backup", cell="cell-1", tell=silent)
    cluster.start()
    assert not seen(cluster, tmp_path / "state")


def test_files_that_somebody_put_back_are_betrayed_by_what_a_process_has_seen(cluster: Cluster, tmp_path: Path) -> None:
    """No mark and the same timeline: a copy of the folder of an hour ago."""
    assert not seen(cluster, tmp_path / "state")
    cluster.stop()
    _copied(cluster.data_folder, tmp_path / "copy")
    cluster.start()
    for _ in range(2):
        assert not seen(cluster, tmp_path / "state")
    cluster.stop()
    cluster.data_folder.rename(tmp_path / "gone")
    _copied(tmp_path / "copy", cluster.data_folder)
    cluster.start()
    assert not seen(cluster, tmp_path / "another process, without a memory")
    with cluster.superuser(CELL_DATABASE) as connection:
        connection.execute("UPDATE database_ticks SET ticks = ticks - 1")  # what the one without a memory added
    assert seen(cluster, tmp_path / "state")
    assert seen(cluster, tmp_path / "another process, without a memory")


def test_an_ordinary_crash_is_not_taken_for_a_restore(cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        assert not seen(cluster, tmp_path / "state")
        cluster.stop(signal.SIGQUIT)
        cluster.start()
    assert not seen(cluster, tmp_path / "state")


def test_a_promotion_that_is_recorded_closes_nothing_and_one_that_is_not_does(cluster: Cluster, tmp_path: Path) -> None:
    assert not seen(cluster, tmp_path / "state")
    with standing_by(cluster, tmp_path / "postgres" / "standby") as standby:
        assert not seen(cluster, tmp_path / "state")
        cluster.stop()
        standby.promote(record_promotion)
        assert not seen(standby, tmp_path / "state")
        assert not seen(standby, tmp_path / "new process")
        with standby.superuser(CELL_DATABASE) as connection:
            connection.execute("DELETE FROM database_eras WHERE cause = 'promotion'")
        assert seen(standby, tmp_path / "another new process")


def _copied(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
