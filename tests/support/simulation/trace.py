"""What happened, line by line: a hash of all of it, and the last lines in words."""

import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from simulation.virtual_time import VirtualLoop

SHOWN_MAX = 60
BUGS = frozenset({"lane failed", "duty broke", "command poisoned its batch", "request broke", "request_broke"})
"""Events that the project logs where an exception was not foreseen."""
_TOLD = ("unit", "move", "state", "by", "lane", "reason", "units", "epoch", "failure", "wallet_id", "why")


class Trace:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._hash = hashlib.sha256()
        self._last: deque[str] = deque(maxlen=SHOWN_MAX)
        self.lines = 0
        self.alarms: list[str] = []
        """What no fault excuses."""

    def alarm(self, who: str, what: str) -> None:
        self.note(who, f"!! {what}")
        self.alarms.append(f"{who}: {what}")

    def note(self, who: str, what: str) -> None:
        line = f"{self._loop.now_s:10.6f}  {who:14} {what}"
        self._hash.update(line.encode())
        self._last.append(line)
        self.lines += 1

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    @property
    def last(self) -> tuple[str, ...]:
        return tuple(self._last)

    @contextmanager
    def listening(self, who: Callable[[], str]) -> Iterator[None]:
        """What the project's own code logs goes into the trace, and nowhere else."""

        def note(_: Any, __: str, event: MutableMapping[str, Any]) -> Any:
            facts = " ".join(f"{name}={event[name]}" for name in _TOLD if name in event)
            self.note(who(), f"* {event.get('event')} {facts}".rstrip())
            if event.get("event") in BUGS:
                self.alarm(who(), f"{event['event']}: {sys.exception()!r} {event.get('cause', '')}")
            raise structlog.DropEvent

        before = structlog.get_config()
        structlog.configure(processors=[note])
        try:
            yield
        finally:
            structlog.configure(**before)
