"""Backups of one cell's database in a folder, and the way back: a restored cell is closed until it is adjudicated.

A backup is PostgreSQL's own base backup, its checksums verified, with a note of whose it is. A restore is made beside
the place of the database and marked in the restored one itself while nobody else can reach it; only then does it take
the place of what was there, which is kept.
"""

import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from cell.store.revision import SCHEMA_REVISION
from cellwallet.local.binaries import postgres_bin_folder
from cellwallet.local.databases import CELL_DATABASE
from cellwallet.local.folder import write_json
from cellwallet.local.postgres import SOCKET_PORT, SUPERUSER, Cluster, ClusterSettings
from cellwallet.local.processes import processes_in
from cellwallet.local.programs import quiet_environment
from contract.values import value

NOTE: Final = "cell_backup.json"
MANIFEST: Final = "backup_manifest"
FORMAT: Final = 1
POLL_S: Final = 0.2
PROGRESS: Final = "SELECT phase, backup_streamed, coalesce(backup_total, 0) FROM pg_stat_progress_basebackup LIMIT 1"

Tell = Callable[[str, int, int], None]
"""What is being done, how much of it, of how much (0 = unknown)."""


class BackupRefusedError(Exception):
    """Nothing was changed; the message says what must hold."""


@value
class BackupNote:
    """What lies beside the files: whose they are, and from when."""

    cell: str
    made_at: str
    revision: str
    bytes: int


