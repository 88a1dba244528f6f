"""A run over some cases: one platform after the other, some cases in a row on each, and what was found so far kept.

A platform that a case has left broken is not used again; the cases that were not played go on, on the next one.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crash_matrix.fleet import MatrixFleet, matrix_fleet
from crash_matrix.pairs import Case, name_of
from crash_matrix.results import Result
from crash_matrix.session import Session

CASES_PER_SESSION = 10
"""After so many the history is checked and everything audited."""
SESSIONS_PER_PLATFORM = 4

Say = Callable[[str], None]
Keep = Callable[[Sequence[Result]], None]


class Run:
    def __init__(self, cases: Sequence[Case], *, seed: int, say: Say, keep: Keep) -> None:
        self._waiting = list(cases)
        self._count = len(cases)
        self._played = 0
        self._seed = seed
        self._dice = random.Random(seed)
        self._say = say
        self._keep = keep

    def go(self) -> list[Result]:
        results: list[Result] = []
        while self._waiting:
            with tempfile.TemporaryDirectory(prefix="crash-matrix-") as folder, matrix_fleet(Path(folder)) as fleet:
                results += self._use(fleet)
        return results

    def _use(self, fleet: MatrixFleet) -> list[Result]:
        results: list[Result] = []
        for number in range(SESSIONS_PER_PLATFORM):
            if not self._waiting:
                break
            cases = self._waiting[:CASES_PER_SESSION]
            began_s = time.monotonic()
            seed = self._dice.randrange(2**32)
            session = Session(fleet, seed=seed, label=f"matrix-{seed}-{number}", tell=self._tell)
            found = asyncio.run(session.play(cases))
            self._keep(found)
            results += found
            self._waiting = self._waiting[len(found) :]
            faults = [result for result in found if not result.is_clean]
            took_s = time.monotonic() - began_s
            self._say(
                f"    checked {len(found)} cases in {took_s:.0f} s: {len(faults)} with findings; {session.summary}"
            )
            for result in faults:
                self._say("\n".join([f"    {result.name}", *(f"      {told}" for told in result.findings[:8])]))
            if faults:
                break
        return results

    def _tell(self, result: Result) -> None:
        self._played += 1
        said = f"{result.ended} by {', '.join(result.recovered_by)} in {result.recovery_s:.1f} s"
        verdict = "" if result.is_clean else f"  FOUND: {result.findings[0]}"
        self._say(f"{self._played:3}/{self._count} {result.name}: {said}{verdict}")


def run_cases(cases: Sequence[Case], *, seed: int, say: Say, keep: Keep) -> list[Result]:
    say(f"{len(cases)} cases, seed {seed}: {name_of(cases[0])} to {name_of(cases[-1])}")
    return Run(cases, seed=seed, say=say, keep=keep).go()
