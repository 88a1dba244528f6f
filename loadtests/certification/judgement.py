"""What a step shows, and what the rounds say together. Pure."""

import statistics
from collections.abc import Iterable, Sequence

from contract.certificate import CheckResult, Objective, Round, Step
from loadtests.figures import Check
from loadtests.load import Tally

ANSWERED_SHARE_MIN = 0.99
"""Of what was offered within the measured time; less, and the queue grew."""
DETAIL_MAX = 200


def step_of(tally: Tally, objective: Objective, *, rate_per_s: float, duration_s: float, others_cores: float) -> Step:
    broke = broken(tally, objective, rate_per_s=rate_per_s, duration_s=duration_s)
    return Step(
        rate_per_s=rate_per_s,
        duration_s=duration_s,
        p50_ms=tally.latencies.quantile_us(0.5) / 1_000 if tally.measured else 0.0,
        p99_ms=tally.latencies.quantile_us(0.99) / 1_000 if tally.measured else 0.0,
        answered=tally.measured,
        errors=_errors(tally),
        late=tally.late,
        dropped=tally.dropped,
        others_cores=round(others_cores, 2),
        held=not broke,
        broke=broke,
    )


def broken(tally: Tally, objective: Objective, *, rate_per_s: float, duration_s: float) -> tuple[str, ...]:
    """What did not hold, in words; empty = the rate is carried."""
    found = []
    offered = max(1, tally.answered + tally.unanswered + tally.dropped)
    p99_ms = tally.latencies.quantile_us(0.99) / 1_000 if tally.measured else 0.0
    if tally.measured < rate_per_s * duration_s * ANSWERED_SHARE_MIN:
        found.append(f"{tally.measured} of {rate_per_s * duration_s:.0f} were answered as expected")
    if p99_ms > objective.p99_ms_max:
        found.append(f"p99 of {p99_ms:.1f} ms is above {objective.p99_ms_max:g} ms")
    if _errors(tally) > offered * objective.error_share_max:
        found.append(f"{_errors(tally)} errors of {offered}")
    if tally.late > offered * objective.late_share_max:
        found.append(f"{tally.late} of {offered} were sent late")
    if tally.dropped:
        found.append(f"{tally.dropped} found no connection within a second")
    return tuple(found)


def limit_of(rounds: Iterable[Round], topology: str) -> float:
    """The median of the rounds, as a rate that one of them held; 0 = none."""
    limits = [one.limit_per_s for one in rounds if one.topology == topology]
    return statistics.median_low(limits) if limits else 0.0


def loss_of(normal_per_s: float, degraded_per_s: float) -> float:
    """The share of the limit that is gone; a degraded cell that did better by chance lost nothing."""
    return round(max(0.0, 1 - degraded_per_s / normal_per_s), 4)


def results_of(checks: Sequence[Check]) -> tuple[CheckResult, ...]:
    """One line for all checks of a name: the first that failed, or else the last."""
    by_name: dict[str, list[Check]] = {}
    for check in checks:
        by_name.setdefault(check.name, []).append(check)
    told = [next((check for check in of_name if not check.has_passed), of_name[-1]) for of_name in by_name.values()]
    return tuple(
        CheckResult(name=check.name, passed=check.has_passed, detail=printable(check.detail)) for check in told
    )


def printable(text: str) -> str:
    """One line of printable ASCII, as a certificate takes it."""
    return "".join(sign if " " <= sign <= "~" else "?" if sign.isprintable() else " " for sign in text)[:DETAIL_MAX]


def _errors(tally: Tally) -> int:
    return tally.unexpected + tally.unanswered
