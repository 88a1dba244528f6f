"""Where measurements are made: the cell, the generator and the peers of one run, and the ways to load the cell.

Each load is made as a vendor of its own, so that afterwards the ledger can be held against what its senders saw; what
a load cost is read from /proc and from PostgreSQL's log position.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal

import psycopg

from cellwallet.local.standby import Standby
from contract.values import value
from loadtests.cell_under_test import CellUnderTest
from loadtests.checks import (
    check_access_log,
    check_answers,
    check_audit,
    check_chains,
    check_conservation,
    check_postings,
    check_standby,
)
from loadtests.figures import Check, Loop, Round, latency_ms_of
from loadtests.generator import Generator
from loadtests.load import Bulks, Load, Openings, Pace, Postings, Reads, Tally, Target
from loadtests.payloads import wallet_of
from loadtests.peers import Peers
from loadtests.router_under_test import RouterUnderTest
from loadtests.scale import Scale
from loadtests.usage import Meter, Usage, memory_peak_mb

OPENING_CONCURRENCY = 256
OPENING_TIMEOUT_S = 1_200.0
ACCESS_LOG_PATIENCE_S = 3.0
POLL_S = 0.05


Turns = Literal["brief", "long", "one", "last"]
"""How often a round measures it.

- `brief`: a loop of seconds. It takes turns with the brief ones next to it, several laps long: the speed of a shared
  machine changes from minute to minute, and what is compared has to meet the same minutes.
