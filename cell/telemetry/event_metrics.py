"""The figures of events: how far behind each sink is, what became of deliveries."""

from typing import Final, Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

Result = Literal["delivered", "failed", "dead"]
RESULTS: Final[tuple[Result, ...]] = ("delivered", "failed", "dead")


class LagFigures(Protocol):
    @property
    def entries(self) -> int: ...
    @property
    def oldest_s(self) -> float: ...


class EventMetrics:
    """Only the process that has the duty knows them; in the others they stand still."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._published = Counter("cell_events_published", "Entries handed to a sink", ["sink"], registry=registry)
        self._waiting = Gauge("cell_events_waiting", "Entries not yet published", ["sink"], registry=registry)
        self._oldest = Gauge(
            "cell_events_oldest_seconds", "Age of the oldest entry not yet published", ["sink"], registry=registry
        )
        deliveries = Counter("cell_webhook_deliveries", "Attempts by their result", ["result"], registry=registry)
        self._deliveries = {result: deliveries.labels(result) for result in RESULTS}
        self._pending = Gauge("cell_webhook_pending", "Events on their way to webhooks", registry=registry)
        self._dead = Gauge("cell_webhook_dead_letters", "Events that no attempt could deliver", registry=registry)
        self._kept_back = Gauge(
            "cell_events_kept_back_wallets", "Wallets whose events wait for the cell before", registry=registry
        )
        self._kept_back_s = Gauge("cell_events_kept_back_seconds", "How long the oldest have waited", registry=registry)

    def published(self, sink: str, entries: int) -> None:
        self._published.labels(sink).inc(entries)

    def lag(self, sink: str, lag: LagFigures) -> None:
        self._waiting.labels(sink).set(lag.entries)
        self._oldest.labels(sink).set(lag.oldest_s)

    def kept_back(self, *, wallets: int, oldest_s: float) -> None:
        self._kept_back.set(wallets)
        self._kept_back_s.set(oldest_s)

    def delivery(self, result: Result) -> None:
        self._deliveries[result].inc()

    def deliveries_waiting(self, *, pending: int, dead: int) -> None:
        self._pending.set(pending)
        self._dead.set(dead)