def back_up(cluster: Cluster, folder: Path, *, cell: str, tell: Tell) -> BackupNote:
    """Into a folder that is not there yet; the cell goes on meanwhile.

    Raises:
        BackupRefusedError: there is something already, the database does not run, or the copy does not verify.

    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupRefusedError(f"{folder} must not exist yet, or be empty: backups are never overwritten")
    if not cluster.is_ready():
        raise BackupRefusedError(f"the database of {cell} must run to be backed up")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with cluster.superuser(CELL_DATABASE) as connection:
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    _copy(cluster, folder / "pgdata", tell)
    _verify(folder / "pgdata", tell)
    note = BackupNote(
        cell=cell,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=revision,
        bytes=sum(file.stat().st_size for file in (folder / "pgdata").rglob("*") if file.is_file()),
    )
    write_json(folder / NOTE, {"format": FORMAT, **asdict(note)})
    return note


def read_note(folder: Path) -> BackupNote:
    """Raises BackupRefusedError: the folder holds no whole backup."""
    try:
        told = json.loads((folder / NOTE).read_text())
        note = BackupNote(**{name: told[name] for name in ("cell", "made_at", "revision", "bytes")})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupRefusedError(f"{folder} holds no backup that was finished: {error}") from error
    if told.get("format") != FORMAT or note.revision > SCHEMA_REVISION:
        raise BackupRefusedError(
            f"the backup is of schema {note.revision} in format {told.get('format')}; "
            f"this version knows {SCHEMA_REVISION} in format {FORMAT}"
        )
    return note


def restore(cluster: Cluster, folder: Path, *, cell: str, tell: Tell) -> Path | None:
    """The backup takes the cluster's place, closed; answers where what was there is kept.

    Raises:
        BackupRefusedError: it is another cell's, does not verify, or the cell's database runs.

    """
    note = read_note(folder)
    if note.cell != cell:
        raise BackupRefusedError(f"{folder} is a backup of {note.cell} and not of {cell}")
    _must_not_run(cluster, cell)
    _verify(folder / "pgdata", tell)
    beside = Cluster(
        cluster.folder / "restoring",
        settings=ClusterSettings(shared_buffers_mb=64, connections_max=_connections_max(folder / "pgdata")),
        log=cluster.folder / "restore.log",
    )
    shutil.rmtree(beside.folder, ignore_errors=True)
    tell("copying", 0, 0)
    shutil.copytree(folder / "pgdata", beside.data_folder, symlinks=True)
    _mark(beside, f"from a backup of {note.made_at}", tell)
    _must_not_run(cluster, cell)
    kept = _put_aside(cluster)
    beside.data_folder.rename(cluster.data_folder)
    shutil.rmtree(beside.folder, ignore_errors=True)
    return kept


def _connections_max(data_folder: Path) -> int:
    """Recovery from an archive wants no fewer than the database had."""
    found = re.search(r"^max_connections = (\d+)$", (data_folder / "postgresql.conf").read_text(), re.MULTILINE)
    return int(found[1]) if found else ClusterSettings().connections_max


def _mark(beside: Cluster, detail: str, tell: Tell) -> None:
    """Recovered on a socket of its own, on a timeline of its own, and closed before anybody else can connect."""
    # Not the demand for a standby that follows another history; and the end of recovery begins a timeline.
    settings = beside.data_folder / "postgresql.auto.conf"
    settings.write_text("restore_command = 'false'\nrecovery_target_timeline = 'current'\n")
    (beside.data_folder / "recovery.signal").touch(mode=0o600)
    tell("recovering", 0, 0)
    beside.start()
    try:
        _wait_until_recovered(beside)
        with beside.superuser(CELL_DATABASE) as connection:
            connection.execute("SELECT begin_quarantine('restored', %s)", [detail])
            ((is_closed,),) = connection.execute("SELECT count(*) FROM quarantines WHERE opened_at IS NULL").fetchall()
            connection.execute("CHECKPOINT")
    finally:
        beside.stop()
    if is_closed != 1:
        raise BackupRefusedError("the restored database could not be closed")
    settings.write_text("")


def _wait_until_recovered(beside: Cluster) -> None:
    while True:
        with beside.superuser() as connection:
            ((is_recovering,),) = connection.execute("SELECT pg_is_in_recovery()").fetchall()
        if not is_recovering:
            return
        time.sleep(POLL_S)


def _put_aside(cluster: Cluster) -> Path | None:
    if not cluster.data_folder.exists():
        return None
    kept = cluster.folder / f"pgdata.replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    cluster.data_folder.rename(kept)
    return kept


def _must_not_run(cluster: Cluster, cell: str) -> None:
    if cluster.data_folder.exists() and processes_in(cluster.data_folder):
        raise BackupRefusedError(f"the database of {cell} runs; a restore is made while it does not")


def _copy(cluster: Cluster, target: Path, tell: Tell) -> None:
    command = [
        str(postgres_bin_folder() / "pg_basebackup"),
        f"--pgdata={target}",
        f"--host={cluster.socket_folder}",
        f"--port={SOCKET_PORT}",
        f"--username={SUPERUSER}",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
    ]
    copying = subprocess.Popen(  # noqa: S603 - our own words
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", env=quiet_environment()
    )
    with copying:
        while copying.poll() is None:
            tell("copying", *_progress(cluster))
            time.sleep(POLL_S)
        said = copying.stdout.read() if copying.stdout else ""
    if copying.returncode != 0:
        raise BackupRefusedError(f"pg_basebackup failed: {said.strip()}")


def _progress(cluster: Cluster) -> tuple[int, int]:
    try:
        with cluster.superuser() as connection:
            row = connection.execute(PROGRESS).fetchone()
    except psycopg.OperationalError:
        return (0, 0)
    return (0, 0) if row is None else (row[1], row[2])


def _verify(data_folder: Path, tell: Tell) -> None:
    """Every file against PostgreSQL's manifest, and the manifest against itself; the log is verified by recovery.

    Raises:
        BackupRefusedError: a file is missing, has another content, or nobody listed it.

    """
    listed = _manifest(data_folder)
    total, done = sum(size for size, _ in listed.values()), 0
    for name, (size, checksum) in sorted(listed.items()):
        tell("verifying", done, total)
        file = data_folder / name
        if not file.is_file() or file.stat().st_size != size or _sha256(file) != checksum:
            raise BackupRefusedError(f"the backup does not verify: {file} is not what was written")
        done += size
    found = {str(one.relative_to(data_folder)) for one in data_folder.rglob("*") if one.is_file()}
    strange = sorted(name for name in found - listed.keys() if name != MANIFEST and not name.startswith("pg_wal/"))
    if strange:
        raise BackupRefusedError(f"the backup does not verify: nobody wrote {strange[0]}")


def _manifest(data_folder: Path) -> dict[str, tuple[int, str]]:
    """File to size and SHA-256."""
    try:
        content = (data_folder / MANIFEST).read_bytes()
        told = json.loads(content)
        listed = {str(one["Path"]): (int(one["Size"]), str(one["Checksum"])) for one in told["Files"]}
        whole = content[: content.rindex(b'"Manifest-Checksum"')]
        is_whole = hashlib.sha256(whole).hexdigest() == told["Manifest-Checksum"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupRefusedError(f"the backup in {data_folder} does not verify: {error}") from error
    if not is_whole or any(one.get("Checksum-Algorithm") != "SHA256" for one in told["Files"]):
        raise BackupRefusedError(f"the backup in {data_folder} does not verify: its manifest was changed")
    return listed


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
