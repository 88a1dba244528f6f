"""How verbs of operators speak to the control plane, and wait for what they ordered: a restart of it is no end.

Orders are recorded there; a verb that is interrupted loses nothing but its view, and the same verb again shows it. The
control plane is that of the platform in the data folder, or the one that two variables of the environment name.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from cellwallet.commands.terminal import err, fail
from cellwallet.local.stack import StackMustExistError, read_stack
from contract.values import value

TIMEOUT_S = 10.0
BAR_WIDTH = 24
POLL_S = 0.5
GONE_MAX_S = 120.0
"""So long a control plane may be away before a verb that only watches gives up."""


URL, TOKEN = "CELLWALLET_CONTROL_PLANE_URL", "CELLWALLET_OPERATOR_TOKEN"
"""A control plane elsewhere, and an operator's token for it."""


class Operator:
    """The control plane that the environment names, or that of the platform in a data folder."""

    def __init__(self, data: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._url, token = _named_in(os.environ) or _of_stack(data)
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        return self._told("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._told("POST", path, body)

    def try_to_get(self, path: str) -> Any | None:
        """None while the control plane is away or not ready."""
        try:
            response = self._asked("GET", path, None)
        except httpx.TransportError:
            return None
        return response.json() if response.status_code == 200 else None

    def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        """Over a connection of its own: whoever watches may have been away for long."""
        return httpx.request(
            method, f"{self._url}{path}", json=body, headers=self._headers, timeout=self._timeout_s, trust_env=False
        )

    def _told(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The answer; ends the program with the reason of a refusal."""
        try:
            response = self._asked(method, path, body)
        except httpx.TransportError as error:
            fail(f"the control plane does not answer ({error}); is the platform up? `cellwallet status` tells")
        if response.status_code >= 400:
            problem = response.json()
            fail(f"{problem['reason']}: {problem['detail']}")
        return response.json()


def is_elsewhere() -> bool:
    """Whether orders go to a control plane that is not this machine's: what runs here is none of its affair."""
    return _named_in(os.environ) is not None


def _named_in(environment: Mapping[str, str]) -> tuple[str, str] | None:
    url, token = environment.get(URL), environment.get(TOKEN)
    if bool(url) != bool(token):
        fail(f"{URL} and {TOKEN} must be named together")
    return (url.rstrip("/"), token) if url and token else None


def _of_stack(data: Path) -> tuple[str, str]:
    try:
        stack = read_stack(data)
    except StackMustExistError as error:
        fail(f"{error}, or name a control plane in {URL} and {TOKEN}")
    return stack.control_plane_url, stack.tokens.operator


@value
class Reached:
    """How far something is: units of all units, and what it waits for."""

    done: int
    total: int
    is_over: bool
    note: str = ""


def watch(what: str, look: Callable[[], Reached | None]) -> None:
    """A bar until it is over; `look` gives None while nobody can be asked. A long note is cut, never the bar."""
    rest_of_the_line = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", markup=False, table_column=rest_of_the_line),
    )
    console = err()
    with Progress(*columns, console=console, disable=not console.is_terminal, expand=True) as progress:
        task = progress.add_task(what, total=None, note="")
        seen_at = time.monotonic()
        while True:
            reached = look()
            if reached is None:
                progress.update(task, note="the control plane is away; what was ordered is recorded")
                if time.monotonic() - seen_at > GONE_MAX_S:
                    fail(f"the control plane has been away for {GONE_MAX_S:.0f} s; the same command again goes on")
            else:
                seen_at = time.monotonic()
                progress.update(task, completed=reached.done, total=reached.total, note=reached.note)
                if reached.is_over:
                    return
            time.sleep(POLL_S)
