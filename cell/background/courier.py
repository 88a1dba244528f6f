"""The courier: sends events to webhooks, each wallet's in their order, different wallets' at the same time.

A delivery that fails holds back the later events of its own wallet at its own webhook, and nothing else; after the
last attempt it is a dead letter, and the line goes on. A line is leased while one of its events is under way, so what a
dying process leaves behind is taken up when the lease ends.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from cell.background.endpoint import Endpoint
from cell.events.event import Delivery, retry_after_s, secrets_in_force
from cell.store.deliveries import DeliveryStore, Line
from cell.telemetry.event_metrics import EventMetrics
from contract.configuration import Webhook
from contract.values import value
from contract.webhooks import signed_headers

ROUND_MAX_S = 2.0
"""Then the holder looks at its lock; deliveries under way go on."""
IN_A_ROW_MAX = 20
"""Deliveries of one line before another one gets its place."""
LEASE_GRACE_S = 5.0
"""A lease outlives the slowest attempt by this, so that the result can still be written."""
CHORES_EVERY_S = 5.0

log = structlog.get_logger()


@value
class Patience:
    attempts_max: int
    first_s: float
    longest_s: float
    concurrency: int
    concurrency_per_webhook: int
    dead_letters_kept_days: int


class Courier:
    def __init__(
        self,
        *,
        store: DeliveryStore,
        endpoint: Endpoint,
        patience: Patience,
        metrics: EventMetrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._endpoint = endpoint
        self._patience = patience
        self._metrics = metrics
        self._now = now
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._webhooks: dict[str, Webhook] = {}
        self._chores_at_s = 0.0

    async def round(self) -> None:
        """Send what is due, until nothing is or the round has lasted long enough."""
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + ROUND_MAX_S
        self._webhooks = {one.id: one for one in await self._store.known()}
        if loop.time() >= self._chores_at_s:
            await self._do_chores()
            self._chores_at_s = loop.time() + CHORES_EVERY_S
        while loop.time() < ends_at_s:
            if not await self._fill() and not self._under_way:
                return
            await asyncio.wait(self._under_way, timeout=ends_at_s - loop.time(), return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """What is under way may arrive; it is sent again by whoever comes next."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _fill(self) -> bool:
        """Whether there was anything to begin."""
        room = self._room()
        due = await self._store.take_due(room, lease_s=self._lease_s) if room else []
        for line in due:
            task = asyncio.create_task(self._serve(line), name=f"deliveries to {line.webhook_id}")
            self._under_way[task] = line.webhook_id
            task.add_done_callback(self._ended)
        return bool(due)

    def _room(self) -> dict[str, int]:
        """How many more lines each webhook may have; shared evenly, so that a slow one leaves room to the others."""
        free = self._patience.concurrency - len(self._under_way)
        busy = Counter(self._under_way.values())
        webhooks = random.sample(sorted(self._webhooks), len(self._webhooks))
        room: dict[str, int] = {}
        for webhook_id in webhooks:
            rest = min(self._patience.concurrency_per_webhook - busy[webhook_id], free)
            if rest > 0:
                room[webhook_id] = rest
                free -= rest
        return room

    async def _serve(self, line: Line) -> None:
        delivery = await self._store.head(line)
        for _ in range(IN_A_ROW_MAX):
            if delivery is None:
                return
            delivery = await self._deliver(delivery)

    async def _deliver(self, delivery: Delivery) -> Delivery | None:
        """Send it once; the next one of the line, if it may go on."""
        webhook = self._webhooks.get(delivery.webhook_id)
        if webhook is None:
            return None
        now = self._now()
        body = delivery.body.encode()
        headers = signed_headers(
            secrets=secrets_in_force(webhook, now.isoformat(timespec="microseconds").replace("+00:00", "Z")),
            event_id=delivery.event_id,
            timestamp_s=int(now.timestamp()),
            body=body,
        )
        error = await self._endpoint.send(webhook.url, headers, body)
        if error is None:
            self._metrics.delivery("delivered")
            return await self._store.delivered(delivery, lease_s=self._lease_s)
        return await self._put_off(delivery, error)

    async def _put_off(self, delivery: Delivery, error: str) -> Delivery | None:
        patience, attempts = self._patience, delivery.attempts + 1
        if attempts >= patience.attempts_max:
            self._metrics.delivery("dead")
            log.warning("event undeliverable", webhook=delivery.webhook_id, event_id=delivery.event_id, error=error)
            return await self._store.buried(delivery, error, lease_s=self._lease_s)
        self._metrics.delivery("failed")
        pause_s = retry_after_s(
            attempts,
            first_s=patience.first_s,
            longest_s=patience.longest_s,
            jitter=random.random(),  # noqa: S311 - jitter
        )
        await self._store.failed(delivery, error, retry_after_s=pause_s)
        return None

    async def _do_chores(self) -> None:
        await self._store.purge(kept_days=self._patience.dead_letters_kept_days)
        counts = await self._store.counts()
        self._metrics.deliveries_waiting(pending=counts.pending, dead=counts.dead)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("deliveries broke", error=str(error).strip() or type(error).__name__)

    @property
    def _lease_s(self) -> float:
        return self._endpoint.timeout_s + LEASE_GRACE_S