- `long`: minutes, and every time another result: a few laps.
- `one`: once; `last`: once, in the last round only, for what takes many minutes is many measurements in itself.
"""


@value
class Measurement:
    """One figure in the making: `run` makes one round of it."""

    id: str
    title: str
    unit: str
    loop: Loop
    run: Callable[[], Round]
    turns: Turns = "one"
    setting: Callable[[], AbstractContextManager[object]] | None = None
    """What has to stand meanwhile; set up once for all neighbours that have the same."""


class OpeningMustSucceedError(Exception):
    """The wallets of the load could not be opened."""


class Stage:
    def __init__(
        self, *, cell: CellUnderTest, generator: Generator, peers: Peers, scale: Scale, standby: Standby | None = None
    ) -> None:
        self.cell = cell
        self.standby = standby
        """Of the cell's database, if its commits wait for one."""
        self.generator = generator
        self.peers = peers
        self.scale = scale
        self.wallets: list[str] = []
        self.uniform_peak_per_s = 0.0
        """What the latest closed loop over all wallets served; 0 = there was none yet."""
        self._runs = 0

    # Getting ready.

    def open_wallets(self, owners: Sequence[str]) -> list[str]:
        """Through the API, in its opening lane, with the checks of any other request."""
        asks = Openings(
            owners=owners, token=self.cell.vendor_token("opener"), overdraft_limit=self.scale.overdraft_limit
        )
        pace = Pace(duration_s=OPENING_TIMEOUT_S, concurrency=OPENING_CONCURRENCY)
        tally = self.generator.run(Load(targets=self.cell.targets, asks=asks, pace=pace))
        if tally.accepted != len(owners):
            raise OpeningMustSucceedError(f"{tally.accepted} of {len(owners)}: {tally.statuses} {tally.samples}")
        return [wallet_of(owner) for owner in owners]

    def settle(self) -> None:
        """As a database that has been running for a while: statistics are there, and the set-up is on disk.

        So are files of the log. A checkpoint hands them on; until the first, each is made while every commit waits, and
        on a loaded disk that took a tenth of a second every few seconds.
        """
        for url in (self.cell.database_url, self.peers.database_url):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
        with psycopg.connect(self.cell.cluster.url(), autocommit=True) as connection:
            for _ in range(self.scale.log_files):
                connection.execute("SELECT pg_logical_emit_message(false, 'settle', ''), pg_switch_wal()")
        self.checkpoint()

    def checkpoint(self) -> None:
        """What was written is on disk, and the log's files can be used again."""
        with psycopg.connect(self.cell.cluster.url(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    # Loads.

    def post(
        self, wallets: Sequence[str], pace: Pace, *, skew: float = 0.0, through: RouterUnderTest | None = None
    ) -> tuple[Round, Tally]:
        """Credits and debits of these wallets, and every check of them; directly at the cell, or through a router."""
        self._runs += 1
        vendor = f"bench-{self._runs}"
        asks = Postings(
            wallets=wallets, token=self.cell.vendor_token(vendor), skew=skew, seed=self._runs, run=self._runs
        )
        tally, usage, wal_bytes = self._load(asks, pace, through=through)
        checks = (
            check_answers(tally),
            *check_postings(self.cell.database_url, vendor=vendor, tally=tally),
            check_conservation(self.cell.database_url),
            check_chains(self.cell.database_url),
            *(() if self.standby is None else check_standby(self.standby, vendor=vendor, tally=tally)),
            self._check_access_log(tally),
        )
        return self._round(tally, usage, checks, wal_bytes=wal_bytes), tally

    def bulk(self, wallets: Sequence[str], pace: Pace, *, operations: int) -> Round:
        """Requests of so many operations each; counted and checked by operation, timed by request."""
        self._runs += 1
        vendor = f"bench-{self._runs}"
        asks = Bulks(wallets=wallets, token=self.cell.vendor_token(vendor), operations=operations, run=self._runs)
        requests, usage, wal_bytes = self._load(asks, pace)
        tally = replace(
            requests,
            accepted=requests.accepted * operations,
            unanswered=requests.unanswered * operations,
            unexpected=requests.unexpected * operations,
        )
        checks = (
            check_answers(requests),
            *check_postings(self.cell.database_url, vendor=vendor, tally=tally),
            check_conservation(self.cell.database_url),
            check_chains(self.cell.database_url),
        )
        one = self._round(requests, usage, checks, wal_bytes=wal_bytes // operations)
        return replace(one, value=one.value * operations, counts={**one.counts, "operations": operations})

    def overload(self, wallets: Sequence[str], pace: Pace, target: Target) -> tuple[Round, Tally]:
        """More than the target takes: 429 is an answer like any other, and everything else must be right."""
        self._runs += 1
        vendor = f"bench-{self._runs}"
        token = self.cell.vendor_token(vendor)
        asks = Postings(wallets=wallets, token=token, seed=self._runs, run=self._runs, duplicates=0)
        tally, usage, _ = self._load(asks, pace, targets=(target,))
        turned_away = tally.statuses[429]
        known = replace(tally, unexpected=tally.unexpected - turned_away)
        checks = (
            check_answers(known),
            *check_postings(self.cell.database_url, vendor=vendor, tally=known),
            check_conservation(self.cell.database_url),
            check_chains(self.cell.database_url),
        )
        one = self._round(known, usage, checks)
        latency_ms = {**one.latency_ms, "turned_away_p99": tally.turned_away.quantile_us(0.99) / 1_000}
        return replace(one, latency_ms=latency_ms, counts={**one.counts, "turned_away": turned_away}), tally

    def post_unmeasured(self, wallets: Sequence[str], pace: Pace) -> None:
        """To make a history; the audit at the end covers it."""
        self._runs += 1
        token = self.cell.vendor_token(f"bench-{self._runs}")
        asks = Postings(wallets=wallets, token=token, run=self._runs, duplicates=0)
        self.generator.run(Load(targets=self.cell.targets, asks=asks, pace=pace))

    def read(self, paths: Sequence[str], wallets: Sequence[str], pace: Pace, checks: tuple[Check, ...] = ()) -> Round:
        """These paths round and round; whether the answers were true is for the caller to check."""
        asks = Reads(paths=paths, wallets=wallets, token=self.cell.vendor_token("reader"))
        tally, usage, _ = self._load(asks, pace)
        return self._round(tally, usage, (check_answers(tally), self._check_access_log(tally), *checks))

    def closed(self, *, concurrency: int, seconds: float | None = None) -> Pace:
        scale = self.scale
        measured_s = scale.peak_s if seconds is None else seconds
        return Pace(duration_s=scale.warm_up_s + measured_s, warm_up_s=scale.warm_up_s, concurrency=concurrency)

    def audit(self, *, is_full: bool) -> tuple[Check, ...]:
        """Over everything that was written so far."""
        return (
            check_audit(self.cell.audit(is_full=is_full), is_full=is_full),
            check_conservation(self.cell.database_url),
        )

    def log_position(self) -> int:
        """Bytes of write-ahead log that PostgreSQL has written so far."""
        with psycopg.connect(self.cell.database_url) as connection:
            row = connection.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
        return int(row[0]) if row else 0

    # Below: how.

    def _load(
        self,
        asks: Postings | Reads | Bulks,
        pace: Pace,
        *,
        targets: tuple[Target, ...] = (),
        through: RouterUnderTest | None = None,
    ) -> tuple[Tally, Usage, int]:
        self.cell.forget_logs()
        before = self.log_position()
        meter = Meter(
            api_pids=[api.pid for api in self.cell.apis],
            cluster_folder=self.cell.cluster.data_folder,
            standby_folder=self.standby.data_folder if self.standby else None,
            router_pids=through.pids if through else (),
        )
        door = (through.target,) if through else targets or self.cell.targets
        tally = self.generator.run(Load(targets=door, asks=asks, pace=pace))
        usage = meter.read()
        return tally, usage, self.log_position() - before

    def _round(self, tally: Tally, usage: Usage, checks: tuple[Check, ...], *, wal_bytes: int = 0) -> Round:
        answered = max(tally.answered, 1)
        recorded = {"wal_bytes": wal_bytes / max(tally.acknowledged, 1)} if wal_bytes else {}
        passed_on = {"router_cpu_us": usage.router_cpu_s / answered * 1e6} if usage.router_cpu_s else {}
        return Round(
            value=tally.rate_per_s,
            checks=checks,
            latency_ms=latency_ms_of(tally.latencies),
            counts={
                "measured": tally.measured,
                "accepted": tally.accepted,
                "refused": tally.refused,
                "replayed": tally.replayed,
                "late": tally.late,
                "dropped": tally.dropped,
                "unanswered": tally.unanswered,
                "unexpected": tally.unexpected,
            },
            costs={
                **recorded,
                **passed_on,
                "api_cpu_us": usage.api_cpu_s / answered * 1e6,
                "postgresql_cpu_us": usage.postgres_cpu_s / answered * 1e6,
                "generator_cpu_us": tally.cpu_s / answered * 1e6,
                "api_memory_mb": usage.api_memory_mb,
                "api_memory_peak_mb": max(memory_peak_mb(api.pid) for api in self.cell.apis),
                "generator_cores": tally.cpu_s / usage.elapsed_s,
                "sent_late_max_ms": tally.lag_max_s * 1_000,
            },
            others_cores=usage.others_cores(ours_s=tally.cpu_s),
        )

    def _check_access_log(self, tally: Tally) -> Check:
        """Lines are written off the path, ten times a second."""
        deadline = time.monotonic() + ACCESS_LOG_PATIENCE_S
        while (lines := self.cell.access_lines()) < tally.answered and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return check_access_log(lines=lines, answered=tally.answered)
