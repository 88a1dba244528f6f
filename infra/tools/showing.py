"""How the building of tools is told: a bar on a terminal, now and then a line otherwise, a table in the end."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra.tools.building import Built, Display, Failed, Outcome, OutOfTime
from infra.tools.planning import Step

LINE_EVERY_S = 30.0
MEGABYTE = 1_000_000


@contextmanager
def showing(console: Console) -> Iterator[Display]:
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        yield Bars(progress)


class Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._tool = ""

    def downloading(self, step: Step, module: str) -> None:
        self._begin(step)
        self._progress.update(self._task, description=f"{step.tool.name}  downloading {module}")

    def compiling(self, step: Step, *, done: int, of: int) -> None:
        self._begin(step)
        verb = "linking" if done == of else "compiling"
        self._progress.update(self._task, description=f"{step.tool.name}  {verb}", completed=done, total=of)

    def _begin(self, step: Step) -> None:
        if step.tool.name != self._tool:
            self._tool = step.tool.name
            self._progress.reset(self._task, total=None, description=self._tool)


class Lines:
    """For logs: the first word of each tool at once, then one every half minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tool = ""
        self._told = 0.0

    def downloading(self, step: Step, module: str) -> None:
        self._say(step, f"downloading {module}")

    def compiling(self, step: Step, *, done: int, of: int) -> None:
        self._say(step, f"{done} of {of} packages compiled")

    def _say(self, step: Step, words: str) -> None:
        now = time.monotonic()
        if step.tool.name != self._tool or now - self._told > LINE_EVERY_S:
            self._tool, self._told = step.tool.name, now
            self._console.print(f"{step.tool.name}: {words}", highlight=False, markup=False)


def one_line(outcome: Outcome) -> str:
    name = f"{outcome.step.tool.name} {outcome.step.version}"
    match outcome:
        case Built():
            size = outcome.step.file.stat().st_size // MEGABYTE
            return (
                f"{name}: built in {outcome.seconds:.0f} s ({outcome.downloading_seconds:.0f} s of it resolving and"
                f" downloading), {outcome.packages} packages, {size} MB,"
                f" largest process {outcome.peak_bytes // MEGABYTE} MB"
            )
        case Failed():
            return f"{name}: not built\n{outcome.problem}"
        case OutOfTime():
            return f"{name}: not built, the time is over"


def table(steps: Iterable[Step]) -> Table:
    shown = Table(box=None, pad_edge=False)
    for column in ("tool", "version", "MB", "file"):
        shown.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for step in steps:
        built = step.file.exists()
        size = f"{step.file.stat().st_size / MEGABYTE:.0f}" if built else ""
        shown.add_row(step.tool.name, step.version, size, str(step.file) if built else "not built")
    return shown
