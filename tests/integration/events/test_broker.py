"""Every event of the cell in a real NATS JetStream: in order, once within its window, again when it was away."""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
from cell_waiting import until
from event_log import EventLog, relay_of
from nats.errors import TimeoutError as NatsTimeoutError

from cell.background.broker_sink import BrokerMustTakeError, BrokerSink
from cell.store.events import EventStore

SERVER = shutil.which("nats-server", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

pytestmark = pytest.mark.skipif(SERVER is None, reason="nats-server is not installed: apt-get install nats-server")


class Broker:
    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        assert SERVER is not None
        command = [SERVER, "-js", "-a", "127.0.0.1", "-p", str(self._port), "-sd", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    async def is_up(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
async def sink(broker: Broker) -> AsyncIterator[BrokerSink]:
    await until(broker.is_up)
    sink = BrokerSink(cell_id="cell-a", url=broker.url)
    yield sink
    await sink.close()


async def stored(broker: Broker) -> list[tuple[str, str, int]]:
    """(subject, message id, seq) of everything in the stream, in its order."""
    client = await nats.connect(broker.url)
    try:
        subscription = await client.jetstream().subscribe("cellwallet.cell-a.>", ordered_consumer=True)
        found = []
        try:
            while True:
                message = await subscription.next_msg(timeout=0.5)
                assert message.headers is not None
                found.append((message.subject, message.headers["Nats-Msg-Id"], json.loads(message.data)["seq"]))
        except NatsTimeoutError:
            return found
    finally:
        await client.close()


async def test_every_event_is_in_the_stream_in_order(
    log: EventLog, store: EventStore, broker: Broker, sink: BrokerSink
) -> None:
    wallets = [log.wallet() for _ in range(3)]
    for _ in range(5):
        for wallet in wallets:
            log.post(wallet)
    await relay_of(store, sink).round()
    found = await stored(broker)
    assert len(found) == 15
    for wallet in wallets:
        of_wallet = [(told, seq) for subject, told, seq in found if subject == f"cellwallet.cell-a.entries.{wallet}"]
        assert [seq for _, seq in of_wallet] == [1, 2, 3, 4, 5]
        assert all(told.startswith(f"{wallet}:{seq}:") for told, seq in of_wallet)


async def test_a_repetition_is_dropped(log: EventLog, store: EventStore, broker: Broker, sink: BrokerSink) -> None:
    """The mark is lost after publishing, as when the holder dies in between."""
    wallet = log.wallet()
    log.post(wallet)
    relay = relay_of(store, sink)
    await relay.round()
    log.database.sql("DELETE FROM event_cursors")
    log.database.sql("UPDATE relay_marks SET next_xid = '1'")
    log.post(wallet)
    await relay.round()
    assert [seq for _, _, seq in await stored(broker)] == [1, 2]


async def test_what_the_broker_missed_comes_when_it_is_back(
    log: EventLog, store: EventStore, broker: Broker, sink: BrokerSink
) -> None:
    wallet, relay = log.wallet(), relay_of(store, sink)
    log.post(wallet)
    await relay.round()
    broker.stop()
    log.post(wallet)
    with pytest.raises(BrokerMustTakeError):
        await relay.round()
    broker.start()
    await until(broker.is_up)

    async def taken() -> bool:
        try:
            await relay.round()
        except BrokerMustTakeError:
            return False
        return True

    await until(taken)
    assert [seq for _, _, seq in await stored(broker)] == [1, 2]
