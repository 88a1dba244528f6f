"""The pairs of a running platform: which are watched, how they are, and the orders that people give them."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from cellwallet.local.failover import Pair
from cellwallet.local.pair_watch import PairWatch, SwitchOverRefusedError

PAUSE_S: Final = 1.0

Tell = Callable[[str, Pair, str], None]
"""Cell, record and reason, at each change."""


class Pairs:
    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._watches: dict[str, PairWatch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, watches: Mapping[str, PairWatch]) -> None:
        """Watch these too; before anything of theirs is started."""
        for cell, watch in watches.items():
            self._watches[cell] = watch
            self._tasks[cell] = asyncio.create_task(self._run(cell, watch), name=f"{cell} pair")

    async def stop(self, *cells: str) -> None:
        """Of these, or of all: before anything of theirs is stopped, or it would be taken for dead."""
        leaving = [cell for cell in self._tasks if not cells or cell in cells]
        for cell in leaving:
            self._tasks[cell].cancel()
        await asyncio.gather(*(self._tasks.pop(cell) for cell in leaving), return_exceptions=True)
        for cell in leaving:
            del self._watches[cell]

    def described(self) -> list[dict[str, Any]]:
        return [{"cell": cell, **watch.described()} for cell, watch in self._watches.items()]

    async def switch_over(self, cell: str) -> dict[str, Any]:
        """As other verbs are answered: with an `error` if it was not done."""
        watch = self._watches.get(cell)
        if watch is None:
            return {"error": f"{cell} has no standby: `cellwallet up --standbys` gives it one"}
        try:
            switched = await watch.switch_over()
        except SwitchOverRefusedError as error:
            return {"error": f"the databases of {cell} keep their roles: {error}"}
        return {"cell": cell, "primary": switched.primary, "pause_s": switched.pause_s}

    async def _run(self, cell: str, watch: PairWatch) -> None:
        """A bug in the watch must not leave a cell without one: nobody would notice before its primary dies."""
        while True:
            try:
                await watch.run(lambda pair, why: self._tell(cell, pair, why))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the record is safe to go on from
                watch.trouble = f"the watch failed: {error!r}"
            await asyncio.sleep(PAUSE_S)
