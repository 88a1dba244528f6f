"""P10: what an API process and a router with a full map take, and whether it stays so under load.

One load per round is watched and gives all four figures. It is an open loop at half of a peak: memory that grows with
a queue would say nothing of memory that leaks.
"""

from collections.abc import Callable
from pathlib import Path

from loadtests.figures import Round
from loadtests.load import Pace
from loadtests.router_under_test import router_under_test
from loadtests.stage import Measurement, Stage
from loadtests.usage import memory_mb

HALF = 0.5
SETTLED_SHARE = 0.1
"""Of the time, after which pools and caches have filled: what grows later grows for ever."""


class Memory:
    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self._seen: dict[str, Round] = {}

    def measurements(self) -> list[Measurement]:
        told = (
            ("memory.api", "API process at the end of a load", "MB"),
            ("memory.router", "router with a full map at the end of a load", "MB"),
            ("memory.api.growth", "API process, end over begin", "x"),
            ("memory.router.growth", "router, end over begin", "x"),
        )
        return [
            Measurement(id=one, title=title, unit=unit, loop="open", run=self._figure(one), turns="last")
            for one, title, unit in told
        ]

    def _figure(self, name: str) -> Callable[[], Round]:
        def run() -> Round:
            if name not in self._seen:
                self._seen = self._watched()
            return self._seen.pop(name)

        return run

    def _watched(self) -> dict[str, Round]:
        stage, scale = self._stage, self._stage.scale
        peak, _ = stage.post(stage.wallets, stage.closed(concurrency=scale.concurrency))
        rate_per_s = max(1.0, peak.value * HALF)
        with router_under_test(stage.cell, self._folder) as router:
            pids = {"api": max((api.pid for api in stage.cell.apis), key=memory_mb), "router": router.pid}
            begin = Pace(duration_s=max(1.0, scale.memory_s * SETTLED_SHARE), rate_per_s=rate_per_s)
            rest = Pace(duration_s=scale.memory_s * (1 - SETTLED_SHARE), rate_per_s=rate_per_s)
            first, _ = stage.post(stage.wallets, begin, through=router)
            before = {name: memory_mb(pid) for name, pid in pids.items()}
            one, _ = stage.post(stage.wallets, rest, through=router)
            after = {name: memory_mb(pid) for name, pid in pids.items()}
        checks = (*peak.checks, *first.checks, *one.checks)
        note = f"{rate_per_s:.0f}/s for {scale.memory_s:g} s"
        sizes = {f"memory.{name}": mb for name, mb in after.items()}
        growth = {f"memory.{name}.growth": after[name] / before[name] for name in pids}
        return {name: Round(value=figure, checks=checks, notes=(note,)) for name, figure in (sizes | growth).items()}
