"""Where a delivery connects to: the address that a name has in that moment, and no private one."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from receiver import Receiver

from cell.background.endpoint import Endpoint

BODY = b"{}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def sent(url: str, *addresses: str, may_be_local: bool = False) -> str | None:
    async def resolve(_: str, __: int) -> list[str]:
        return list(addresses)

    endpoint = Endpoint(timeout_s=5.0, may_be_local=may_be_local, resolve=resolve)
    try:
        return await endpoint.send(url, {}, BODY)
    finally:
        await endpoint.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"])
async def test_a_public_name_with_a_private_address_is_not_connected_to(address: str) -> None:
    connected: list[object] = []
    listener = await asyncio.start_server(lambda *pair: connected.append(pair), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = f"https://vendor.example:{port}/"
    assert await sent(url, address) == "vendor.example resolves to an address that is not public"
    assert await sent(url, "1.1.1.1", address) == "vendor.example resolves to an address that is not public"
    assert connected == []
    listener.close()


async def test_where_it_may_be_local_the_same_name_is_connected_to() -> None:
    """Only TLS fails then: who listens hangs up."""
    connected: list[asyncio.StreamReader] = []

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(reader)
        writer.transport.abort()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    told = await sent(f"https://vendor.example:{port}/", "127.0.0.1", may_be_local=True)
    assert told is not None
    assert "not public" not in told
    assert len(connected) == 1
    listener.close()


async def test_the_text_of_the_url_is_looked_at_again(receiver: Receiver) -> None:
    """A webhook that was made while more was allowed."""
    assert await sent(receiver.url, "127.0.0.1") == "the URL must begin with https://"
    assert await sent("https://127.0.0.1/", "127.0.0.1") is not None
    assert receiver.got == []
    assert await sent(receiver.url, "127.0.0.1", may_be_local=True) is None
    assert receiver.got[0].headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_nobody_there_and_no_such_name_are_told(receiver: Receiver) -> None:
    assert "no address" in str(await sent("https://vendor.example/"))
    real = Endpoint(timeout_s=5.0, may_be_local=True)
    assert "cannot be resolved" in str(await real.send("https://vendor.invalid/", {}, BODY))
    await real.close()
    port = receiver.port
    await receiver.__aexit__()
    assert "ConnectError" in str(await sent(f"http://127.0.0.1:{port}/", "127.0.0.1", may_be_local=True))
