"""One embedded PostgreSQL cluster in a folder: made, started, watched, ended.

Used by the supervisor, which runs `command()` as its own child, and by tests and benchmarks, which call `start()` and
`stop()`. Clients reach it through a Unix socket in a folder that only its owner (and root) can enter; there is no TCP.
Knows nothing of what the databases hold.
"""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from cellwallet.local.binaries import postgres_bin_folder
from cellwallet.local.hurried import connected
from cellwallet.local.identity import Identity, choose_identity, give_to, leashed
from cellwallet.local.processes import end, processes_in
from cellwallet.local.programs import quiet_environment
from contract.values import value

SUPERUSER = "postgres"
SOCKET_PORT = 5432
"""Only part of the socket's name; no port is opened."""
SOCKET_NAME = f".s.PGSQL.{SOCKET_PORT}"
SOCKET_PATH_MAX_BYTES = 107
READY_TIMEOUT_S = 120.0
"""Recovery after a crash replays at most what `wal_max_gb` lets accumulate."""
STOP_TIMEOUT_S = 60.0
LEFTOVER_PATIENCE_S = 15.0
POLL_S = 0.02
LOG_TAIL_LINES = 15
PAIRED = {"restart_after_crash": "off", "wal_sender_timeout": "15s"}
"""What a crash recovery brings to light was not waited for: nobody may see it before it is on the standby as well. And
a standby that hangs is noticed in seconds."""


class PostgresMustStartError(Exception):
    """The cluster could not be made or started; the message ends with what it logged."""


class DataMustFitError(PostgresMustStartError):
    """The data are not those of the role in which they were to be started: a person must look, no trying helps."""


class PostgresMustEndError(Exception):
    """A process of the cluster outlives being killed."""


@value
class ClusterSettings:
    shared_buffers_mb: int = 256
    """Several clusters share one machine, and the system caches files as well."""
    connections_max: int = 100
    wal_max_gb: int = 8
    """Few checkpoints, for each makes the next write of every page a full page in the log."""
    wal_min_mb: int = 80
    """Files of the log that are used again instead of being made anew, while which every commit waits."""
    is_durable: bool = True
    """False only for data that nobody misses after a power cut."""
    is_paired: bool = False
    """One of two, watched by somebody who decides what a crash is followed by; PostgreSQL does not decide it."""


THROWAWAY = ClusterSettings(shared_buffers_mb=64, connections_max=200, wal_max_gb=1, is_durable=False)
"""For tests: survives kill -9 of PostgreSQL, not a power cut."""


