"""P9: three times the capacity is offered; the cell does what it is held to and turns the rest away at once.

An API process of its own is held to a quarter of what it peaks at, because the load comes from the same machine: three
times its real peak could not be made here. What is judged is the door and not the database behind it.
"""

from dataclasses import replace

from loadtests.figures import Round
from loadtests.load import Pace
from loadtests.stage import Measurement, Stage

HELD_TO = 0.25
TIMES = 3
SETTLE_S = 2.0
"""Longer than the burst that the door gives away at first."""


class Overload:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rounds = 0

    def measurements(self) -> list[Measurement]:
        title = f"accepted of {TIMES} x capacity, as a share of the capacity"
        return [Measurement(id="overload.accepted", title=title, unit="x", loop="open", run=self._run)]

    def _run(self) -> Round:
        stage, scale = self._stage, self._stage.scale
        peak, _ = stage.post(stage.wallets, stage.closed(concurrency=scale.concurrency))
        capacity_per_s = max(1.0, round(peak.value * HELD_TO))
        self._rounds += 1
        held = stage.cell.start_api(f"api-held-{self._rounds}", capacity_per_s=capacity_per_s)
        try:
            pace = Pace(duration_s=SETTLE_S + scale.probe_s, warm_up_s=SETTLE_S, rate_per_s=capacity_per_s * TIMES)
            one, _ = stage.overload(stage.wallets, pace, held.target)
        finally:
            stage.cell.stop_api(held)
        note = f"held to {capacity_per_s:.0f}/s, a quarter of {peak.value:.0f}/s; {one.value:.0f}/s were accepted"
        return replace(one, value=one.value / capacity_per_s, checks=(*peak.checks, *one.checks), notes=(note,))
