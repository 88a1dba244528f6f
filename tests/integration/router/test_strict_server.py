"""What two readers could understand differently is refused, byte by byte at the socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from raw_http import RawAnswer, RawConnection, connect
from router_under_test import RouterUnderTest, running_router, wait_until
from signed_directory import Signer, directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell

from router import strict_server
from router.strict_server import HEAD_MAX_BYTES, TARGET_MAX_BYTES, StrictProtocol

pytestmark = pytest.mark.asyncio(loop_scope="module")

Connect = Callable[[], Awaitable[RawConnection]]

HOST = b"Host: router\r\n"
JSON = b"Authorization: Bearer token\r\nContent-Type: application/json\r\n"


class Entrance:
    def __init__(self, cell: StandInCell, router: RouterUnderTest, wallet: str) -> None:
        self.cell = cell
        self.router = router
        self.path = f"/v1/wallets/{wallet}".encode()

    def get(self, *lines: bytes, target: bytes | None = None, version: bytes = b"HTTP/1.1") -> bytes:
        return b"GET %b %b\r\n%b%b\r\n" % (target or self.path, version, HOST, b"".join(lines))

    def post(self, rest: bytes) -> bytes:
        return b"POST %b/debit HTTP/1.1\r\n%b%b%b" % (self.path, HOST, JSON, rest)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Entrance]:
    """One router for all these tests: what is refused leaves nothing behind."""
    cell = StandInCell("a")
    await cell.start()
    document = directory_document({"a": [cell.url]})
    async with running_router(tmp_path_factory.mktemp("strict"), Signer(), document=document) as router:
        yield Entrance(cell, router, wallet_in(document, "a"))
    await cell.kill()


@pytest.fixture
def entrance(running: Entrance) -> Entrance:
    running.cell.seen.clear()
    running.cell.script = running.cell.echo
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def connected(entrance: Entrance) -> AsyncIterator[Connect]:
    opened: list[RawConnection] = []

    async def open_one() -> RawConnection:
        opened.append(await connect(entrance.router.port))
        return opened[-1]

    yield open_one
    for connection in opened:
        await connection.close()


async def refused(connection: RawConnection, reason: str) -> RawAnswer:
    """A problem document, and then the end of the connection."""
    answer = await connection.answer()
    assert answer is not None
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.document["reason"], answer.document["status"]) == (reason, answer.status)
    assert answer.document["request_id"] == answer.headers["x-request-id"]
    assert await connection.is_ended()
    return answer


@pytest.mark.parametrize(
    "target",
    [
        b"http://router/v1/wallets", b"https://evil/v1/wallets?x", b"*", b"/v1/wallets#f", b"/v1/wallets?a#f",
        b"/v1/" + b"x" * TARGET_MAX_BYTES, b"/v1/wallets?" + b"x" * TARGET_MAX_BYTES,
    ],
    ids=["absolute", "absolute tls", "asterisk", "fragment", "fragment in query", "long path", "long query"],
)  # fmt: skip
async def test_only_a_plain_target_is_read(entrance: Entrance, connected: Connect, target: bytes) -> None:
    connection = await connected()
    await connection.send(entrance.get(b"X-Request-Id: my-id\r\n", target=target))
    assert (await refused(connection, "path_must_be_well_formed")).headers["x-request-id"] == "my-id"
    assert entrance.cell.seen == []


async def test_nobody_is_connected_through(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    await connection.send(b"CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n")
    await refused(connection, "path_must_be_well_formed")


HEADS = {
    "no host": b"GET {p} HTTP/1.1\r\n\r\n",
    "two hosts": b"GET {p} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "http 0.9": b"GET {p}\r\n\r\n",
    "http 2.0": b"GET {p} HTTP/2.0\r\nHost: a\r\n\r\n",
    "http 1.2": b"GET {p} HTTP/1.2\r\nHost: a\r\n\r\n",
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": b"FETCH {p} HTTP/1.1\r\nHost: a\r\n\r\n",
    "small method": b"get {p} HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare line feeds": b"GET {p} HTTP/1.1\nHost: a\n\n",
    "folded": b"GET {p} HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "blank before colon": b"GET {p} HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
    "nul": b"GET {p} HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n",
    "control": b"GET {p} HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n",
    "carriage return": b"GET {p} HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
    "no name": b"GET {p} HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "bad name": b"GET {p} HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n",
    "blank in target": b"GET {p} x HTTP/1.1\r\nHost: a\r\n\r\n",
    "high byte in target": b"GET {p}\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "websocket": b"GET {p} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c": b"GET {p} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("raw", HEADS.values(), ids=HEADS)
async def test_a_head_that_is_not_as_it_must_be_written(entrance: Entrance, connected: Connect, raw: bytes) -> None:
    connection = await connected()
    refused_before = (await entrance.router.figures())["router_malformed_requests_total"]
    await connection.send(raw.replace(b"{p}", entrance.path))
    await refused(connection, "request_must_be_well_formed")
    assert entrance.cell.seen == []
    assert (await entrance.router.figures())["router_malformed_requests_total"] == refused_before + 1


SMUGGLED = b"GET /v1/wallets/00000000-0000-4000-8000-000000000000 HTTP/1.1\r\nHost: a\r\n\r\n"
BODIES = {
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "list of lengths": b"Content-Length: 5, 5\r\n\r\nhello",
    "signed length": b"Content-Length: +5\r\n\r\nhello",
    "negative length": b"Content-Length: -5\r\n\r\nhello",
    "hexadecimal length": b"Content-Length: 0x5\r\n\r\nhello",
    "endless length": b"Content-Length: 99999999999999999999999\r\n\r\nhello",
    "empty length": b"Content-Length: \r\n\r\nhello",
    "identity": b"Transfer-Encoding: identity\r\n\r\nhello",
    "gzip": b"Transfer-Encoding: gzip\r\n\r\nhello",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "blank before colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunk of no size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "chunk of negative size": b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "chunk of endless size": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "chunk longer than its size": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    "chunks with bare line feeds": b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
    "trailers": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Unit-Epoch: 9\r\n\r\n",
    "upgrade with a body": b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("rest", BODIES.values(), ids=BODIES)
async def test_a_body_whose_end_is_in_doubt(entrance: Entrance, connected: Connect, rest: bytes) -> None:
    """And nothing behind it is taken for another request."""
    connection = await connected()
    await connection.send(entrance.post(rest) + SMUGGLED)
    await refused(connection, "request_must_be_well_formed")
    assert entrance.cell.seen == []


async def test_chunked_with_the_old_version(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    raw = entrance.post(b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    await connection.send(raw)
    await refused(connection, "request_must_be_well_formed")


GOOD = {
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;name=text\r\nlo\r\n0\r\n\r\n",
    "length": b"Content-Length: 5\r\n\r\nhello",
    "expectation": b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "line feeds behind": b"Content-Length: 5\r\n\r\nhello\r\n",
}


@pytest.mark.parametrize("rest", GOOD.values(), ids=GOOD)
async def test_what_is_well_formed_passes_and_the_connection_stays(
    entrance: Entrance, connected: Connect, rest: bytes
) -> None:
    connection = await connected()
    for _ in range(2):
        await connection.send(entrance.post(rest))
        answer = await connection.answer()
        assert answer is not None
        assert (answer.status, answer.document["body"]) == (200, "hello")
    assert entrance.cell.seen[0].header("expect") is None


async def test_the_old_version_is_answered_and_closed(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    await connection.send(b"GET %b HTTP/1.0\r\n\r\n" % entrance.path)
    answer = await connection.answer()
    assert answer is not None
    assert answer.status == 200
    assert await connection.is_ended()


async def test_bytes_may_come_one_by_one(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    for byte in entrance.post(b"Content-Length: 5\r\n\r\nhello"):
        await connection.send(bytes([byte]))
    answer = await connection.answer()
    assert answer is not None
    assert answer.document["body"] == "hello"


async def test_an_endless_head_is_cut_off(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    await connection.send(b"GET %b HTTP/1.1\r\n%bX: " % (entrance.path, HOST))
    for _ in range(HEAD_MAX_BYTES // 4_096 + 1):
        await connection.send(b"x" * 4_096)
        await asyncio.sleep(0)
    await refused(connection, "request_must_be_well_formed")


@pytest.mark.parametrize("behind", [SMUGGLED, b"GARBAGE\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
async def test_what_comes_before_the_answer_is_not_read(entrance: Entrance, connected: Connect, behind: bytes) -> None:
    """The first request is answered as itself, whatever stands behind it; then the connection ends."""
    release = asyncio.Event()

    async def wait(seen: Seen) -> Reply:
        await release.wait()
        return await entrance.cell.echo(seen)

    entrance.cell.script = wait
    connection = await connected()
    await connection.send(entrance.post(b"Content-Length: 5\r\n\r\nhello") + behind)
    await wait_until(lambda: entrance.cell.in_flight == 1)
    release.set()
    answer = await connection.answer()
    assert answer is not None
    assert (answer.status, answer.document["body"], answer.headers["connection"]) == (200, "hello", "close")
    assert await connection.is_ended()
    assert len(entrance.cell.seen) == 1


async def test_bad_chunks_late_in_a_body_are_refused_too(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    await connection.send(entrance.post(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
    await asyncio.sleep(0)
    await connection.send(b"zz\r\n")
    await refused(connection, "request_must_be_well_formed")
    assert entrance.cell.seen == []


async def test_an_overlong_body_is_read_and_the_connection_stays(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    for framing in (b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000,
                    b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"):  # fmt: skip
        await connection.send(entrance.post(framing))
        answer = await connection.answer()
        assert answer is not None
        assert (answer.status, answer.document["reason"]) == (413, "body_must_fit")
    await connection.send(entrance.post(b"Content-Length: 5\r\n\r\nhello"))
    answer = await connection.answer()
    assert answer is not None
    assert answer.status == 200


async def test_an_announced_flood_is_not_read(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    await connection.send(entrance.post(b"Content-Length: 99999999999\r\n\r\n"))
    await refused(connection, "body_must_fit")


async def test_an_unannounced_flood_is_cut_off(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    await connection.send(entrance.post(b"Transfer-Encoding: chunked\r\n\r\n"))
    try:
        for _ in range(64):
            await connection.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    except ConnectionError:
        pass  # the router has stopped listening, which is what is asked of it
    answer = await connection.answer()
    assert answer is None or answer.status == 413
    assert entrance.cell.seen == []


@pytest.mark.parametrize("sent", [b"", b"GET /v1/wal"])
async def test_a_request_that_does_not_arrive_is_not_waited_for(
    entrance: Entrance, connected: Connect, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(strict_server, "ARRIVAL_MAX_S", 0.05)
    connection = await connected()
    await connection.send(sent)
    if sent:
        await refused(connection, "deadline_must_not_pass")
    else:
        assert await connection.is_ended()


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    entrance: Entrance, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict_server, "ARRIVAL_MAX_S", 0.05)
    connection = await connected()
    await connection.send(entrance.post(b"Content-Length: 5\r\n\r\nhel"))
    await refused(connection, "deadline_must_not_pass")
    assert entrance.cell.seen == []


async def test_a_vendor_who_leaves_in_the_middle_reaches_no_cell(entrance: Entrance, connected: Connect) -> None:
    connection = await connected()
    await connection.send(entrance.post(b"Content-Length: 5\r\n\r\nhel"))
    await connection.close()
    assert (await entrance.router.get(entrance.path.decode())).status_code == 200
    assert len(entrance.cell.seen) == 1


async def check_trailers(entrance: Entrance, connection: RawConnection) -> None:
    await connection.send(entrance.post(BODIES["trailers"]))
    await refused(connection, "request_must_be_well_formed")


async def check_targets(entrance: Entrance, connection: RawConnection) -> None:
    await connection.send(entrance.get(b"Connection: close\r\n", target=b"http://evil" + entrance.path))
    await refused(connection, "path_must_be_well_formed")


async def check_hosts(entrance: Entrance, connection: RawConnection) -> None:
    await connection.send(entrance.get(HOST, b"Connection: close\r\n"))
    await refused(connection, "request_must_be_well_formed")


def _believe_trailers(self: StrictProtocol, name: bytes, text: bytes) -> None:
    self.headers.append((name.lower(), text))


@pytest.mark.parametrize(
    ("where", "name", "instead", "check"),
    [
        (StrictProtocol, "on_header", _believe_trailers, check_trailers),
        (strict_server, "_flaw_of_target", lambda _: None, check_targets),
        (StrictProtocol, "_flaw_of_head", lambda _: None, check_hosts),
    ],
)
async def test_mutant_without_the_check_is_found(
    entrance: Entrance, connected: Connect, monkeypatch: pytest.MonkeyPatch, where: object, name: str, instead: object,
    check: Callable[[Entrance, RawConnection], Awaitable[None]],
) -> None:  # fmt: skip
    await check(entrance, await connected())
    monkeypatch.setattr(where, name, instead)
    with pytest.raises(AssertionError):
        await check(entrance, await connected())
