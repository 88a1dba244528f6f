"""A second embedded PostgreSQL that has every acknowledged commit of the first: copied from it once, then streaming.

Owns the copy, the slot that keeps what the standby has not yet got, and the demand that commits wait for it. The demand
lies in the primary's own data, so it outlives restarts: while it stands and the standby is gone, commits wait and are
not acknowledged. What the cluster is, is told by its data alone (`standby.signal`): written with the copy and never
again, so that one that was promoted stays a primary. Whether and when to promote is decided elsewhere.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cellwallet.local.binaries import postgres_bin_folder
from cellwallet.local.identity import give_to
from cellwallet.local.postgres import (
    POLL_S,
    SOCKET_PORT,
    SUPERUSER,
    Cluster,
    ClusterSettings,
    PostgresMustStartError,
    quoted,
)
from contract.values import value

SYNCHRONOUS_TIMEOUT_S = 120.0
"""A standby that was away first gets all that was written meanwhile."""
RETRY_MS = 200
"""Between tries to reach a primary that is away; PostgreSQL's own 5 s are as much of a restart."""

SIGNAL = "standby.signal"
"""By this file in its data folder PostgreSQL knows that it is a standby."""

ENSURE_SLOT: LiteralString = """
SELECT pg_create_physical_replication_slot(%(slot)s, true)
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s)
"""

DROP_SLOT: LiteralString = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"

REPLICATION: LiteralString = """
SELECT state, sync_state, (pg_current_wal_lsn() - flush_lsn)::bigint,
       coalesce(extract(epoch FROM flush_lag), 0)::float8, (flush_lsn - '0/0')::bigint
FROM pg_stat_replication WHERE application_name = %s ORDER BY state = 'streaming' DESC LIMIT 1
"""


END_OTHERS: LiteralString = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> %s
"""


class StandbyMustFollowError(Exception):
    """The standby did not catch up in time; the message ends with what it logged."""


@value
class Replication:
    """What the primary sees of a standby."""

    is_streaming: bool = False
    is_synchronous: bool = False
    """Commits wait for this standby, and for no other."""
    lag_bytes: int = 0
    """Written by the primary, not yet on the standby's disk."""
    lag_s: float = 0.0
    """How long the newest commits took to be on the standby's disk."""
    has_up_to: int = 0
    """The position in the log up to which all is on the standby's disk."""


