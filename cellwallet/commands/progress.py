"""Shows what happens to the parts of a platform: a moving line on a terminal, a line per event otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

from cellwallet.commands.terminal import err
from cellwallet.local.app import Event, Tell

QUIET_STATES = {"waiting", "starting"}
"""Every part passes through them; they are no news."""


@contextmanager
def telling() -> Iterator[Tell]:
    console = err()
    if not console.is_terminal:
        yield _print_line
        return
    with console.status("starting", spinner="dots") as status:
        ready: set[str] = set()

        def tell(event: Event) -> None:
            if event.state == "ready":
                ready.add(event.name)
            status.update(_summary(event, len(ready)))
            if event.name == "platform" or event.state in {"restarting", "failed", "missing", "ended"}:
                _print_line(event)
            if event.name == "platform" and event.state in {"ready", "stopped"}:
                status.stop()
            if event.state == "stopping":
                status.start()

        yield tell


def _print_line(event: Event) -> None:
    if event.state not in QUIET_STATES or event.name == "platform":
        detail = f"  {event.detail}" if event.detail else ""
        err().print(f"{event.elapsed_s:8.1f} s  {event.name} {event.state}{detail}", highlight=False, markup=False)


def _summary(event: Event, ready: int) -> str:
    if event.state in {"stopping", "stopped"}:
        return f"stopping: {event.name} {event.state}"
    return f"{ready} parts ready; {event.name} {event.state}"
