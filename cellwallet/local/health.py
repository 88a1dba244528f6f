"""How the cells of a running platform are, asked of their own readiness and metrics; what they are held to, asked of
the control plane.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from cellwallet.local.probe import get
from cellwallet.local.stack import CellEntry
from contract.values import value

TIMEOUT_S = 2.0
WINDOW_S = 1.0
"""Between the two looks at a counter that make a rate: as long as the limit's own second."""
TAKEN = "cell_batch_commands_sum"
"""Commands that came as far as a batch: what a cell's limit is about."""


@value
class CellLimit:
    per_s: float | None
    """None = the cell is held to nothing."""
    is_certified: bool
    """Else a number that somebody set by hand."""


@value
class CellHealth:
    """Sums over the API processes that answer; counted since each started."""

    id: str
    home_zone: str
    ready: int
    processes: int
    accepted: int
    refused: int
    queued: int
    configuration_version: int
    taken_per_s: float | None
    """Commands in the last second; None = a process did not answer, or has just started."""
    limit: CellLimit | None
    """None = nobody could be asked."""

    @property
    def headroom_per_s(self) -> float | None:
        """What it may take besides; None = not known, or without bound."""
        if self.taken_per_s is None or self.limit is None or self.limit.per_s is None:
            return None
        return max(0.0, self.limit.per_s - self.taken_per_s)

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "headroom_per_s": self.headroom_per_s}


def cell_health(cell: CellEntry, *, admin_urls: Iterable[str], limit: CellLimit | None) -> CellHealth:
    """Takes a second: a rate is the difference of two looks."""
    answers = [get(f"{api.url}/readyz", timeout_s=TIMEOUT_S) for api in cell.api]
    urls = list(admin_urls)
    before, began_s = [_samples(url) for url in urls], time.monotonic()
    time.sleep(WINDOW_S)
    after, elapsed_s = [_samples(url) for url in urls], time.monotonic() - began_s
    return CellHealth(
        id=cell.id,
        home_zone=cell.home_zone,
        ready=sum(answer is not None and answer.status == 200 for answer in answers),
        processes=len(cell.api),
        accepted=int(_sum(after, "cell_accepted_total")),
        refused=int(_sum(after, "cell_refused_total")),
        queued=int(_sum(after, "cell_queue_depth")),
        configuration_version=int(max((one.get("cell_configuration_version", 0) for one in after), default=0)),
        taken_per_s=_rate(before, after, elapsed_s),
        limit=limit,
    )


def cell_limit(control_plane_url: str, cell: str, *, token: str) -> CellLimit | None:
    """None when the control plane does not tell."""
    answer = get(f"{control_plane_url}/v1/cells/{cell}/capacity", token=token, timeout_s=TIMEOUT_S)
    if answer is None or answer.status != 200:
        return None
    told = json.loads(answer.body)
    return CellLimit(per_s=told["capacity_per_s"], is_certified=told["certificate"] is not None)


def _rate(before: list[dict[str, float]], after: list[dict[str, float]], elapsed_s: float) -> float | None:
    if not before or not all(TAKEN in one for one in (*before, *after)):
        return None
    differences = [new[TAKEN] - old[TAKEN] for old, new in zip(before, after, strict=True)]
    return None if min(differences) < 0 else round(sum(differences) / elapsed_s, 1)


def _sum(samples: list[dict[str, float]], name: str) -> float:
    return sum(one.get(name, 0.0) for one in samples)


def _samples(admin_url: str) -> dict[str, float]:
    """Sums over labels, by name; empty when nobody answers."""
    answer = get(f"{admin_url}/metrics", timeout_s=TIMEOUT_S)
    if answer is None or answer.status != 200:
        return {}
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
