"""One process's side of webhooks: the relay and the courier over a cell's database, driven round by round."""

from typing import Any

from cell_databases import CellDatabase
from event_log import event_metrics, event_store, relay_of

from cell.background.courier import Courier, Patience
from cell.background.endpoint import Endpoint
from cell.background.relay import Relay
from cell.background.webhook_sink import WebhookSink
from cell.store.deliveries import DeliveryStore
from cell.store.own_connection import OwnConnection
from contract.configuration import CellConfiguration, Webhook, WebhookSecret
from contract.webhooks import secret_of

SECRET = secret_of(bytes([1]) * 32)
HOOK = "00000000-0000-4000-8000-000000000001"


def webhook(url: str, *, vendor: str = "acme", hook: str = HOOK, secrets: Any = None, **fields: Any) -> Webhook:
    return Webhook(id=hook, vendor_id=vendor, url=url, secrets=secrets or (WebhookSecret(secret=SECRET),), **fields)


class Side:
    def __init__(
        self, database: CellDatabase, *, cell_id: str = "cell-a", relay: type[Relay] = Relay, **patience: Any
    ) -> None:
        self.configuration: CellConfiguration | None = None
        self.stores = [DeliveryStore(OwnConnection(database.app_url, name="test")) for _ in range(2)]
        self.log = event_store(database, "webhooks")
        sink = WebhookSink(cell_id=cell_id, store=self.stores[0], configuration=lambda: self.configuration)
        self.relay: Relay = relay_of(self.log, sink, kind=relay)
        self.endpoint = Endpoint(timeout_s=patience.pop("timeout_s", 5.0), may_be_local=True)
        usual = {"attempts_max": 3, "first_s": 0.01, "longest_s": 0.02, "concurrency": 16}
        more = {"concurrency_per_webhook": 8, "dead_letters_kept_days": 30}
        self.courier = Courier(
            store=self.stores[1],
            endpoint=self.endpoint,
            patience=Patience(**{**usual, **more, **patience}),
            metrics=event_metrics(),
        )

    def configure(self, *webhooks: Webhook, version: int = 1) -> None:
        self.configuration = CellConfiguration(
            cell="cell-a", version=version, issued_at="2027-01-15T08:00:00Z", jwks={"keys": []}, webhooks=webhooks
        )

    async def rounds(self) -> None:
        await self.relay.round()
        await self.courier.round()

    async def stop(self) -> None:
        await self.courier.stop()
        await self.endpoint.close()
        for store in self.stores:
            await store.close()
        await self.log.close()