class Cluster:
    """A cluster in `folder`; `log` is what its own output is appended to."""

    def __init__(
        self,
        folder: Path,
        *,
        log: Path | None = None,
        settings: ClusterSettings | None = None,
        limit_s: float | None = None,
    ) -> None:
        """`limit_s`: for how long its superuser connects and works, each time; None = as long as it takes."""
        self._limit_s = limit_s
        self.folder = folder.resolve()
        self.data_folder = self.folder / "pgdata"
        self.log = log or self.folder / "postgres.log"
        self.settings = settings or ClusterSettings()
        self._identity: Identity | None = None
        self._socket_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # What others need to know.

    @property
    def socket_folder(self) -> Path:
        """Known before there is a cluster, so that others can be told where it will be."""
        if self._socket_folder is None:
            wanted = self.folder / "socket"
            self._socket_folder = wanted if socket_fits(wanted) else self._short_socket_folder()
        return self._socket_folder

    @property
    def pid(self) -> int | None:
        """The pid of a cluster started by `start()`."""
        return self._process.pid if self._process else None

    def url(self, role: str = SUPERUSER, database: str = "postgres") -> str:
        return url_at(self.socket_folder, role, database)

    # Making it, and making it ready to run; all of it safe to repeat.

    def prepare(self) -> None:
        """Make the cluster if there is none, write its settings, end what an earlier owner left running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        program = postgres_bin_folder() / "postgres"
        owner = self._owner()
        self._identity = choose_identity(self.folder, program=program, owner=owner)
        found = self.folder.stat()
        if {owner, (found.st_uid, found.st_gid)} != {self._identity.owner}:  # new, or copied from elsewhere
            give_to(self._identity, self.folder)
        self.folder.chmod(0o700)
        if owner is None:
            self._make()
        self._make_socket_folder()
        self.end_leftovers()
        self._write_settings()

    def command(self, *, parent_pid: int | None = None) -> list[str]:
        """What to run: PostgreSQL in the foreground; it stops at once when its parent dies."""
        program = postgres_bin_folder() / "postgres"
        return leashed(
            [str(program), "-D", str(self.data_folder)],
            parent_signal=signal.SIGQUIT,
            parent_pid=parent_pid,
            identity=self._known_identity(),
        )

    def end_leftovers(self) -> None:
        """End processes of this very cluster that nobody waits for any more, and the notes that dead ones left.

        The children of a killed postmaster end by themselves, shortly after; a new one may not start before. Once
        nobody works in the folder, a postmaster.pid that names a living process names somebody else.
        """
        postmaster = self._recorded_pid()
        leftovers = (process for process in processes_in(self.data_folder) if process.pid == postmaster)
        end(leftovers, signal.SIGINT, patience_s=LEFTOVER_PATIENCE_S)
        deadline = time.monotonic() + LEFTOVER_PATIENCE_S
        while (remaining := processes_in(self.data_folder)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        end(remaining, signal.SIGKILL, patience_s=LEFTOVER_PATIENCE_S)
        (self.data_folder / "postmaster.pid").unlink(missing_ok=True)
        (self.socket_folder / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def end_at_once(self) -> None:
        """Kill every process of this very cluster, and be sure that none is left.

        Raises:
            PostgresMustEndError: one is, and what it holds may still be written.

        """
        deadline = time.monotonic() + LEFTOVER_PATIENCE_S
        while running := processes_in(self.data_folder):
            if time.monotonic() > deadline:
                raise PostgresMustEndError(f"{len(running)} processes in {self.data_folder} cannot be ended")
            end(running, signal.SIGKILL, patience_s=1.0)

    # Running it without a supervisor.

    def start(self) -> None:
        """Prepare, run as our child, and wait until it accepts connections.

        Call it from the main thread: PostgreSQL is stopped when the thread that started it ends.
        """
        self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=quiet_environment(),
                start_new_session=True,
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self.is_ready():
            if self._process is not None and self._process.poll() is not None:
                raise PostgresMustStartError(f"PostgreSQL ended by itself\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise PostgresMustStartError(f"PostgreSQL was not ready in {READY_TIMEOUT_S:.0f} s\n{self.log_tail()}")
            time.sleep(POLL_S)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends sessions and writes everything out; SIGQUIT leaves recovery to the next start."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self.url(), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def log_tail(self) -> str:
        if not self.log.exists():
            return "(it logged nothing)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    # Databases and roles.

    @contextmanager
    def superuser(
        self, database: str = "postgres", *, limit_s: float | None = None
    ) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection of the superuser that commits each statement; `limit_s` instead of its usual limit.

        Raises:
            TimeoutError: there is a limit, and it is over.

        """
        limit_s = self._limit_s if limit_s is None else limit_s
        with connected(self.url(database=database), limit_s=limit_s) as connection:
            yield connection

    def run_script(self, script: str, *, database: str = "postgres") -> None:
        with self.superuser(database) as connection:
            connection.execute(script.encode())

    def ensure_role(self, role: str) -> None:
        with self.superuser() as connection:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchall():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))

    def ensure_database(self, database: str, *, owner: str) -> None:
        """A database that only its owner may change; others are granted what its migrations grant them."""
        with self.superuser() as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchall():
                return
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
            )

    def drop_database(self, database: str) -> None:
        with self.superuser() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    # Below: how.

    def _known_identity(self) -> Identity:
        if self._identity is None:
            raise PostgresMustStartError(f"the cluster in {self.folder} must be prepared first")
        return self._identity

    def _owner(self) -> tuple[int, int] | None:
        try:
            found = self.data_folder.stat()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise PostgresMustStartError(f"{self.folder} must be accessible: it belongs to another user") from error
        return (found.st_uid, found.st_gid)

    def _make(self) -> None:
        """Make it next to the final place and rename: an interrupted attempt is not mistaken for a cluster."""
        attempt = self.folder / "pgdata.new"
        self._run_as_owner(["/bin/rm", "-rf", str(attempt)])
        self._fill(attempt)
        attempt.rename(self.data_folder)

    def _fill(self, folder: Path) -> None:
        """From nothing; a standby does it from its primary."""
        self._run_as_owner(
            [
                str(postgres_bin_folder() / "initdb"),
                f"--pgdata={folder}",
                f"--username={SUPERUSER}",
                "--auth-local=trust",
                "--auth-host=reject",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--data-checksums",
                "--no-instructions",
                *([] if self.settings.is_durable else ["--no-sync"]),
            ]
        )

    def _run_as_owner(self, command: list[str]) -> None:
        answer = subprocess.run(  # noqa: S603 - our own words
            leashed(command, parent_signal=signal.SIGKILL, identity=self._known_identity()),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=quiet_environment(),
        )
        if answer.returncode != 0:
            raise PostgresMustStartError(f"{Path(command[0]).name} failed\n{answer.stdout}{answer.stderr}")

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.data_folder / "postmaster.pid").read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return None

    def _make_socket_folder(self) -> None:
        self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        self.socket_folder.chmod(0o700)
        give_to(self._known_identity(), self.socket_folder)

    def _short_socket_folder(self) -> Path:
        """Private, and remembered for the next start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / "socket_folder"
        if note.exists():
            remembered = Path(note.read_text())
            if remembered.is_dir() and not remembered.is_symlink() and remembered.stat().st_mode & 0o077 == 0:
                return remembered
        base = tempfile.gettempdir()
        if not socket_fits(Path(base) / "cellwallet-12345678"):
            base = "/tmp"  # noqa: S108 - mkdtemp makes it private, and nothing else is short enough
        chosen = Path(tempfile.mkdtemp(prefix="cellwallet-", dir=base))
        note.write_text(str(chosen))
        return chosen

    def _write_settings(self) -> None:
        """By rename and only when they differ: on a full disk the old ones stay, for none would mean TCP."""
        target = self.data_folder / "postgresql.conf"
        wanted = "".join(f"{name} = {text}\n" for name, text in self._configuration().items())
        if target.read_text() == wanted:
            return
        draft = self.data_folder / "postgresql.conf.new"
        draft.write_text(wanted)
        give_to(self._known_identity(), draft)
        draft.rename(target)

    def _configuration(self) -> dict[str, str]:
        durable = "on" if self.settings.is_durable else "off"
        return {
            "listen_addresses": "''",
            "port": str(SOCKET_PORT),
            "unix_socket_directories": quoted(str(self.socket_folder)),
            "unix_socket_permissions": "0700",
            "max_connections": str(self.settings.connections_max),
            "shared_buffers": f"{self.settings.shared_buffers_mb}MB",
            "dynamic_shared_memory_type": "posix",
            "io_method": "sync",
            "fsync": durable,
            "full_page_writes": durable,
            "synchronous_commit": "on",
            "wal_level": "replica",
            "max_wal_size": f"{self.settings.wal_max_gb}GB",
            "min_wal_size": f"{self.settings.wal_min_mb}MB",
            "checkpoint_timeout": "30min",
            "checkpoint_completion_target": "0.9",
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            "log_line_prefix": "'%m [%p] %u@%d '",
            "lc_messages": "'C'",
            **(PAIRED if self.settings.is_paired else {}),
        }


def quoted(text: str) -> str:
    """As a value in postgresql.conf; of a conninfo, its own backslashes stay what they are."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def url_at(socket_folder: Path, role: str, database: str) -> str:
    return (
        f"postgresql://{quote(role, safe='')}@/{quote(database, safe='')}"
        f"?host={quote(str(socket_folder), safe='')}&port={SOCKET_PORT}"
    )


def socket_fits(socket_folder: Path) -> bool:
    return len(bytes(socket_folder / SOCKET_NAME)) <= SOCKET_PATH_MAX_BYTES
