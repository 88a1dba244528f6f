"""P3: operations by the hundred in one request. Closed loop: how many a cell does at most."""

from loadtests.figures import Round
from loadtests.stage import Measurement, Stage

OPERATIONS = 100
CONCURRENCY = 8
"""Requests under way; with their operations they fill the lanes' queues and do not overflow them."""


def measure_bulk(stage: Stage) -> list[Measurement]:
    def run() -> Round:
        return stage.bulk(stage.wallets, stage.closed(concurrency=CONCURRENCY), operations=OPERATIONS)

    title = f"bulk requests of {OPERATIONS} operations, peak"
    return [Measurement(id="bulk.peak", title=title, unit="operations/s", loop="closed", run=run)]
