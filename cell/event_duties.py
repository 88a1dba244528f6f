"""What a cell does with its events: relays to webhooks and to the broker, delivery, and their order over moves.

Each has a connection of its own, so that no event ever waits for money or money for an event.
"""

from collections.abc import Awaitable, Callable

from cell.background.broker_sink import BrokerSink
from cell.background.courier import Courier, Patience
from cell.background.duty import Duty, DutyMetrics
from cell.background.endpoint import Endpoint
from cell.background.relay import EventSink, Relay
from cell.background.webhook_sink import WebhookSink
from cell.cell_tokens import CellTokens
from cell.event_order import EventOrder
from cell.peer_events import PeerEvents
from cell.settings import Settings
from cell.store.deliveries import DeliveryStore
from cell.store.event_waits import EventWaits
from cell.store.events import EventStore, Sink
from cell.store.moves.sessions import Sessions
from cell.store.own_connection import OwnConnection
from cell.telemetry.event_metrics import EventMetrics
from contract.configuration import CellConfiguration


class EventDuties:
    def __init__(
        self,
        settings: Settings,
        *,
        configuration: Callable[[], CellConfiguration | None],
        metrics: EventMetrics,
        duty_metrics: DutyMetrics,
        tokens: CellTokens,
    ) -> None:
        self._settings = settings
        self._database_url = settings.database_url.get_secret_value()
        self._metrics = metrics
        self._duty_metrics = duty_metrics
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.order = EventOrder(
            EventWaits(Sessions(self._database_url)),
            cell_id=settings.id,
            peers=PeerEvents(tokens),
            configuration=configuration,
            metrics=metrics,
        )
        self._closing.append(self.order.close)
        learning = self._delivery_store("events-webhooks-known")
        self.duties = [
            self._relay("webhooks", WebhookSink(cell_id=settings.id, store=learning, configuration=configuration)),
            self._courier(),
            self._order(),
        ]
        if settings.broker_url:
            broker = BrokerSink(cell_id=settings.id, url=settings.broker_url)
            self._closing.append(broker.close)
            self.duties.append(self._relay("broker", broker))

    async def stop(self) -> None:
        """After the duties have ended."""
        for close in self._closing:
            await close()

    def _relay(self, sink_name: Sink, sink: EventSink) -> tuple[str, Duty]:
        store = EventStore(OwnConnection(self._database_url, name=f"events-{sink_name}"), sink=sink_name)
        self._closing.append(store.close)
        relay = Relay(store=store, sink=sink, name=sink_name, metrics=self._metrics)
        return self._duty(f"relay-{sink_name}", relay.round)

    def _courier(self) -> tuple[str, Duty]:
        settings = self._settings
        endpoint = Endpoint(timeout_s=settings.webhook_timeout_ms / 1_000, may_be_local=settings.webhooks_may_be_local)
        courier = Courier(
            store=self._delivery_store("events-courier"),
            endpoint=endpoint,
            patience=Patience(
                attempts_max=settings.webhook_attempts_max,
                first_s=settings.webhook_retry_first_ms / 1_000,
                longest_s=settings.webhook_retry_longest_s,
                concurrency=settings.webhook_concurrency,
                concurrency_per_webhook=settings.webhook_concurrency_each,
                dead_letters_kept_days=settings.dead_letters_kept_days,
            ),
            metrics=self._metrics,
        )
        self._closing[:0] = [courier.stop, endpoint.close]
        return self._duty("webhook-delivery", courier.round)

    def _order(self) -> tuple[str, Duty]:
        has_broker = bool(self._settings.broker_url)
        duty = self.order.duty(database_url=self._database_url, has_broker=has_broker, metrics=self._duty_metrics)
        return "event-order", duty

    def _duty(self, name: str, work: Callable[[], Awaitable[None]]) -> tuple[str, Duty]:
        period_s = self._settings.relay_period_ms / 1_000
        return name, Duty(
            database_url=self._database_url, name=name, period_s=period_s, work=work, metrics=self._duty_metrics
        )

    def _delivery_store(self, name: str) -> DeliveryStore:
        store = DeliveryStore(OwnConnection(self._database_url, name=name))
        self._closing.append(store.close)
        return store