class Standby(Cluster):
    """A copy of `primary` in a folder of its own. `name` is what the primary knows it by.

    `prepare` needs the primary to run as long as there is no copy yet; afterwards either may run without the other.
    """

    def __init__(
        self,
        primary: Cluster,
        folder: Path,
        *,
        name: str = "standby",
        log: Path | None = None,
        settings: ClusterSettings | None = None,
        limit_s: float | None = None,
    ) -> None:
        super().__init__(folder, log=log, settings=settings or primary.settings, limit_s=limit_s)
        self.primary = primary
        self.name = name

    # What commits wait for.

    def demand(self, *, timeout_s: float | None = None) -> None:
        """From now on, and after restarts too, the primary acknowledges a commit only once it is on our disk as well.

        Raises:
            StandbyMustFollowError: we do not follow in time, and may lack something that was acknowledged. Nothing
                changes if we never streamed.

        """
        self._wait_until(lambda seen: seen.is_streaming, "streaming", timeout_s=timeout_s)
        wanted = f'FIRST 1 ("{self.name}")'
        with self.primary.superuser() as connection:
            ((present,),) = connection.execute("SHOW synchronous_standby_names").fetchall()
            if present != wanted:
                change = sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(wanted))
                connection.execute(change)
                connection.execute("SELECT pg_reload_conf()")
        self.wait_until_synchronous(timeout_s=timeout_s)
        with self.primary.superuser() as connection:
            # Commits begin to wait when the checkpointer has read the setting, which it does before it checkpoints.
            connection.execute("CHECKPOINT")
            ((written,),) = connection.execute("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint").fetchall()
        # What was acknowledged until then waited for nobody; a standby that streams may still be behind it.
        self._wait_until(lambda seen: seen.has_up_to >= written, "up to date", timeout_s=timeout_s)

    def reserve_log(self) -> None:
        """From now on the primary keeps what we have not got, whether we are there or not."""
        # Who makes the copy and who watches over the pair may both be at it.
        with self.primary.superuser() as connection, contextlib.suppress(psycopg.errors.DuplicateObject):
            connection.execute(ENSURE_SLOT, {"slot": self.slot})

    def forgo(self) -> None:
        """The primary acknowledges by itself again, waiting commits included, and keeps nothing back for us.

        We may lack what it acknowledges from now on, so we may not be promoted any more. Stop us first: the slot of
        a connected standby is in use.
        """
        with self.primary.superuser() as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(DROP_SLOT, [self.slot])

    def promote(self, record: Callable[[Cluster], object]) -> None:
        """From now on this is the primary. `record` vouches for its new timeline before any service can connect."""
        rules = self.data_folder / "pg_hba.conf"
        usual = rules.read_text()
        try:
            rules.write_text(f"local all {SUPERUSER} trust\nlocal all all reject\n")
            self._apply_rules()
            with self.superuser() as connection:
                connection.execute(END_OTHERS, [SUPERUSER])
                connection.execute("SELECT pg_promote()")
            record(self)
        finally:
            rules.write_text(usual)
            self._apply_rules()

    def _apply_rules(self) -> None:
        """A new connection of ours is served by rules that were read before or after: wait until they are read."""
        with self.superuser() as connection:
            ((before,),) = connection.execute("SELECT pg_conf_load_time()").fetchall()
            connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + SYNCHRONOUS_TIMEOUT_S
        while True:
            with self.superuser() as connection:
                ((now,),) = connection.execute("SELECT pg_conf_load_time()").fetchall()
            if now > before:
                return
            if time.monotonic() > deadline:
                raise StandbyMustFollowError(f"{self.name} did not read its rules again\n{self.log_tail()}")
            time.sleep(POLL_S)

    # How it does.

    @property
    def slot(self) -> str:
        """Slots have no dashes."""
        return self.name.replace("-", "_")

    @property
    def has_copy(self) -> bool:
        """Whether it can run without the primary."""
        return self.data_folder.exists()

    @property
    def is_following(self) -> bool:
        """Whether its data is a standby's; false before the copy and after a promotion."""
        return (self.data_folder / SIGNAL).exists()

    def replication(self) -> Replication:
        """Raises psycopg.OperationalError: the primary cannot be reached, so nobody knows."""
        with self.primary.superuser() as connection:
            row = connection.execute(REPLICATION, [self.name]).fetchone()
        if row is None:
            return Replication()
        state, sync_state, lag_bytes, lag_s, has_up_to = row
        return Replication(
            is_streaming=state == "streaming",
            is_synchronous=state == "streaming" and sync_state == "sync",
            lag_bytes=lag_bytes or 0,
            lag_s=lag_s,
            has_up_to=has_up_to or 0,
        )

    def wait_until_synchronous(self, *, timeout_s: float | None = None) -> None:
        """Raises `StandbyMustFollowError`."""
        self._wait_until(lambda seen: seen.is_synchronous, "synchronous", timeout_s=timeout_s)

    # Below: how.

    def _fill(self, folder: Path) -> None:
        """A copy of the running primary, with everything that it writes until the copy is whole."""
        try:
            self.reserve_log()
        except psycopg.Error as error:
            raise PostgresMustStartError(f"{self.name} cannot be copied from its primary: {error}") from error
        self._run_as_owner(
            [
                str(postgres_bin_folder() / "pg_basebackup"),
                f"--pgdata={folder}",
                f"--host={self.primary.socket_folder}",
                f"--port={SOCKET_PORT}",
                f"--username={SUPERUSER}",
                f"--slot={self.slot}",
                "--wal-method=stream",
                "--checkpoint=fast",
                *([] if self.settings.is_durable else ["--no-sync"]),
            ]
        )
        sign_as_standby(folder)
        give_to(self._known_identity(), folder / SIGNAL)

    def _configuration(self) -> dict[str, str]:
        conninfo = make_conninfo(
            host=str(self.primary.socket_folder), port=SOCKET_PORT, user=SUPERUSER, application_name=self.name
        )
        return super()._configuration() | {
            "hot_standby": "on",
            "primary_conninfo": quoted(conninfo),
            "primary_slot_name": quoted(self.slot),
            "wal_retrieve_retry_interval": f"{RETRY_MS}ms",
        }

    def _wait_until(self, is_so: Callable[[Replication], bool], what: str, *, timeout_s: float | None = None) -> None:
        patience_s = SYNCHRONOUS_TIMEOUT_S if timeout_s is None else timeout_s
        deadline = time.monotonic() + patience_s
        while not is_so(self._seen()):
            if time.monotonic() > deadline:
                raise StandbyMustFollowError(f"{self.name} was not {what} in {patience_s:.0f} s\n{self.log_tail()}")
            time.sleep(POLL_S)

    def _seen(self) -> Replication:
        """While the primary is away nobody follows it."""
        try:
            return self.replication()
        except psycopg.OperationalError:
            return Replication()


def sign_as_standby(data_folder: Path) -> None:
    """Whoever starts it from now on starts a standby, even one that was a primary."""
    # Not a primary's demand: if it is ever promoted, it is not itself that commits should wait for.
    (data_folder / "postgresql.auto.conf").write_text("")
    (data_folder / SIGNAL).touch(mode=0o600)


@contextmanager
def standing_by(primary: Cluster, folder: Path, *, name: str = "standby") -> Iterator[Standby]:
    """A standby of a running primary whose commits wait for it; stopped at the end, when nobody commits any more."""
    standby = Standby(primary, folder, name=name)
    standby.start()
    try:
        standby.demand()
        yield standby
    finally:
        standby.stop()
