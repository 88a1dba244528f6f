"""P4: the same postings directly and through a router, in turn: what is passed on, and what it adds.

HAProxy is measured where it is installed; the embedded router always is.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cellwallet.local.haproxy import HaproxyMustBeInstalledError, haproxy_program
from loadtests.figures import Round
from loadtests.load import Pace
from loadtests.router_under_test import router_under_test
from loadtests.stage import Measurement, Stage

HALF = 0.5
ADDED_TURNS = 4
"""Of the same rate directly and through the router, in a round."""
LEAST_MS = 0.001
"""A router that saved time would be noise."""


class Routers:
    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self._through_per_s = 0.0

    def measurements(self) -> list[Measurement]:
        peaks = [
            ("direct", "postings, directly at the cell, peak", self._direct),
            ("embedded", "postings through the embedded router, peak", self._embedded),
        ]
        program = _haproxy()
        if program is not None:
            peaks.append(("haproxy", "postings through HAProxy, peak", self._haproxy(program)))
        in_turns = [
            Measurement(id=f"router.{one}.peak", title=title, unit="commands/s", loop="closed", run=run, turns="brief")
            for one, title, run in peaks
        ]
        title = "p50 that the embedded router adds at half load"
        return [
            *in_turns,
            Measurement(id="router.embedded.added", title=title, unit="ms", loop="open", run=self._added),
        ]

    def _direct(self) -> Round:
        one, _ = self._stage.post(self._stage.wallets, self._peak())
        return one

    def _embedded(self) -> Round:
        with router_under_test(self._stage.cell, self._folder / "embedded") as router:
            one, _ = self._stage.post(self._stage.wallets, self._peak(), through=router)
        self._through_per_s = one.value
        return one

    def _haproxy(self, program: Path) -> Callable[[], Round]:
        def run() -> Round:
            with router_under_test(self._stage.cell, self._folder / "haproxy", haproxy=program) as router:
                one, _ = self._stage.post(self._stage.wallets, self._peak(), through=router)
            return one

        return run

    def _added(self) -> Round:
        """At half of what just went through the router: the same rate both ways, in turns."""
        stage, scale = self._stage, self._stage.scale
        pace = Pace(
            duration_s=scale.warm_up_s + scale.probe_s / 2,
            warm_up_s=scale.warm_up_s,
            rate_per_s=max(1.0, self._through_per_s * HALF),
        )
        turns: list[tuple[Round, Round]] = []
        with router_under_test(stage.cell, self._folder / "embedded") as router:
            for _ in range(ADDED_TURNS):
                direct, _ = stage.post(stage.wallets, pace)
                through, _ = stage.post(stage.wallets, pace, through=router)
                turns.append((direct, through))
        p50s_ms = [tuple(one.latency_ms.get("p50", 0.0) for one in turn) for turn in turns]
        added_ms = max(statistics.median(through_ms - direct_ms for direct_ms, through_ms in p50s_ms), LEAST_MS)
        note = "p50 directly and through: " + ", ".join("{:.2f} and {:.2f} ms".format(*pair) for pair in p50s_ms)
        checks = tuple(check for turn in turns for one in turn for check in one.checks)
        return replace(through, value=added_ms, checks=checks, notes=(note,))

    def _peak(self) -> Pace:
        return self._stage.closed(concurrency=self._stage.scale.concurrency)


def _haproxy() -> Path | None:
    try:
        return haproxy_program()
    except HaproxyMustBeInstalledError:
        return None
