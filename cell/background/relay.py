"""The relay: reads the log in whole windows and hands each entry to a sink, per wallet in the order of the log.

At least once: a sink is told first, the mark moves afterwards. Of a wallet that came with a move nothing is told before
the cell before has told its own (cell/store/event_waits.py); what was kept back is told when that wait is over. The
relay has a connection of its own and waits for nobody who moves money. What a window is stands in
cell/events/window.py; who receives what is the sink's affair.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from cell.events.window import Window, brought_forward, cut, has_hole, lines, up_to
from cell.store.events import EventStore, Mark, NewDelivery, StoredEvent, WalletEnd
from cell.telemetry.event_metrics import EventMetrics

WINDOW_MAX = 5_000
"""Entries of one window; a batch of the write path has far fewer."""
WINDOWS_PER_ROUND_MAX = 50
"""Then the round ends, so that a holder looks at its lock however far behind the relay is."""
OLDER_PAGE = 200
KEPT_BACK_WALLETS_MAX = 100
"""Of which a page each is told at a time."""
WALLET_PAGE = 500
FIRST_WALLET = "00000000-0000-0000-0000-000000000000"
LISTENING_GRACE = timedelta(minutes=1)
"""What was being posted when a listener came may bear an older instant; what is older still was restored with xids of
another history, and is no news."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger()

Line = Sequence[StoredEvent]


class EventSink(Protocol):
    """Where events go."""

    begins_with_the_log: bool
    """Whether a sink that nobody has listened to begins with the first entry, or with the next one."""

    async def is_listening(self) -> bool:
        """Asked at the beginning of each round."""

    async def take(self, told: Sequence[Line]) -> Sequence[NewDelivery]:
        """Publish each line in its order; what is to be stored together with the progress comes back."""


