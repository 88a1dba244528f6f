"""The highest rate that holds: open loop, latency from the intended instant, nothing dropped, p99 within its bound.

A search with short tries finds where to begin; only a long try makes a rate a figure.
"""

from dataclasses import replace

from loadtests.disturbance import MachineWatch
from loadtests.figures import Check, Round
from loadtests.load import Pace, Tally
from loadtests.search import Search, Walk
from loadtests.stage import Stage
from loadtests.targets import GOALS, P99_MS_MAX

BELOW_PEAK = 0.85
"""Of a closed loop's peak: a try far above it only fills queues that empty slowly, and says nothing."""
MEASURED_SHARE_MIN = 0.995
"""Of the intended requests have to be answered as expected."""
TRIES_MAX = 10
"""Long tries of a turn: from twice of what holds, and no further."""
AGAIN_MAX = 2
"""Tries of a turn that are made again because they did not hold on a machine that was disturbed."""
DISTURBED_SHARE = 0.01
"""A disk that stands still for so much of the time, or a host that keeps so much of the processors' for itself, decides
what the p99 is, whatever the rate."""


class Sustained:
    """Each turn ends with a rate that held, and the next goes on from there."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._walk: Walk | None = None
        self._again_left = 0

    def run(self) -> Round:
        """One turn: long tries until one holds, with what the others broke."""
        self._again_left = AGAIN_MAX
        notes: list[str] = []
        broken: list[Check] = []
        walk = self._walk or Walk.of(self._candidate_per_s(notes, broken))
        for _ in range(TRIES_MAX):
            rate = walk.next_per_s
            one, _, has_held = self._try(rate, self._stage.scale.confirm_s, notes)
            self._walk = walk = walk.after(has_held=has_held)
            if has_held:
                return replace(one, notes=tuple(notes), checks=(*one.checks, *broken))
            broken += _broken(one)
        return replace(one, value=0.0, notes=(*notes, "nothing held"), checks=tuple(broken))

    def _candidate_per_s(self, notes: list[str], broken: list[Check]) -> float:
        """What short tries promise."""
        scale = self._stage.scale
        start_per_s: float = GOALS["P1"][0].reach
        if self._stage.uniform_peak_per_s:
            start_per_s = min(start_per_s, self._stage.uniform_peak_per_s * BELOW_PEAK)
        search = Search(start_per_s=start_per_s, precision=scale.precision, tries_left=scale.tries)
        while (rate := search.next_per_s) is not None:
            one, tally, has_held = self._try(rate, scale.probe_s, notes)
            broken += _broken(one)
            search = search.after(rate, has_held=has_held, served_per_s=tally.served_per_s)
        return search.candidate_per_s

    def _try(self, rate_per_s: float, seconds: float, notes: list[str]) -> tuple[Round, Tally, bool]:
        """Again, a few times in a turn, if the machine did not let it hold; each is told."""
        while True:
            one, tally, seen = self._post(rate_per_s, seconds)
            has_held = holds(tally, rate_per_s=rate_per_s, seconds=seconds)
            notes.append(_note(one, tally, rate_per_s, seconds, seen=seen, has_held=has_held))
            is_disturbed = max(seen.disk_stalled_share, seen.stolen_share) >= DISTURBED_SHARE
            if has_held or not is_disturbed or not self._again_left:
                return one, tally, has_held
            self._again_left -= 1

    def _post(self, rate_per_s: float, seconds: float) -> tuple[Round, Tally, MachineWatch]:
        warm_up_s = self._stage.scale.warm_up_s
        pace = Pace(duration_s=warm_up_s + seconds, warm_up_s=warm_up_s, rate_per_s=rate_per_s)
        with MachineWatch(self._stage.cell.cluster.data_folder.parent) as seen:
            one, tally = self._stage.post(self._stage.wallets, pace)
        return one, tally, seen


def holds(tally: Tally, *, rate_per_s: float, seconds: float) -> bool:
    return (
        tally.dropped == 0
        and tally.unanswered == 0
        and tally.unexpected == 0
        and tally.measured >= rate_per_s * seconds * MEASURED_SHARE_MIN
        and tally.latencies.quantile_us(0.99) <= P99_MS_MAX * 1_000
    )


def _broken(one: Round) -> list[Check]:
    """A rate that does not hold may leave requests without an answer; nothing else may ever fail."""
    return [check for check in one.checks if not check.has_passed and check.name != "answers"]


def _note(one: Round, tally: Tally, rate_per_s: float, seconds: float, *, seen: MachineWatch, has_held: bool) -> str:
    """One line of the story of the search."""
    return (
        f"{rate_per_s:.0f}/s for {seconds:g} s {'held' if has_held else 'did not hold'}: "
        f"p99 {one.latency_ms.get('p99', 0):.1f} ms, dropped {tally.dropped}, late {tally.late}, "
        f"others kept {one.others_cores:.1f} cores busy, "
        f"the disk stood still {seen.disk_stalled_share:.1%} of the time, the host kept {seen.stolen_share:.1%} of it"
    )
