"""One run of the benchmarks, from an empty folder to the document that build/bench.json holds.

Measurements alternate: each round makes one of every figure, so that what compares was measured side by side. The
folder is a throw-away; PostgreSQL in it is durable and set up as for real, alike for all.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cellwallet.local.postgres import Cluster, ClusterSettings
from contract.values import value
from loadtests.benchmarks.bulks import measure_bulk, why_absent
from loadtests.benchmarks.failovers import Failovers
from loadtests.benchmarks.growth import Growths, small_and_grown
from loadtests.benchmarks.memory import Memory
from loadtests.benchmarks.moves import Moves
from loadtests.benchmarks.overload import Overload
from loadtests.benchmarks.reads import Histories
from loadtests.benchmarks.routers import Routers
from loadtests.benchmarks.standby import with_standby
from loadtests.benchmarks.starts import Starts
from loadtests.benchmarks.writes import measure_writes
from loadtests.cell_under_test import cell_under_test
from loadtests.figures import FORM, Figure, document_of_figures, noise_of
from loadtests.generator import generator
from loadtests.grown_cells import DiskMustHaveRoomError
from loadtests.guests import Guest
from loadtests.machine import describe_machine, describe_postgres, describe_revision, describe_versions, memory_mb
from loadtests.measuring import Measuring, Watch
from loadtests.peers import Peers
from loadtests.scale import Scale
from loadtests.stage import Measurement, Stage
from loadtests.targets import judge, ratios

TARGETS = ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "F")
CACHE_MB_MAX = 4_096
CACHE_SHARE = 1 / 6
"""Of the machine's memory: a cell is given a quarter of its pod's, but here up to three clusters stand side by side."""
CLUSTER = ClusterSettings(
    shared_buffers_mb=min(CACHE_MB_MAX, int(memory_mb() * CACHE_SHARE)), wal_max_gb=16, wal_min_mb=4_096
)
"""Of the cell and of the peers, which share one cluster, and of the cells that it is compared with: nobody has better
settings."""
GROWTH_CLUSTER = replace(CLUSTER, wal_max_gb=12)
"""Of the large and of the small cell alike: their disks have to hold both logs beside everything else."""


@value
class Plan:
    targets: tuple[str, ...]
    scale: Scale
    is_quick: bool
    api_processes: int
    lanes: int
    senders: int
    patience_s: float = 0.0
    """How long each measurement waits for a calm machine."""


@value
class Programme:
    """What a run measures, when everything is there that it needs."""

    measurements: list[Measurement]
    guests: list[Guest]
    absent: list[str]
    """What is not measured, and why."""
    moves: Moves | None = None


def run(plan: Plan, watch: Watch) -> dict[str, Any]:
    """The document; what failed is in it."""
    began_at = datetime.now(UTC)
    machine = describe_machine()
    with _stage(plan, watch) as (stage, folder), ExitStack() as ending:
        described = _describe(stage, plan)
        programme = _prepare(stage, plan, folder, described["settings"], watch, ending)
        measurements = programme.measurements
        measuring = Measuring(stage, measurements, patience_s=plan.patience_s, watch=watch)
        measuring.make_rounds()
        measuring.audit(programme.guests)
    audits = measuring.audits
    figures = {
        one.id: Figure(id=one.id, title=one.title, unit=one.unit, loop=one.loop, rounds=tuple(measuring.rounds[one.id]))
        for one in measurements
        if measuring.rounds[one.id]
    }
    is_sound = all(check.has_passed for check in audits)
    return {
        "form": FORM,
        "began_at": began_at.isoformat(timespec="seconds"),
        "duration_s": round((datetime.now(UTC) - began_at).total_seconds()),
        "quick": plan.is_quick,
        "only": list(plan.targets),
        "machine": machine,
        **described,
        "noise": noise_of(figures.values()),
        "figures": document_of_figures(figures.values()),
        "ratios": ratios(figures),
        "targets": judge(figures, is_sound=is_sound),
        "cutovers": programme.moves.cutovers if programme.moves else {},
        "absent": [*programme.absent, *measuring.broken],
        "checks": [{"name": one.name, "passed": one.has_passed, "detail": one.detail} for one in audits],
        "passed": is_sound and not measuring.broken and all(figure.is_valid for figure in figures.values()),
    }


@contextmanager
def _stage(plan: Plan, watch: Watch) -> Iterator[tuple[Stage, Path]]:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="cellwallet-bench-")))
        folder.chmod(0o711)  # PostgreSQL may run as somebody else, who has to pass
        watch.begin("starting PostgreSQL")
        cluster = Cluster(folder / "postgres", settings=CLUSTER)
        ending.callback(cluster.stop)
        cluster.start()
        watch.begin("starting the cell")
        cell = ending.enter_context(
            cell_under_test(cluster, folder / "cell", processes=plan.api_processes, lanes=plan.lanes)
        )
        senders = ending.enter_context(generator(plan.senders))
        peers = Peers(cluster, accounts=plan.scale.wallets)
        yield Stage(cell=cell, generator=senders, peers=peers, scale=plan.scale), folder


def _prepare(
    stage: Stage, plan: Plan, folder: Path, facts: dict[str, Any], watch: Watch, ending: ExitStack
) -> Programme:
    """The programme of the plan; adds to the facts what preparing it showed."""
    watch.begin(f"opening {plan.scale.wallets} wallets")
    began_s = time.monotonic()
    stage.wallets = stage.open_wallets([f"owner {number}" for number in range(plan.scale.wallets)])
    facts["openings_per_s"] = round(plan.scale.wallets / (time.monotonic() - began_s))
    watch.begin("making the peers' tables")
    stage.peers.make()
    found: list[Measurement] = []
    guests: list[Guest] = []
    absent: list[str] = []
    found += measure_writes(stage, with_uniform="P1" in plan.targets, with_hot="P2" in plan.targets)
    if "P3" in plan.targets:
        found += measure_bulk(stage)
        absent += why_absent()
    if "P4" in plan.targets:
        found += Routers(stage, folder / "routers").measurements()
    if "P6" in plan.targets:
        try:
            growths = _grown(stage, plan, folder, watch, ending)
        except DiskMustHaveRoomError as error:
            if plan.targets == ("P6",):
                raise
            watch.begin(f"P6 is not measured: {error}")
            absent.append(f"P6 was not measured: {error}")
        else:
            facts |= growths.facts
            guests += growths.guests
            found += growths.measurements()
    if "P7" in plan.targets:
        watch.begin("making a cell with a synchronous standby")
        pair = ending.enter_context(with_standby(stage, folder / "with-standby", settings=CLUSTER, lanes=plan.lanes))
        guests.append(pair.guest)
        found += pair.measurements()
    moves = Moves(stage, folder / "moving", told=watch.begin) if "P8" in plan.targets else None
    found += moves.measurements() if moves else []
    if "P9" in plan.targets:
        found += Overload(stage).measurements()
    if "P10" in plan.targets:
        found += Memory(stage, folder / "watched").measurements()
    if "P5" in plan.targets:
        found += _histories(stage, facts, watch).measurements()
    found += _of_platforms(stage, plan, folder, watch)
    watch.begin("settling")
    stage.settle()
    once = list({one.id: one for one in found}.values())
    return Programme(measurements=once, guests=guests, absent=absent, moves=moves)


def _of_platforms(stage: Stage, plan: Plan, folder: Path, watch: Watch) -> list[Measurement]:
    """What takes whole platforms as people run them, one after the other."""
    starts = Starts(stage, folder / "platform").measurements() if "P11" in plan.targets else []
    failovers = Failovers(stage, folder / "pair", told=watch.begin).measurements() if "F" in plan.targets else []
    return starts + failovers


def _histories(stage: Stage, facts: dict[str, Any], watch: Watch) -> Histories:
    watch.begin(f"posting a history of {stage.scale.history} entries")
    histories = Histories(stage)
    histories.make()
    facts |= histories.describe()
    return histories


def _grown(stage: Stage, plan: Plan, folder: Path, watch: Watch, ending: ExitStack) -> Growths:
    """Growing it is the longest that anybody waits for here, so it has a bar of its own."""
    scale = plan.scale
    entries = scale.grown_wallets * scale.grown_entries_each
    watch.begin(f"making a cell with {scale.grown_wallets:,} wallets and {entries:,} entries, or copying it")
    watch.expect(scale.grown_entries_each)
    return ending.enter_context(
        small_and_grown(stage, folder / "growth", settings=GROWTH_CLUSTER, lanes=plan.lanes, told=watch.went_on)
    )


def _describe(stage: Stage, plan: Plan) -> dict[str, Any]:
    url = stage.cell.database_url
    return {
        "versions": describe_versions(url),
        "revision": describe_revision(),
        "settings": {
            **asdict(plan.scale),
            "api_processes": plan.api_processes,
            "lanes_per_process": plan.lanes,
            "senders": plan.senders,
            "duplicates": 0.01,
            "patience_s": plan.patience_s,
            "postgresql": describe_postgres(url),
        },
    }
