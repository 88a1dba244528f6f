"""Figures as values, and their form in build/bench.json. Pure.

A figure is the median of its rounds and is worth what its checks are: one that failed makes it invalid.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from itertools import combinations_with_replacement
from typing import Any, Literal

from contract.values import value
from loadtests.histogram import Histogram

FORM = 1
"""Of build/bench.json; grows when a field changes its meaning."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}
COSTS = ("wal_bytes", "api_cpu_us", "postgresql_cpu_us", "router_cpu_us", "generator_cpu_us")
"""Of one command, as they are told; not every figure has each."""

Loop = Literal["open", "closed", "none"]


@value
class Check:
    name: str
    has_passed: bool
    detail: str = ""


@value
class Round:
    """One measurement. `counts` and `costs` hold what applies to it."""

    value: float
    checks: tuple[Check, ...]
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    """Per command: WAL bytes, and CPU microseconds of API, PostgreSQL and generator; and memory."""
    others_cores: float = 0.0
    """Cores that others kept busy meanwhile: how noisy the machine was."""
    disk_stalled_share: float = 0.0
    """Of the time, in which the disk let a small sync stand still: its noise, and what we asked of it."""
    stolen_share: float = 0.0
    """Of the processors' time, what the host kept for itself while we wanted it."""
    notes: tuple[str, ...] = ()


@value
class Figure:
    id: str
    title: str
    unit: str
    loop: Loop
    rounds: tuple[Round, ...]

    @property
    def median(self) -> float:
        return statistics.median(one.value for one in self.rounds)

    @property
    def highest(self) -> float:
        return max(one.value for one in self.rounds)

    def over(self, other: "Figure") -> float:
        """The ratio of both, typical of the pairs that were measured side by side; 0 = none.

        Where the other was measured several times for each of ours, those times' median is the pair's.
        """
        turns, rest = divmod(len(other.rounds), len(self.rounds))
        if rest:
            return self.median / other.median if other.median else 0.0
        values = [one.value for one in other.rounds]
        theirs = [statistics.median(values[at : at + turns]) for at in range(0, len(values), turns)]
        return typical([ours.value / one if one else 0.0 for ours, one in zip(self.rounds, theirs, strict=True)])

    @property
    def is_valid(self) -> bool:
        return bool(self.rounds) and all(check.has_passed for one in self.rounds for check in one.checks)

    def median_of(self, group: Literal["latency_ms", "costs"], name: str) -> float | None:
        found = [getattr(one, group)[name] for one in self.rounds if name in getattr(one, group)]
        return statistics.median(found) if found else None


def typical(ratios: Sequence[float]) -> float:
    """The median of the geometric means of all pairs, each with itself included (Hodges and Lehmann's estimator of the
    logarithms): nearly as deaf to odd ones as the median, and steadier where all are noisy.
    """
    means = [math.sqrt(one * other) for one, other in combinations_with_replacement(ratios, 2)]
    return statistics.median(means)


def latency_ms_of(latencies: Histogram) -> dict[str, float]:
    if not latencies.count:
        return {}
    quantiles = {name: latencies.quantile_us(share) / 1_000 for name, share in QUANTILES.items()}
    return {**quantiles, "max": latencies.max_us / 1_000}


def document_of_figures(figures: Iterable[Figure]) -> dict[str, Any]:
    return {figure.id: _document(figure) for figure in figures}


def figures_of_document(document: Mapping[str, Any]) -> dict[str, Figure]:
    """What `document_of_figures` wrote, of whatever version."""
    return {name: _figure(name, told) for name, told in document.items()}


def noise_of(figures: Iterable[Figure]) -> dict[str, float]:
    """Over all rounds: cores that others kept busy, and how much of the time disk and host kept us waiting."""
    rounds = [one for figure in figures for one in figure.rounds]
    if not rounds:
        return {}
    cores = [one.others_cores for one in rounds]
    stalled = [one.disk_stalled_share for one in rounds]
    stolen = [one.stolen_share for one in rounds]
    return {
        "others_cores_median": _rounded(statistics.median(cores)),
        "others_cores_max": _rounded(max(cores)),
        "disk_stalled_share_median": _rounded(statistics.median(stalled)),
        "disk_stalled_share_max": _rounded(max(stalled)),
        "stolen_share_median": _rounded(statistics.median(stolen)),
        "stolen_share_max": _rounded(max(stolen)),
    }


def _document(figure: Figure) -> dict[str, Any]:
    return {
        "title": figure.title,
        "unit": figure.unit,
        "loop": figure.loop,
        "median": _rounded(figure.median),
        "valid": figure.is_valid,
        "latency_ms": _medians(figure, "latency_ms"),
        "costs": _medians(figure, "costs"),
        "rounds": [_round_document(one) for one in figure.rounds],
    }


def _figure(name: str, told: Mapping[str, Any]) -> Figure:
    rounds = tuple(
        Round(
            value=one["value"],
            checks=tuple(
                Check(name=check["name"], has_passed=check["passed"], detail=check["detail"]) for check in one["checks"]
            ),
            latency_ms=one["latency_ms"],
            counts=one["counts"],
            costs=one["costs"],
            others_cores=one["others_cores"],
            disk_stalled_share=one["disk_stalled_share"],
            stolen_share=one.get("stolen_share", 0.0),
            notes=tuple(one["notes"]),
        )
        for one in told["rounds"]
    )
    return Figure(id=name, title=told["title"], unit=told["unit"], loop=told["loop"], rounds=rounds)


def _medians(figure: Figure, group: Literal["latency_ms", "costs"]) -> dict[str, float]:
    names = dict.fromkeys(name for one in figure.rounds for name in getattr(one, group))
    found = {name: figure.median_of(group, name) for name in names}
    return {name: _rounded(median) for name, median in found.items() if median is not None}


def _round_document(one: Round) -> dict[str, Any]:
    return {
        "value": _rounded(one.value),
        "latency_ms": {name: _rounded(ms) for name, ms in one.latency_ms.items()},
        "counts": dict(one.counts),
        "costs": {name: _rounded(cost) for name, cost in one.costs.items()},
        "others_cores": _rounded(one.others_cores),
        "disk_stalled_share": _rounded(one.disk_stalled_share),
        "stolen_share": _rounded(one.stolen_share),
        "checks": [{"name": check.name, "passed": check.has_passed, "detail": check.detail} for check in one.checks],
        "notes": list(one.notes),
    }


def _rounded(number: float) -> float:
    """Four digits that say something are more than a benchmark knows."""
    return float(f"{number:.4g}") if abs(number) < 1_000 else round(number, 1)
