"""Cells that stand next to the cell of a run to be compared with it, and take nothing from it while they wait.

Each has a PostgreSQL of its own with the run's settings; its API processes serve only while it is measured. Knows how a
guest comes and goes, and not what is measured of it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from cellwallet.local.postgres import Cluster
from cellwallet.local.standby import Standby
from loadtests.cell_under_test import CellUnderTest, cell_under_test
from loadtests.figures import Check, Round
from loadtests.stage import Stage

CHECKPOINT_TIMEOUT_S = 300.0
POLL_S = 0.1

NEWEST_CHECKPOINT = "SELECT max(taken_at) FROM checkpoints"


class GuestMustSettleError(Exception):
    """A guest that has just been started does not come to rest."""


class Guest:
    """`name` is what its checks are told by: "the cell with a standby"."""

    def __init__(self, stage: Stage, *, name: str, api_processes: int, is_audited_in_full: bool = True) -> None:
        self.stage = stage
        self.name = name
        self._api_processes = api_processes
        self._is_audited_in_full = is_audited_in_full
        self._settled_s = 0.0

    @contextmanager
    def serving(self) -> Iterator[Stage]:
        """While it is measured. A cell signs all its wallets when it starts: that is waited for, as it is rare."""
        began_at, began_s = datetime.now(UTC), time.monotonic()
        self.stage.cell.serve(self._api_processes)
        try:
            self._wait_for_checkpoint(since=began_at)
            self._settled_s = time.monotonic() - began_s
            yield self.stage
        finally:
            self.stage.cell.stop()

    def measured(self, measure: Callable[[Stage], Round]) -> Callable[[], Round]:
        """For a measurement that has the guest to itself: it serves for that long."""

        def run() -> Round:
            with self.serving():
                return self.measured_now(measure)

        return run

    def measured_now(self, measure: Callable[[Stage], Round]) -> Round:
        """While it is serving."""
        one = measure(self.stage)
        note = f"before: {self._settled_s:.1f} s for its start and a checkpoint of {len(self.stage.wallets):,} wallets"
        return replace(one, notes=(*one.notes, note))

    def audit(self) -> tuple[Check, ...]:
        with self.serving() as stage:
            checks = stage.audit(is_full=self._is_audited_in_full)
        return tuple(replace(one, name=f"{one.name} of {self.name}") for one in checks)

    def _wait_for_checkpoint(self, *, since: datetime) -> None:
        deadline = time.monotonic() + CHECKPOINT_TIMEOUT_S
        with psycopg.connect(self.stage.cell.database_url, autocommit=True) as connection:
            while True:
                row = connection.execute(NEWEST_CHECKPOINT).fetchone()
                if row is not None and row[0] is not None and row[0] >= since:
                    return
                if time.monotonic() > deadline:
                    raise GuestMustSettleError(f"{self.name} took no checkpoint in {CHECKPOINT_TIMEOUT_S:.0f} s")
                time.sleep(POLL_S)


def new_guest(
    host: Stage, cluster: Cluster, folder: Path, *, name: str, lanes: int, standby: Standby | None = None
) -> Guest:
    """Of a running cluster: a fresh cell with as many wallets as the host's, at rest."""
    api_processes = len(host.cell.apis)
    with cell_under_test(cluster, folder, processes=api_processes, lanes=lanes) as cell:
        stage = _stage_of(host, cell, standby=standby)
        stage.wallets = stage.open_wallets([f"owner {number}" for number in range(host.scale.wallets)])
        stage.settle()
    return Guest(stage, name=name, api_processes=api_processes)


def grown_guest(host: Stage, cell: CellUnderTest, wallets: list[str], *, name: str, is_audited_in_full: bool) -> Guest:
    """Of a cell at rest that has its wallets and entries already."""
    stage = _stage_of(host, cell, standby=None)
    stage.wallets = wallets
    return Guest(stage, name=name, api_processes=len(host.cell.apis), is_audited_in_full=is_audited_in_full)


def _stage_of(host: Stage, cell: CellUnderTest, *, standby: Standby | None) -> Stage:
    return Stage(cell=cell, generator=host.generator, peers=host.peers, scale=host.scale, standby=standby)
