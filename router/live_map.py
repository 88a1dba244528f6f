"""The map that requests are routed by right now. Everyone reads it here; two write it: published documents and 421s.

Replacing it is one assignment between two awaits, so a request sees either the old map or the new one.
"""

import asyncio
from collections.abc import Callable

from contract.ids import WalletId
from router.routing.directory import Directory
from router.routing.learning import Hint, learn


class LiveMap:
    def __init__(self) -> None:
        self._current: Directory | None = None
        self._listeners: list[Callable[[Directory], None]] = []
        self.learned = asyncio.Event()
        """Set when a 421 has taught something that is not on disk yet."""
        self.learned_count = 0
        self.changed = asyncio.Event()
        """Set with every other map, however it came about; for the one who keeps a HAProxy in step."""

    @property
    def current(self) -> Directory | None:
        return self._current

    def on_replaced(self, listener: Callable[[Directory], None]) -> None:
        self._listeners.append(listener)

    def replace(self, directory: Directory) -> None:
        self._current = directory
        self.changed.set()
        for listener in self._listeners:
            listener(directory)

    def learn(self, hint: Hint, *, asked: WalletId) -> None:
        """Take the hint over if it is newer than the map."""
        if self._current is None:
            return
        taught = learn(self._current, hint, asked=asked)
        if taught is not None:
            self._current = taught
            self.learned_count += 1
            self.learned.set()
            self.changed.set()
