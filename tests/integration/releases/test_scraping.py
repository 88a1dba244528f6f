"""Figures without Prometheus: what the control plane makes of the metrics of a cell's processes."""

from datetime import UTC, datetime, timedelta

import httpx

from contract.ids import CellId
from control_plane.fleet.model import Cell, Instance
from control_plane.releaser.figures import ScrapedFigures
from control_plane.rollouts.model import CellFigures

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = timedelta(seconds=60)
CELL = CellId("cell-1")
INSTANCE = Instance(
    url="http://cell-1",
    zone="a",
    admin_url="http://cell-1",
    schema_revision="0010",
    software_version="1.0",
    first_seen_at=BEGAN,
    seen_at=BEGAN,
)
CELLS = (Cell(id=CELL, state="active", home_zone="a", instances=(INSTANCE,)),)


def exposition(count: int, *others: str) -> str:
    lines = [
        "process_start_time_seconds 1000",
        f'cell_request_duration_seconds_bucket{{le="0.1"}} {count}',
        f'cell_request_duration_seconds_bucket{{le="+Inf"}} {count}',
        f"cell_request_duration_seconds_count {count}",
        *others,
    ]
    return "\n".join([*lines, ""])


async def figures(*expositions: str) -> CellFigures | None:
    """Of a window with one look at its beginning and one at its end."""
    left = list(expositions)
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=left.pop(0))))
    source = ScrapedFigures(client)
    for at in (BEGAN, BEGAN + WINDOW):
        await source.watch(CELLS, now=at, window=WINDOW)
    found = await source.figures(CELLS, began_at=BEGAN, ended_at=BEGAN + WINDOW)
    await source.close()
    return found.cells[CELL]


async def test_requests_between_two_looks_are_counted() -> None:
    found = await figures(exposition(100), exposition(400))
    assert found is not None
    assert (found.requests, found.restarts) == (300, 0)
    assert found.p99_ms is not None


async def test_what_is_not_wanted_is_not_even_read() -> None:
    """A process has a hundred other series; reading all of them takes the time of those who ask for directories."""
    broken = 'cell_something_else{reason="no end'
    found = await figures(exposition(100, broken), exposition(400, broken))
    assert found is not None
    assert found.requests == 300
