"""What a cell did between two looks at the metrics of its processes: increases, quantiles of increases, ages.

The same arithmetic as Prometheus' `increase` and `histogram_quantile`, for where there is no Prometheus.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from contract.reasons import MEANINGS, Reason
from contract.values import value
from control_plane.rollouts.model import CellFigures

REQUESTS: Final = "cell_request_duration_seconds"
BATCHES: Final = "cell_batch_duration_seconds"
REFUSED: Final = "cell_refused_total"
FINDINGS: Final = "cell_audit_findings_total"
SAGA_AGE: Final = "cell_saga_oldest_seconds"
STARTED: Final = "process_start_time_seconds"
ERROR_REASONS: Final = tuple(
    reason.value for reason in Reason if MEANINGS[reason].status >= 500 and reason is not Reason.WALLET_IS_MOVING
)
"""Answers that say that the cell could not do its work; a wallet that moves is no fault of any release."""
WANTED: Final = frozenset(
    {
        *(f"{name}_{end}" for name in (REQUESTS, BATCHES) for end in ("bucket", "count")),
        *(REFUSED, FINDINGS, SAGA_AGE, STARTED),
    }
)

Series = tuple[str, str]
"""Name of a metric and the value of its one label: a bucket's bound, a reason, or nothing."""


@value
class ProcessLook:
    """The metrics of one process at one moment."""

    series: Mapping[Series, float]

    @property
    def started_s(self) -> float:
        return self.series.get((STARTED, ""), 0.0)


@value
class CellLook:
    """All processes of a cell that answered, by their address."""

    at: datetime
    processes: Mapping[str, ProcessLook]


def figures_between(before: CellLook, after: CellLook) -> CellFigures | None:
    """None where no process can be compared with itself."""
    known = [url for url in after.processes if _can_be_counted(url, before, after)]
    if not known:
        return None
    grown: Counter[Series] = Counter()
    for url in known:
        grown.update(_increase(before.processes.get(url), after.processes[url]))
    looks = [look for cell in (before, after) for look in cell.processes.values()]
    return CellFigures(
        requests=grown[(f"{REQUESTS}_count", "")],
        errors=sum(grown[(REFUSED, reason)] for reason in ERROR_REASONS),
        p99_ms=_ms(quantile(0.99, _buckets(grown, REQUESTS))),
        batch_p99_ms=_ms(quantile(0.99, _buckets(grown, BATCHES))),
        restarts=sum(one.started_s >= before.at.timestamp() for one in after.processes.values()),
        findings=grown[(FINDINGS, "")],
        saga_oldest_s=max((one.series.get((SAGA_AGE, ""), 0.0) for one in looks), default=0.0),
        facts={"processes": len(known), "from": before.at.isoformat(), "to": after.at.isoformat()},
    )


def quantile(share: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """Of cumulative counts by upper bound, evenly spread inside a bucket; None where nothing was counted."""
    ordered = sorted(buckets)
    total = ordered[-1][1] if ordered else 0.0
    if total <= 0:
        return None
    rank, below, lower = share * total, 0.0, 0.0
    for bound, count in ordered:
        if count >= rank:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below) if count > below else bound
        below, lower = count, bound
    return lower


def _can_be_counted(url: str, before: CellLook, after: CellLook) -> bool:
    """What is new in the window counts from its beginning; of one that was only not seen before nobody knows."""
    return url in before.processes or after.processes[url].started_s >= before.at.timestamp()


def _increase(before: ProcessLook | None, after: ProcessLook) -> dict[Series, float]:
    is_same = before is not None and before.started_s == after.started_s
    earlier = before.series if before is not None and is_same else {}
    return {name: max(0.0, number - earlier.get(name, 0.0)) for name, number in after.series.items()}


def _buckets(grown: Mapping[Series, float], name: str) -> list[tuple[float, float]]:
    return [(float(label), count) for (of, label), count in grown.items() if of == f"{name}_bucket"]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