class Relay:
    def __init__(
        self,
        *,
        store: EventStore,
        sink: EventSink,
        name: str,
        metrics: EventMetrics,
        window_max: int = WINDOW_MAX,
        page: int = OLDER_PAGE,
    ) -> None:
        self._window_max = window_max
        self._page = page
        self._store = store
        self._sink = sink
        self._name = name
        self._metrics = metrics

    async def round(self) -> None:
        """Bring the sink up to the horizon."""
        is_listening = await self._sink.is_listening()
        mark = await self._store.mark()
        if not is_listening:
            await self._rest(mark)
            return
        if mark is None or mark.listening_since is None:
            mark = await self._begin()
        if mark.history != await self._store.history():
            mark = await self._start_over(mark)
        window = None
        for _ in range(WINDOWS_PER_ROUND_MAX):
            window = await self._window(mark)
            if not window.entries:
                break  # nothing is written for it: a mark that follows every xid would make one of its own each time
            await self._tell(mark, window)
            mark = Mark(history=mark.history, next_xid=window.to_xid, listening_since=mark.listening_since)
        if window is not None and window.reaches_horizon:
            await self._tell_kept_back(mark)
        self._metrics.lag(self._name, await self._store.lag(mark))

    async def _rest(self, mark: Mark | None) -> None:
        """Nobody listens: there is no place to keep, and nothing is written for nobody."""
        if mark is not None and mark.listening_since is not None:
            await self._store.begin(Mark(history=mark.history, next_xid=mark.next_xid, listening_since=None))

    async def _begin(self) -> Mark:
        """The horizon is read after the listener is known, so that what is posted from now on lies beyond it."""
        horizon, history = await self._store.horizon(), await self._store.history()
        if self._sink.begins_with_the_log:
            mark = Mark(history=history, next_xid=1, listening_since=BEGINNING)
        else:
            since = await self._store.clock() - LISTENING_GRACE
            mark = Mark(history=history, next_xid=horizon, listening_since=since)
        await self._store.begin(mark)
        log.info("relay begins", sink=self._name, next_xid=mark.next_xid)
        return mark

    async def _window(self, mark: Mark) -> Window[StoredEvent]:
        """The horizon is read before the entries: what is below it is visible to every later statement."""
        horizon = await self._store.horizon()
        found = await self._store.window(from_xid=mark.next_xid, below_xid=horizon, limit=self._window_max + 1)
        window = cut(found, from_xid=mark.next_xid, horizon=horizon, at_most=self._window_max)
        if window.entries or len(found) <= self._window_max:
            return window
        giant = await self._store.window(from_xid=window.to_xid, below_xid=window.to_xid + 1, limit=None)
        return Window(from_xid=mark.next_xid, to_xid=window.to_xid + 1, entries=tuple(giant))

    async def _tell(self, mark: Mark, window: Window[StoredEvent]) -> None:
        wallet_ids = list({entry.wallet_id for entry in window.entries})
        cursors = await self._store.cursors(wallet_ids)
        untold = up_to(lines(window.entries, cursors), await self._limits(wallet_ids))
        for wallet_id, line in untold.items():
            cursor = cursors.get(wallet_id, 0)
            if has_hole(line, cursor):
                untold[wallet_id] = await self._whole(line, cursor=cursor, from_xid=window.from_xid)
        await self._hand_over(mark, _news(untold.values(), since=mark.listening_since), to_xid=window.to_xid)

    async def _hand_over(self, mark: Mark, told: Sequence[Line], *, to_xid: int) -> None:
        deliveries = await self._sink.take(told) if told else ()
        ends = {line[-1].wallet_id: line[-1].seq for line in told}
        await self._store.advance(mark, to_xid=to_xid, told=ends, deliveries=deliveries)
        self._metrics.published(self._name, sum(map(len, told)))

    async def _limits(self, wallet_ids: Sequence[str]) -> Mapping[str, int]:
        """Read after the window: whoever wrote its entries had received their wallets before."""
        return await self._store.limits(wallet_ids)

    async def _tell_kept_back(self, mark: Mark) -> None:
        """What waited for the cell before, and waits no more; nobody but the relay takes such a wait away.

        Only when all else has been read: what the wallet had here before its last arrival comes first.
        """
        since = mark.listening_since or BEGINNING
        for _ in range(WINDOWS_PER_ROUND_MAX):
            kept = await self._store.kept_back(since=since, wallets_max=KEPT_BACK_WALLETS_MAX, page=self._page)
            if not kept:
                return
            told = [one.entries for one in kept if one.entries]
            deliveries = await self._sink.take(told) if told else ()
            await self._store.advance(
                mark,
                to_xid=mark.next_xid,
                told={line[-1].wallet_id: line[-1].seq for line in told},
                deliveries=deliveries,
                ended=[one for one in kept if one.is_all],
            )
            self._metrics.published(self._name, sum(map(len, told)))

    async def _whole(self, line: Line, *, cursor: int, from_xid: int) -> list[StoredEvent]:
        """The line with every predecessor that has not been told."""
        found: list[StoredEvent] = []
        upto, is_end = (line[-1].posted_at, line[-1].seq), False
        while not is_end:
            page = await self._store.older(line[-1].wallet_id, upto=upto, limit=self._page)
            untold, is_end = brought_forward(page, cursor=cursor, from_xid=from_xid)
            found += untold
            if len(page) < self._page:
                break
            upto = (page[-1].posted_at, page[-1].seq - 1)
        return found[::-1]

    async def _start_over(self, mark: Mark) -> Mark:
        """Xids are of another history now: go by the cursors of all wallets, and by xids only from here on."""
        history, horizon = await self._store.history(), await self._store.horizon()
        log.warning("relay starts over", sink=self._name, was=mark.history, now=history)
        after = FIRST_WALLET
        while wallets := await self._store.wallets(after=after, limit=WALLET_PAGE):
            told = [line for wallet in wallets if (line := await self._untold(wallet, mark))]
            deliveries = await self._sink.take(told) if told else ()
            ends = {wallet.wallet_id: wallet.end for wallet in wallets}
            await self._store.advance(mark, to_xid=mark.next_xid, told=ends, deliveries=deliveries)
            self._metrics.published(self._name, sum(map(len, told)))
            after = wallets[-1].wallet_id
        following = Mark(history=history, next_xid=horizon, listening_since=mark.listening_since)
        await self._store.begin(following)
        return following

    async def _untold(self, wallet: WalletEnd, mark: Mark) -> list[StoredEvent]:
        """All entries above the wallet's cursor, but for those that came with a move or before anybody listened."""
        found: list[StoredEvent] = []
        upto = (wallet.posted_at, wallet.seq)
        since = mark.listening_since or BEGINNING
        while wallet.seq > wallet.told:
            page = await self._store.older(wallet.wallet_id, upto=upto, limit=self._page)
            untold = [one for one in page if one.seq > wallet.told and one.posted_at >= since and one.xid]
            found += untold
            if len(page) < self._page or len(untold) < len(page):
                break
            upto = (page[-1].posted_at, page[-1].seq - 1)
        return [one for one in found[::-1] if one.seq <= wallet.end]


def _news(told: Iterable[Line], *, since: datetime | None) -> list[Line]:
    news = ([entry for entry in line if entry.posted_at >= (since or BEGINNING)] for line in told)
    return [line for line in news if line]
