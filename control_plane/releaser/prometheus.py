"""Figures from a Prometheus: one query per figure over the window, all cells in one answer.

The queries go into the record with what they gave, so that anybody can ask again.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import httpx

from contract.ids import CellId
from control_plane.fleet.model import Cell
from control_plane.releaser.figures import Figures
from control_plane.rollouts.measuring import BATCHES, ERROR_REASONS, FINDINGS, REFUSED, REQUESTS, SAGA_AGE, STARTED
from control_plane.rollouts.model import CellFigures

QUERY_TIMEOUT_S = 10.0
JOB = 'job="cell"'
"""The label that the chart gives to every process of a cell."""
SETTLES = timedelta(seconds=2)
"""A scrape of the last moment of a window may still be on its way."""


class PrometheusFigures:
    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._shown_url = _shown(self._url)

    async def watch(self, cells: Sequence[Cell], *, now: datetime, window: timedelta) -> datetime:
        """It has watched all the time, so a window may begin whenever the record says so."""
        del cells
        return now - window * 1000

    async def figures(self, cells: Sequence[Cell], *, began_at: datetime, ended_at: datetime) -> Figures:
        queries = queries_of(max(1, round((ended_at - began_at).total_seconds())))
        await asyncio.sleep(SETTLES / timedelta(seconds=1))
        answers = await asyncio.gather(*(self._ask(query, ended_at) for query in queries.values()))
        told = dict(zip(queries, answers, strict=True))
        return Figures(
            cells={cell.id: _figures(told, cell.id) for cell in cells},
            questions={"from": self._shown_url, "at": ended_at.isoformat(), "queries": queries},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, query: str, at: datetime) -> dict[str, float] | None:
        """By cell; None when nobody answers, or the question was not understood."""
        try:
            answer = await self._client.get(
                f"{self._url}/api/v1/query",
                params={"query": query, "time": at.timestamp()},
                timeout=QUERY_TIMEOUT_S,
            )
            document = answer.json()
            if answer.status_code != 200 or document.get("status") != "success":
                return None
            return {one["metric"]["cell"]: float(one["value"][1]) for one in document["data"]["result"]}
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError, IndexError):
            return None


def queries_of(window_s: int) -> dict[str, str]:
    """Name of the figure to its PromQL."""
    errors = "|".join(ERROR_REASONS)
    return {
        "requests": f"sum by (cell) (increase({REQUESTS}_count{{{JOB}}}[{window_s}s]))",
        "errors": f'sum by (cell) (increase({REFUSED}{{{JOB},reason=~"{errors}"}}[{window_s}s]))',
        "p99_ms": _quantile(REQUESTS, window_s),
        "batch_p99_ms": _quantile(BATCHES, window_s),
        "restarts": f"count by (cell) ({STARTED}{{{JOB}}} > (time() - {window_s}))",
        "findings": f"sum by (cell) (increase({FINDINGS}{{{JOB}}}[{window_s}s]))",
        "saga_oldest_s": f"max by (cell) (max_over_time({SAGA_AGE}{{{JOB}}}[{window_s}s]))",
    }


def _quantile(name: str, window_s: int) -> str:
    return f"1000 * histogram_quantile(0.99, sum by (cell, le) (increase({name}_bucket{{{JOB}}}[{window_s}s])))"


def _figures(told: Mapping[str, dict[str, float] | None], cell: CellId) -> CellFigures | None:
    """A cell without a count of requests is not seen; of the others, what has no series has not happened."""
    if any(answer is None for answer in told.values()) or cell not in (told["requests"] or {}):
        return None
    found = {name: (answer or {}).get(cell) for name, answer in told.items()}
    return CellFigures(
        requests=found["requests"] or 0.0,
        errors=found["errors"] or 0.0,
        p99_ms=_number(found["p99_ms"]),
        batch_p99_ms=_number(found["batch_p99_ms"]),
        restarts=found["restarts"] or 0.0,
        findings=found["findings"] or 0.0,
        saga_oldest_s=found["saga_oldest_s"] or 0.0,
    )


def _shown(url: str) -> str:
    """Without who asks and by which password: evidence may be read by whoever may read the fleet."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _number(found: float | None) -> float | None:
    """A quantile of nothing is told as NaN."""
    return None if found is None or math.isnan(found) else found
