"""The hands and eyes of a pair: what its phases do to two real PostgreSQL clusters, and how those are looked at.

Each act is safe to repeat, and either done or raising. Blocking: callers have threads for it. Decides nothing; that is
failover.py.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, LiteralString

import psycopg

from cellwallet.local.address import Address
from cellwallet.local.binaries import postgres_bin_folder
from cellwallet.local.databases import CELL_DATABASE, record_promotion
from cellwallet.local.failover import PLACES, Act, Pair, Place, Role
from cellwallet.local.pair_file import keep
from cellwallet.local.postgres import Cluster, DataMustFitError
from cellwallet.local.processes import processes_in
from cellwallet.local.programs import quiet_environment
from cellwallet.local.standby import SIGNAL, Replication, Standby, sign_as_standby
from contract.values import value

ASIDE: Final = "pgdata.fenced"
"""Where an old primary's data lie until there are two good copies again; no PostgreSQL is ever started there."""
CONNECT_TIMEOUT_S: Final = 2
STATEMENT_TIMEOUT_MS: Final = 2_000
ACT_LIMIT_S: Final = 20.0
"""Of what an act asks of a database, which may hang: it is done again, and meanwhile nobody looks whether the primary
lives. Enough for a checkpoint; one that is slower goes on without us."""
DEMAND_TIMEOUT_S: Final = 5.0
PROMOTION_TIMEOUT_S: Final = 60
PROMOTION_LIMIT_S: Final = PROMOTION_TIMEOUT_S + 5.0

_PRIMARY: LiteralString = """
SELECT current_setting('synchronous_standby_names') <> '',
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s),
       r.state, r.sync_state, (pg_current_wal_lsn() - r.flush_lsn)::bigint, extract(epoch FROM r.flush_lag)::float8
FROM (SELECT) AS this LEFT JOIN pg_stat_replication r ON r.application_name = %(name)s
ORDER BY r.state = 'streaming' DESC NULLS LAST LIMIT 1
"""

_STANDBY: LiteralString = """
SELECT (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')::bigint WHERE pg_is_in_recovery()
"""

Answer = Literal["answers", "lives", "silent"]
"""Silent: nothing came back. Lives: it says why it does not serve yet."""


@value
class Primary:
    """What a primary tells of itself and of its standby."""

    answer: Answer
    commits_wait: bool = False
    has_slot: bool = False
    is_connected: bool = False
    """The standby is sent what it lacks, however much; not if it is only turned away again and again."""
    is_caught_up: bool = False
    """The standby has confirmed that all of it is on its disk, as one that commits wait for."""
    replication: Replication = Replication()


@value
class StandbySeen:
    answers: bool = False
    has_up_to: int | None = None
    """The position in the log that it has; None = unknown, or it is no standby any more."""


class PairActs:
    """Of one cell, whose databases are the two clusters; they are reached past the address of the services."""

    def __init__(self, cell: str, clusters: Mapping[Place, Cluster]) -> None:
        self.address = Address(clusters["first"])
        self._places = dict(clusters)
        self._primaries = {place: _hurried(cluster) for place, cluster in clusters.items()}
        self._standbys = {place: _standby_of(cell, place, self._primaries) for place in PLACES}
        self._acts: Mapping[Act, Callable[[Cluster, Standby], object]] = {
            "close_address": lambda *_: self.address.close(),
            "open_address": lambda primary, _: self.address.open(primary),
            "checkpoint": lambda primary, _: _run(primary, "CHECKPOINT"),
            "stop_primary": lambda primary, _: primary.end_leftovers(),
            "end_primary": lambda primary, _: primary.end_at_once(),
            "put_aside": lambda primary, _: _put_aside(primary),
            "mark_follower": lambda primary, _: _mark_follower(primary),
            "promote": lambda _, standby: _promote(standby),
            "vouch": lambda _, standby: _vouch(standby),
            "end_standby": lambda _, standby: standby.end_at_once(),
            "clear_standby": lambda _, standby: _remove(standby.data_folder),
            "drop_aside": _drop_aside,
            "reserve_log": lambda _, standby: standby.reserve_log(),
            "demand": lambda _, standby: standby.demand(timeout_s=DEMAND_TIMEOUT_S),
            "forgo": lambda _, standby: standby.forgo(),
        }

    def do(self, act: Act, pair: Pair) -> None:
        """Raises psycopg.Error, OSError, PostgresMustEndError, StandbyMustFollowError: it is not known to be done.

        Bounded in time, whatever hangs: TimeoutError is an OSError.
        """
        self._acts[act](self._primaries[pair.primary], self._standbys[pair.standby])

    def cluster(self, place: Place, role: Role, pair: Pair) -> Cluster:
        """What is started in a place that may be started. The last look before a second primary could come to life.

        Raises:
            DataMustFitError: its data are not what they have to be for this role.

        """
        cluster, standby = self._primaries[place], self._standbys[place]
        has_data = cluster.data_folder.exists()
        may_be_made = pair.is_new and not any(one.data_folder.exists() for one in self._primaries.values())
        if role == "primary" and (standby.is_following if has_data else not may_be_made):
            what = "a standby's" if has_data else "gone"
            raise DataMustFitError(f"the data in {cluster.data_folder} must be a primary's, and are {what}")
        if role == "follower" and has_data and not standby.is_following and pair.phase != "promoting":
            raise DataMustFitError(f"the data in {cluster.data_folder} must be a standby's, and are a primary's")
        return self._places[place] if role == "primary" else standby

    def cluster_in(self, place: Place) -> Cluster:
        """Of this place, whatever its role."""
        return self._places[place]

    # Eyes.

    def is_open(self, pair: Pair) -> bool:
        return self.address.is_open_to(self._primaries[pair.primary])

    def has_copy(self, pair: Pair) -> bool:
        return self._standbys[pair.standby].has_copy

    def primary_runs(self, pair: Pair) -> bool:
        return bool(processes_in(self._primaries[pair.primary].data_folder))

    def look_at_primary(self, pair: Pair) -> Primary:
        standby = self._standbys[pair.standby]
        try:
            row = _ask(self._primaries[pair.primary], _PRIMARY, {"slot": standby.slot, "name": standby.name})
        except psycopg.Error as error:
            return Primary(answer="lives" if "FATAL:" in str(error) else "silent")
        if row is None:
            return Primary(answer="lives")
        commits_wait, has_slot, state, sync_state, lag_bytes, lag_s = row
        is_streaming = state == "streaming"
        return Primary(
            answer="answers",
            commits_wait=commits_wait,
            has_slot=has_slot,
            is_connected=state in {"catchup", "streaming"},
            # The lag is unknown until it has confirmed something.
            is_caught_up=is_streaming and sync_state == "sync" and lag_bytes == 0,
            replication=Replication(
                is_streaming=is_streaming,
                is_synchronous=is_streaming and sync_state == "sync",
                lag_bytes=lag_bytes or 0,
                lag_s=lag_s or 0.0,
            ),
        )

    def look_at_standby(self, pair: Pair) -> StandbySeen:
        try:
            row = _ask(self._standbys[pair.standby], _STANDBY, {})
        except psycopg.Error:
            return StandbySeen()
        return StandbySeen(answers=True, has_up_to=row[0] if row else None)

    def last_word(self, pair: Pair) -> int | None:
        """Where the primary's log ends with its own end in order; None = it runs, or did not end in order."""
        told = _control_data(self._primaries[pair.primary].data_folder)
        if told.get("Database cluster state") != "shut down":
            return None
        high, _, low = told["Latest checkpoint location"].partition("/")
        return (int(high, 16) << 32) + int(low, 16)


