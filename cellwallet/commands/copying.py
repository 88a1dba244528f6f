"""A bar for verbs that copy a database: what is being done, and how much of how many bytes."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cellwallet.commands.terminal import err
from cellwallet.local.backups import Tell


@contextmanager
def copying(what: str) -> Iterator[Tell]:
    """On a terminal; nothing elsewhere."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    console = err()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def tell(phase: str, done: int, total: int) -> None:
            progress.update(task, description=f"{what}: {phase}", completed=done, total=total or None)

        yield tell
