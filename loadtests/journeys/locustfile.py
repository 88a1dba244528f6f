"""What locust runs: the vendors, the shape of their number, the verdict at the end. `__main__.py` has the options."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]  # locust's own loop, which has no stubs
from locust import LoadTestShape, events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from cellwallet.local.stack import read_stack
from loadtests.journeys.shapes import parsed
from loadtests.journeys.slo import Row, Slo, verdict
from loadtests.journeys.vendor import Vendor, cells_of

__all__ = ["Played", "Vendor"]

OPTIONS = json.loads(os.environ["JOURNEYS"])
"""What `__main__.py` passes on."""
SHAPE = parsed(json.dumps(OPTIONS["shape"]))
STACK = read_stack(Path(OPTIONS["stack"]))
LOST_CELL = STACK.cells[-1].id if any(stage.loses_a_cell for stage in SHAPE.stages) else None

Vendor.token = STACK.tokens.vendor
Vendor.host = STACK.router_url


class Played(LoadTestShape):
    """The shape, played; the cell is lost once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._has_lost = False

    def tick(self) -> tuple[int, float] | None:
        stage = SHAPE.stage_at(self.get_run_time())  # type: ignore[no-untyped-call]
        if stage is None:
            return None
        if stage.loses_a_cell and not self._has_lost:
            self._has_lost = True
            gevent.spawn(_lose_a_cell)
        return stage.users, stage.start_rate_per_s


def _lose_a_cell() -> None:
    """The database of the last cell dies; its supervisor starts it again."""
    (cell,) = (cell for cell in read_stack(Path(OPTIONS["stack"])).cells if cell.id == LOST_CELL)
    print(f"killing the database of {cell.id}")
    os.kill(cell.pids.postgres, signal.SIGKILL)


def _judge(environment: Environment, **_: Any) -> None:
    if not isinstance(environment.runner, LocalRunner | MasterRunner):
        return
    rows = [
        Row(
            name=entry.name,
            cells=cells_of(entry.name),
            requests=entry.num_requests,
            failures=entry.num_failures,
            p99_ms=entry.get_response_time_percentile(0.99) or 0.0,
        )
        for entry in environment.stats.entries.values()
    ]
    found = verdict(rows, Slo(**OPTIONS["slo"]), lost_cell=LOST_CELL, contradictions=Vendor.contradictions)
    requests = sum(row.requests for row in rows)
    report = {"shape": SHAPE.name, "requests": requests, "lost_cell": LOST_CELL, "passed": not found, "found": found}
    Path(OPTIONS["verdict"]).write_text(json.dumps(report))
    environment.process_exit_code = 1 if found else 0


events.quitting.add_listener(_judge)  # type: ignore[no-untyped-call]
