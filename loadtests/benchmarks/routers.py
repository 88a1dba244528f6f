"""P4: the same postings directly and through a router, in turn: what is passed on, and what it adds.

HAProxy is measured where it is installed; the embedded router always is.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cellwallet.local.haproxy import HaproxyMustBeInstalledError, haproxy_program
from loadtests.figures import Loop, Round
from loadtests.load import Pace
from loadtests.router_under_test import router_under_test
from loadtests.stage import Measurement, Stage

HALF = 0.5
LEAST_MS = 0.001
"""A router that saved time would be noise."""


class Routers:
    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self._through_per_s = 0.0

    def measurements(self) -> list[Measurement]:
        told: tuple[tuple[str, str, str, Loop, Callable[[], Round]], ...] = (
            ("direct.peak", "postings, directly at the cell, peak", "commands/s", "closed", self._direct),
            ("embedded.peak", "postings through the embedded router, peak", "commands/s", "closed", self._embedded),
            ("embedded.added", "p50 that the embedded router adds at half load", "ms", "open", self._added),
        )
        found = [
            Measurement(id=f"router.{one}", title=title, unit=unit, loop=loop, run=run)
            for one, title, unit, loop, run in told
        ]
        program = _haproxy()
        if program is not None:
            title = "postings through HAProxy, peak"
            run = self._haproxy(program)
            found.append(Measurement(id="router.haproxy.peak", title=title, unit="commands/s", loop="closed", run=run))
        return found

    def _direct(self) -> Round:
        one, _ = self._stage.post(self._stage.wallets, self._peak())
        return one

    def _embedded(self) -> Round:
        with router_under_test(self._stage.cell, self._folder / "embedded") as router:
            one, _ = self._stage.post(self._stage.wallets, self._peak(), targets=(router.target,))
        self._through_per_s = one.value
        return one

    def _haproxy(self, program: Path) -> Callable[[], Round]:
        def run() -> Round:
            with router_under_test(self._stage.cell, self._folder / "haproxy", haproxy=program) as router:
                one, _ = self._stage.post(self._stage.wallets, self._peak(), targets=(router.target,))
            return one

        return run

    def _added(self) -> Round:
        """At half of what just went through the router: the same rate both ways."""
        stage, scale = self._stage, self._stage.scale
        pace = Pace(
            duration_s=scale.warm_up_s + scale.probe_s,
            warm_up_s=scale.warm_up_s,
            rate_per_s=max(1.0, self._through_per_s * HALF),
        )
        with router_under_test(stage.cell, self._folder / "embedded") as router:
            direct, _ = stage.post(stage.wallets, pace)
            through, _ = stage.post(stage.wallets, pace, targets=(router.target,))
        direct_ms, through_ms = (one.latency_ms.get("p50", 0.0) for one in (direct, through))
        added_ms = max(through_ms - direct_ms, LEAST_MS)
        note = f"p50 {direct_ms:.2f} ms directly, {through_ms:.2f} ms through"
        return replace(through, value=added_ms, checks=(*direct.checks, *through.checks), notes=(note,))

    def _peak(self) -> Pace:
        return self._stage.closed(concurrency=self._stage.scale.concurrency)


def _haproxy() -> Path | None:
    try:
        return haproxy_program()
    except HaproxyMustBeInstalledError:
        return None