def _hurried(cluster: Cluster) -> Cluster:
    return Cluster(cluster.folder, log=cluster.log, settings=cluster.settings, limit_s=ACT_LIMIT_S)


def _standby_of(cell: str, place: Place, clusters: Mapping[Place, Cluster]) -> Standby:
    own, other = clusters[place], clusters["second" if place == "first" else "first"]
    return Standby(other, own.folder, name=f"{cell}-{place}", log=own.log, settings=own.settings, limit_s=ACT_LIMIT_S)


def _ask(cluster: Cluster, question: LiteralString, arguments: Mapping[str, str]) -> tuple[Any, ...] | None:
    options = f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
    with psycopg.connect(
        cluster.url(), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, options=options
    ) as connection:
        return connection.execute(question, arguments).fetchone()


def _run(cluster: Cluster, statement: LiteralString) -> None:
    with cluster.superuser() as connection:
        connection.execute(statement)


def _put_aside(primary: Cluster) -> None:
    """By a rename: from now on there is nothing that anybody could start by mistake."""
    if primary.data_folder.exists():
        _remove(primary.folder / ASIDE)
        primary.data_folder.rename(primary.folder / ASIDE)
        keep(primary.folder)


def _drop_aside(*both: Cluster) -> None:
    for one in both:
        _remove(one.folder / ASIDE)


def _mark_follower(primary: Cluster) -> None:
    """It stopped in order and its standby has all of it: as a standby it goes on where it was."""
    for slot in (primary.data_folder / "pg_replslot").iterdir():
        shutil.rmtree(slot)  # it would keep its log for a standby that follows nobody
    sign_as_standby(primary.data_folder)
    found = primary.data_folder.stat()
    if (primary.data_folder / SIGNAL).stat().st_uid != found.st_uid:
        os.chown(primary.data_folder / SIGNAL, found.st_uid, found.st_gid)
    keep(primary.data_folder / "postgresql.auto.conf")
    keep(primary.data_folder)


def _promote(standby: Standby) -> None:
    with standby.superuser(limit_s=PROMOTION_LIMIT_S) as connection:
        row = connection.execute(
            "SELECT pg_promote(true, %s) WHERE pg_is_in_recovery()", [PROMOTION_TIMEOUT_S]
        ).fetchone()
    if row == (False,):
        raise psycopg.OperationalError(f"{standby.name} was not promoted in {PROMOTION_TIMEOUT_S} s")


def _vouch(primary: Cluster) -> None:
    """A cell that has no schema yet has no era either: its migration records the one that it finds."""
    with primary.superuser() as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [CELL_DATABASE]).fetchall():
            return
    with primary.superuser(CELL_DATABASE) as connection:
        row = connection.execute("SELECT to_regprocedure('record_era(text)') IS NOT NULL").fetchone()
    if row == (True,):
        record_promotion(primary)


def _remove(folder: Path) -> None:
    """Under another name first: what is being removed is never taken for something whole."""
    if folder.exists():
        leaving = folder.with_name(f"{folder.name}.removed")
        shutil.rmtree(leaving, ignore_errors=True)
        folder.rename(leaving)
        shutil.rmtree(leaving)


def _control_data(data_folder: Path) -> dict[str, str]:
    answer = subprocess.run(  # noqa: S603 - our own words
        [str(postgres_bin_folder() / "pg_controldata"), "-D", str(data_folder)],
        capture_output=True,
        text=True,
        check=False,
        env=quiet_environment(),
    )
    lines = (line.partition(":") for line in answer.stdout.splitlines())
    return {name.strip(): text.strip() for name, _, text in lines}
