"""The order of a wallet's events over moves: nothing of it is told here before the cell before has told its own.

The duty asks those cells, less and less often the longer they have nothing new to say; what it learns goes into the
database, and the relays act on it. A cell that the configuration does not list any more has been retired, which is done
only when it has told everything. One that is silent is waited for until an operator lets it go. Knows no SQL, no HTTP.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import structlog

from cell.background.duty import Duty, DutyMetrics
from cell.peer_events import PeerEvents
from cell.store.duty_lock import DutyLock
from cell.store.event_waits import EventWaits, Wait
from cell.telemetry.event_metrics import EventMetrics
from contract.configuration import CellConfiguration
from contract.published import WALLETS_MAX, Asked, EventWait, Published

DUTY: Final = "event-order"
PERIOD_S: Final = 0.5
PAUSE_MAX_S: Final = 15.0
"""Between questions about a unit whose answer does not change: it doubles up to this."""
ABSENT_S: Final = 60.0
"""A cell that changes its key is not listed for a moment; a retired one stays away."""
CHORES_EVERY_S: Final = 5.0
COMPLAIN_EVERY_S: Final = 60.0
COMPLAIN_AFTER_S: Final = 30.0
"""A cell tells its events within seconds, unless an endpoint of a vendor is down."""
FIRST_WALLET: Final = "00000000-0000-0000-0000-000000000000"

log = structlog.get_logger()


class EventOrder:
    def __init__(
        self,
        store: EventWaits,
        *,
        cell_id: str,
        peers: PeerEvents,
        configuration: Callable[[], CellConfiguration | None],
        metrics: EventMetrics,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._cell_id = cell_id
        self._peers = peers
        self._configuration = configuration
        self._metrics = metrics
        self._clock_s = clock_s
        self._pauses: dict[tuple[int, str], tuple[float, float]] = {}
        """By received unit and sink: not before, and the pause before that."""
        self._absent_since_s: dict[str, float] = {}
        self._complained_at_s: dict[str, float] = {}
        self._chores_at_s = 0.0

    def duty(self, *, database_url: str, has_broker: bool, metrics: DutyMetrics) -> Duty:
        async def work() -> None:
            await self.look()
            if not has_broker:
                await self._rest_broker(database_url)

        return Duty(database_url=database_url, name=DUTY, period_s=PERIOD_S, work=work, metrics=metrics)

    async def told(self, asked: Asked) -> Published:
        """What another cell asks of this one.

        Raises:
            StoreLostError: the database cannot be reached, or took too long.

        """
        untold = await self._store.untold(asked)
        return Published(wallets=tuple(wallet_id for wallet_id, _ in asked.positions if wallet_id not in untold))

    async def waits(self) -> tuple[EventWait, ...]:
        return tuple(await self._store.by_cell())

    async def release(self, cell: str, *, by: str) -> int:
        """Events that wait for this cell are told without it: for one that is gone for good."""
        ended = await self._store.release(cell)
        log.warning("events go on without the cell before", cell=cell, waits=ended, by=by)
        return ended

    async def look(self) -> None:
        """One round: every cell that is waited for, at the same time, so that a silent one holds up no other."""
        by_cell: defaultdict[str, list[Wait]] = defaultdict(list)
        for wait in await self._store.standing():
            by_cell[wait.from_cell].append(wait)
        self._forget({(one.received_no, one.sink) for waits in by_cell.values() for one in waits}, set(by_cell))
        await asyncio.gather(*(self._look_at(cell, waits) for cell, waits in by_cell.items()))
        if self._clock_s() >= self._chores_at_s:
            self._chores_at_s = self._clock_s() + CHORES_EVERY_S
            await self._store.tidy()
            sums = await self._store.sums()
            self._metrics.kept_back(wallets=sums.wallets, oldest_s=sums.oldest_s)

    async def close(self) -> None:
        await self._peers.close()
        await self._store.close()

    async def _look_at(self, cell: str, waits: Sequence[Wait]) -> None:
        if self._is_retired(cell):
            await self.release(cell, by="the configuration: it has been retired")
            return
        for wait in waits:
            not_before_s, pause_s = self._pauses.get((wait.received_no, wait.sink), (0.0, 0.0))
            if self._clock_s() < not_before_s:
                continue
            is_silent, ended = await self._ask(wait)
            pause_s = 0.0 if ended else min(PAUSE_MAX_S, max(PERIOD_S, 2 * pause_s))
            self._pauses[wait.received_no, wait.sink] = (self._clock_s() + pause_s, pause_s)
            self._complain(cell, wait, is_silent=is_silent)
            if is_silent:
                return

    async def _ask(self, wait: Wait) -> tuple[bool, int]:
        """Whether the cell was silent, and how many wallets wait for it no more."""
        after, ended = FIRST_WALLET, 0
        while page := await self._store.page(wait, after=after, limit=WALLETS_MAX):
            asked = Asked(unit=wait.unit, epoch=wait.epoch, sink=wait.sink, positions=tuple(page))
            answer = await self._peers.ask(wait.admin_urls, asked)
            if answer is None:
                return True, ended
            wallets = sorted({wallet_id for wallet_id, _ in page}.intersection(answer.wallets))
            await self._store.end(wait, wallets)
            ended += len(wallets)
            after = page[-1][0]
        return False, ended

    def _is_retired(self, cell: str) -> bool:
        configuration = self._configuration()
        if configuration is None or self._cell_id not in configuration.peers or cell in configuration.peers:
            self._absent_since_s.pop(cell, None)
            return False
        return self._clock_s() - self._absent_since_s.setdefault(cell, self._clock_s()) >= ABSENT_S

    def _complain(self, cell: str, wait: Wait, *, is_silent: bool) -> None:
        if wait.for_s < COMPLAIN_AFTER_S or self._clock_s() < self._complained_at_s.get(cell, 0.0):
            return
        self._complained_at_s[cell] = self._clock_s() + COMPLAIN_EVERY_S
        says = "nothing" if is_silent else "that it is not done"
        log.warning("events wait for the cell before", cell=cell, unit=wait.unit, for_s=round(wait.for_s), it_says=says)

    def _forget(self, standing: set[tuple[int, str]], cells: set[str]) -> None:
        self._pauses = {key: pause for key, pause in self._pauses.items() if key in standing}
        for kept in (self._absent_since_s, self._complained_at_s):
            for cell in kept.keys() - cells:
                del kept[cell]

    async def _rest_broker(self, database_url: str) -> None:
        """Where no process of the cell has a broker, nobody listens: other cells need not wait for it."""
        if not await self._store.listens("broker"):
            return
        lock = DutyLock(database_url, name="relay-broker")
        try:
            if await lock.hold():
                await self._store.rest("broker")
        finally:
            await lock.let_go()
