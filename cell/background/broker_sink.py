"""The sink of the broker: every event of the cell in a NATS JetStream stream, for what the platform itself builds from
events.

Subject `cellwallet.<cell>.entries.<wallet_id>`. The broker drops repetitions by their message id (the event's identity)
within its window; later ones are recognised by (wallet_id, seq, entry_hash), as everywhere.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import nats
import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from cell.api.translate import entry_answer_of
from cell.background.relay import Line
from cell.events.event import envelope, event_id
from cell.store.events import NewDelivery, StoredEvent

MESSAGE_ID = "Nats-Msg-Id"
REPETITIONS_KNOWN = timedelta(minutes=10)
"""How long the broker recognises a repetition; a relay that takes over does so within seconds."""
LINES_AT_ONCE_MAX = 256
"""Wallets whose events are on their way together; those of one wallet wait for one another."""
PUBLISH_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3


class BrokerMustTakeError(OSError):
    """The broker is not there or does not store: the same events are offered again in the next round."""


class BrokerSink:
    begins_with_the_log = True

    def __init__(self, *, cell_id: str, url: str) -> None:
        self._cell_id = cell_id
        self._url = url
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None

    async def is_listening(self) -> bool:
        return True

    async def take(self, told: Sequence[Line]) -> Sequence[NewDelivery]:
        """Return when the broker has stored all of them.

        Raises:
            BrokerMustTakeError: it has not.

        """
        room = asyncio.Semaphore(LINES_AT_ONCE_MAX)
        try:
            stream = self._stream or await self._connect()
            async with asyncio.TaskGroup() as lines:
                for line in told:
                    lines.create_task(self._publish(stream, line, room))
        except* (NatsError, TimeoutError, OSError) as errors:
            await self.close()
            first = errors.exceptions[0]
            raise BrokerMustTakeError(f"the broker did not take events: {first!r}") from first
        return ()

    async def close(self) -> None:
        client, self._client, self._stream = self._client, None, None
        if client is not None:
            await client.close()

    async def _publish(self, stream: JetStreamContext, line: Line, room: asyncio.Semaphore) -> None:
        async with room:
            for entry in line:
                await stream.publish(
                    f"cellwallet.{self._cell_id}.entries.{entry.wallet_id}",
                    self._message(entry),
                    timeout=PUBLISH_TIMEOUT_S,
                    headers={MESSAGE_ID: event_id(entry)},
                )

    def _message(self, entry: StoredEvent) -> bytes:
        """With all details: whoever may read the stream belongs to the platform."""
        return orjson.dumps(envelope(entry, entry_answer_of(entry, shows_details=True), cell=self._cell_id))

    async def _connect(self) -> JetStreamContext:
        self._client = await nats.connect(
            self._url,
            name=f"cell {self._cell_id}",
            allow_reconnect=False,
            connect_timeout=CONNECT_TIMEOUT_S,
            error_cb=_say_nothing,
        )
        stream = self._client.jetstream()
        name, subjects = f"cellwallet-{self._cell_id}", [f"cellwallet.{self._cell_id}.>"]
        try:
            await stream.stream_info(name)
        except NotFoundError:
            await stream.add_stream(
                StreamConfig(name=name, subjects=subjects, duplicate_window=REPETITIONS_KNOWN.total_seconds())
            )
        self._stream = stream
        return stream


async def _say_nothing(_: Exception) -> None:
    """What goes wrong is raised where it is waited for."""
