"""P3: operations by the hundred in one request. Closed loop: how many a cell does at most.

TigerBeetle, whose requests carry thousands, is measured where it is installed.
"""

from pathlib import Path

from loadtests.figures import Round
from loadtests.stage import Measurement, Stage
from loadtests.tigerbeetle import run_benchmark, tigerbeetle_program

OPERATIONS = 100
CONCURRENCY = 8
"""Requests under way; with their operations they fill the lanes' queues and do not overflow them."""

TRANSFERS_PER_S = 500_000
"""What TigerBeetle did on two cores, so that its benchmark takes as long as the others."""


def measure_bulk(stage: Stage) -> list[Measurement]:
    def run() -> Round:
        return stage.bulk(stage.wallets, stage.closed(concurrency=CONCURRENCY), operations=OPERATIONS)

    title = f"bulk requests of {OPERATIONS} operations, peak"
    bulk = Measurement(id="bulk.peak", title=title, unit="operations/s", loop="closed", run=run)
    program = tigerbeetle_program()
    return [bulk] if program is None else [bulk, _tigerbeetle(stage, program)]


def why_absent() -> list[str]:
    """What is not measured for want of a program, in words."""
    if tigerbeetle_program() is not None:
        return []
    return ["no tigerbeetle is on the PATH: its own benchmark was not run, and P3 is judged without it"]


def _tigerbeetle(stage: Stage, program: Path) -> Measurement:
    def run() -> Round:
        ran = run_benchmark(program, transfers=round(TRANSFERS_PER_S * stage.scale.peak_s))
        return Round(value=ran.per_s, checks=ran.checks, latency_ms=ran.batch_ms)

    title = "TigerBeetle's own benchmark, one replica"
    return Measurement(id="tigerbeetle.peak", title=title, unit="transfers/s", loop="closed", run=run)
