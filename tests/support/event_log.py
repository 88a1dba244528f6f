"""A cell's log written by hand, by transactions that a test ends when it likes; and sinks that listen."""

import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from cell_databases import CellDatabase
from psycopg import Connection

from cell.background.relay import EventSink, Line, Relay
from cell.store.events import EventStore, NewDelivery, Sink
from cell.store.own_connection import OwnConnection
from cell.telemetry import Metrics
from cell.telemetry.event_metrics import EventMetrics

Rows = Connection[tuple[Any, ...]]

OPEN_WALLET = """
INSERT INTO wallets (wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit,
                     seq, head_hash, opened_at, posted_at, metadata)
VALUES (%s, 1, 'person', %s, 'main', 'EUR', 'active', 0, 0, 0, 0, '', now(), %s, '{}')
"""

POST = """
INSERT INTO entries (wallet_id, posted_at, seq, kind, amount, held_delta, balance_after, held_after,
                     overdraft_limit_after, status_after, transaction_id, vendor_id, counter_account, subject_id,
                     subject_vendor_id, sealed, details, hash)
VALUES (%s, %s, %s, %s, 5, 0, 5, 0, 0, 'active', %s, %s, 'clearing:acme', %s, %s, %s, %s, %s)
"""


class EventLog:
    """Wallets whose entries follow one another by a microsecond."""

    def __init__(self, database: CellDatabase) -> None:
        self.database = database
        self._instants = itertools.count(1)
        self._seqs: dict[str, int] = {}
        self._begun = datetime.now(UTC)

    def wallet(self) -> str:
        wallet_id = str(uuid.uuid4())
        self.database.sql(OPEN_WALLET, wallet_id, wallet_id, self._begun)
        return wallet_id

    def post(self, wallet_id: str, *, on: Rows | None = None, vendor: str = "acme", **fields: Any) -> int:
        """The seq of a new entry of the wallet, within the transaction of `on` or committed."""
        with self._connection(on) as connection:
            seq = self._seqs.get(wallet_id, 0) + 1
            self._seqs[wallet_id] = seq
            posted_at = self._begun + timedelta(microseconds=next(self._instants))
            digest = hashlib.sha256(f"{wallet_id}:{seq}".encode()).digest()
            connection.execute("SELECT FROM wallets WHERE wallet_id = %s FOR UPDATE", (wallet_id,))
            connection.execute(
                POST,
                (
                    wallet_id,
                    posted_at,
                    seq,
                    fields.get("kind", "credit"),
                    uuid.uuid4(),
                    vendor,
                    fields.get("subject_id"),
                    fields.get("subject_vendor_id"),
                    digest,
                    fields.get("details", '{"description":"secret to others"}'),
                    digest,
                ),
            )
            connection.execute(
                "UPDATE wallets SET seq = %s, posted_at = %s WHERE wallet_id = %s", (seq, posted_at, wallet_id)
            )
        return seq

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        with self.database.transaction() as connection:
            yield connection

    @contextmanager
    def _connection(self, on: Rows | None) -> Iterator[Rows]:
        if on is not None:
            yield on
            return
        with psycopg.connect(self.database.url()) as connection:
            yield connection


class Listener:
    """A sink that remembers, and that can be made to fail."""

    begins_with_the_log = True

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.is_on = True
        self.before: Callable[[], None] = lambda: None

    async def is_listening(self) -> bool:
        return self.is_on

    async def take(self, told: Sequence[Line]) -> Sequence[NewDelivery]:
        self.before()
        self.heard += [(entry.wallet_id, entry.seq) for line in told for entry in line]
        return ()

    def of(self, wallet_id: str) -> list[int]:
        return [seq for heard, seq in self.heard if heard == wallet_id]


def event_metrics() -> EventMetrics:
    return EventMetrics(Metrics(cell_id="cell-a", zone="zone-1", software_version="1").registry)


def event_store(database: CellDatabase, sink: Sink = "broker", kind: type[EventStore] = EventStore) -> EventStore:
    return kind(OwnConnection(database.app_url, name=f"relay-{sink}"), sink=sink)


def relay_of(store: EventStore, sink: EventSink, *, kind: type[Relay] = Relay, **sizes: int) -> Relay:
    return kind(store=store, sink=sink, name="broker", metrics=event_metrics(), **sizes)
