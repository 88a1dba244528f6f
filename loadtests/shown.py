"""What a person sees of a run: progress while it goes on, and a table at its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtests.figures import COSTS, Round
from loadtests.stage import Measurement

WIDTH_MIN = 142
"""Columns that the table takes, whatever the terminal has."""
REFRESHES_PER_S = 1
"""Drawing takes CPU from what is measured."""


class Shown:
    """A `Watch` on a terminal: a line per measurement, a bar below."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def expect(self, steps: int) -> None:
        self._progress.update(self._task, total=steps, completed=0)

    def begin(self, what: str) -> None:
        self._progress.update(self._task, description=what)
        if not self._progress.console.is_terminal:
            self._progress.console.print(what, style="dim", highlight=False)

    def went_on(self) -> None:
        self._progress.advance(self._task)

    def measured(self, measurement: Measurement, one: Round) -> None:
        failed = [check for check in one.checks if not check.has_passed]
        for check in failed:
            self._progress.console.print(f"check failed: {check.name}: {check.detail}", style="red", markup=False)
        p99 = one.latency_ms.get("p99")
        tail = "" if p99 is None else f"  p99 {p99:.1f} ms"
        text = f"{measurement.title:<62} {one.value:>10,.6g} {measurement.unit}{tail}"
        self._progress.console.print(text, highlight=False, markup=False)
        self._progress.advance(self._task)


@contextmanager
def showing(console: Console) -> Iterator[Shown]:
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, refresh_per_second=REFRESHES_PER_S, transient=True) as progress:
        yield Shown(progress)


def print_summary(document: dict[str, Any], console: Console) -> None:
    console.width = max(console.width, WIDTH_MIN)
    console.print(_figures(document))
    if document["targets"]:
        console.print(_targets(document))
    for check in document["checks"]:
        verdict = "passed" if check["passed"] else "FAILED"
        console.print(f"{check['name']}: {verdict} ({check['detail']})", highlight=False, markup=False)
    for line in document["absent"]:
        console.print(line, style="yellow", highlight=False, markup=False)
    noise = document["noise"].get("others_cores_median", 0.0)
    console.print(
        f"others kept {noise:.2f} of {document['machine']['cores']} cores busy meanwhile (median)", highlight=False
    )


def _figures(document: dict[str, Any]) -> Table:
    table = Table(title="figures: medians of their rounds", title_justify="left")
    for name in ("figure", "loop"):
        table.add_column(name, no_wrap=True)
    for name in ("median", "p50 ms", "p99 ms", "WAL B", "API µs", "PG µs", "router µs", "gen. µs", "dropped", "late"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, figure in document["figures"].items():
        latency, costs = figure["latency_ms"], figure["costs"]
        counts = [one["counts"] for one in figure["rounds"]]
        table.add_row(
            name,
            figure["loop"],
            f"{figure['median']:,.6g} {figure['unit']}" + ("" if figure["valid"] else "  INVALID"),
            *(_number(latency.get(quantile)) for quantile in ("p50", "p99")),
            *(_number(costs.get(cost)) for cost in COSTS),
            *(str(sum(one.get(count, 0) for one in counts)) for count in ("dropped", "late")),
            style="" if figure["valid"] else "red",
        )
    return table


def _targets(document: dict[str, Any]) -> Table:
    table = Table(title="targets", title_justify="left")
    for name in ("target", "goal", "measured", "reach", "then", "verdict"):
        table.add_column(name)
    for name, target in document["targets"].items():
        for part in target["parts"]:
            sign = "≥" if part["sense"] == "at_least" else "≤"
            verdict = "reached, and what comes then" if part["then_reached"] else "reached"
            table.add_row(
                name,
                part["name"],
                f"{part['value']:,.5g} {part['unit']}",
                f"{sign} {part['target']:,g}",
                f"{sign} {part['then']:,g}",
                verdict if part["reached"] else "not reached",
                style="green" if part["reached"] else "yellow",
            )
    return table


def _number(figure: float | None) -> str:
    return "" if figure is None else f"{figure:,.4g}"
