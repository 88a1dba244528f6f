"""The sink of webhooks: who is to get an event, and in which words. Nothing is sent here; the courier does that.

Deliveries are stored in the transaction that moves the relay's mark: an event is handed over exactly once, and lost
never, whatever becomes of the process.
"""

from collections.abc import Callable, Sequence

import orjson

from cell.api.translate import entry_answer_of
from cell.background.relay import Line
from cell.events.event import envelope, event_type, receivers, shows_details
from cell.store.deliveries import DeliveryStore
from cell.store.events import NewDelivery, StoredEvent
from contract.configuration import CellConfiguration, Webhook


class WebhookSink:
    begins_with_the_log = False

    def __init__(
        self, *, cell_id: str, store: DeliveryStore, configuration: Callable[[], CellConfiguration | None]
    ) -> None:
        self._cell_id = cell_id
        self._store = store
        self._configuration = configuration
        self._told_version = 0
        self._webhooks: tuple[Webhook, ...] = ()

    async def is_listening(self) -> bool:
        configuration = self._configuration()
        if configuration is not None and configuration.version != self._told_version:
            await self._store.learn(configuration.webhooks, version=configuration.version)
            self._told_version = configuration.version
        self._webhooks = await self._store.known()
        return bool(self._webhooks)

    async def take(self, told: Sequence[Line]) -> Sequence[NewDelivery]:
        return [
            self._delivery(entry, webhook)
            for line in told
            for entry in line
            for webhook in receivers(entry, self._webhooks)
        ]

    def _delivery(self, entry: StoredEvent, webhook: Webhook) -> NewDelivery:
        answer = entry_answer_of(entry, shows_details=shows_details(entry, webhook))
        return NewDelivery(
            webhook_id=webhook.id,
            wallet_id=entry.wallet_id,
            seq=entry.seq,
            entry_hash=entry.hash,
            vendor_id=webhook.vendor_id,
            type=event_type(entry),
            occurred_at=entry.posted_at,
            body=orjson.dumps(envelope(entry, answer, cell=self._cell_id)).decode(),
        )
