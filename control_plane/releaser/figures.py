"""Where the figures of a window come from: one small port, and the way without Prometheus.

`ScrapedFigures` looks at the metrics of every process itself, some times a window, and keeps the looks of the last
windows in memory. A process that takes over has seen nothing yet, so its first window begins with itself.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

from contract.ids import CellId
from contract.values import value
from control_plane.fleet.model import Cell, Instance
from control_plane.rollouts.measuring import WANTED, CellLook, ProcessLook, Series, figures_between
from control_plane.rollouts.model import CellFigures

SCRAPE_TIMEOUT_S = 2.0
EXPOSITION_MAX_BYTES = 1_048_576
LOOKS_PER_WINDOW = 6
WINDOWS_KEPT = 3
PERIOD_LEAST = timedelta(milliseconds=200)
_WANTED = tuple(sorted(WANTED))


@value
class Figures:
    cells: Mapping[CellId, CellFigures | None]
    """None = the cell could not be seen."""
    questions: Mapping[str, Any]
    """What was asked, for the record."""


class FiguresSource(Protocol):
    async def watch(self, cells: Sequence[Cell], *, now: datetime, window: timedelta) -> datetime:
        """Called again and again while somebody may want figures; since when there are any."""

    async def figures(self, cells: Sequence[Cell], *, began_at: datetime, ended_at: datetime) -> Figures: ...

    async def close(self) -> None: ...


class ScrapedFigures:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._looks: deque[dict[CellId, CellLook]] = deque(maxlen=LOOKS_PER_WINDOW * WINDOWS_KEPT * 2)
        self._looked_at: datetime | None = None
        self._since: datetime | None = None

    async def watch(self, cells: Sequence[Cell], *, now: datetime, window: timedelta) -> datetime:
        period = max(PERIOD_LEAST, window / LOOKS_PER_WINDOW)
        if self._looked_at is not None and now - self._looked_at > window:
            self._looks.clear()  # nobody asked for a while: what lies between was not seen
            self._since = None
        if self._looked_at is None or now - self._looked_at >= period:
            self._looked_at = now
            self._looks.append(await self._look(cells, now))
        self._since = self._since or now
        return self._since

    async def figures(self, cells: Sequence[Cell], *, began_at: datetime, ended_at: datetime) -> Figures:
        questions = {"from": "the metrics of every process", "series": sorted(WANTED)}
        found = {cell.id: self._figures_of(cell.id, began_at, ended_at) for cell in cells}
        return Figures(cells=found, questions=questions)

    async def close(self) -> None:
        await self._client.aclose()

    def _figures_of(self, cell: CellId, began_at: datetime, ended_at: datetime) -> CellFigures | None:
        """From the first look in the window on: one of before would see the wave that was just being replaced."""
        looks = [one[cell] for one in self._looks if cell in one]
        before = next((look for look in looks if look.at >= began_at), None)
        after = min(looks, key=lambda look: abs(look.at - ended_at), default=None)
        if before is None or after is None or after.at <= before.at:
            return None
        return figures_between(before, after)

    async def _look(self, cells: Sequence[Cell], now: datetime) -> dict[CellId, CellLook]:
        asked = [(cell.id, one) for cell in cells for one in cell.instances]
        answers = await asyncio.gather(*(self._ask(instance) for _, instance in asked))
        processes: dict[CellId, dict[str, ProcessLook]] = {cell.id: {} for cell in cells}
        for (cell_id, instance), answer in zip(asked, answers, strict=True):
            if answer is not None:
                processes[cell_id][instance.url] = answer
        return {cell_id: CellLook(at=now, processes=seen) for cell_id, seen in processes.items()}

    async def _ask(self, instance: Instance) -> ProcessLook | None:
        """None when it does not answer, or not with metrics."""
        url = f"{instance.admin_url.rstrip('/')}/metrics"
        try:
            answer = await self._client.get(url, timeout=SCRAPE_TIMEOUT_S)
            if answer.status_code != 200 or len(answer.content) > EXPOSITION_MAX_BYTES:
                return None
            return ProcessLook(series=_series(answer.text))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            return None


def _series(exposition: str) -> dict[Series, float]:
    """Parsing takes far longer than asking, in the loop that answers everybody: only what is wanted is parsed."""
    wanted = [line for line in exposition.split("\n") if line.startswith(_WANTED)]
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families("\n".join([*wanted, ""])):
        for sample in family.samples:
            if sample.name in WANTED:
                found[sample.name, next(iter(sample.labels.values()), "")] = sample.value
    return found
