"""Anything at all on the socket: every answer is well formed, nothing strange reaches a cell, the router lives on."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_under_test import running_router
from signed_directory import Signer, directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell

EXAMPLES = 200
PATIENCE_S = 0.03
"""For an answer to bytes that need not be a whole request; a whole one is waited for in `is_alive`."""

WALLET_TARGET = re.compile(r"/v1/wallets/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[a-z0-9-]+){0,3}(\?[!\"$-~]*)?")
OTHER_TARGET = re.compile(
    r"/v1/owners/[a-z][a-z0-9_]{0,31}/[^/]+/wallets(\?[!\"$-~]*)?|/v1/(checkpoints|keys)(\?.*)?|/docs(\?.*)?|/openapi\.json(\?.*)?"
)
TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


@dataclass
class Entrance:
    port: int
    cell: StandInCell
    path: str


@pytest.fixture(scope="module")
def entrance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entrance]:
    """A router on an event loop of its own, because hypothesis asks from a plain function."""
    found: list[Entrance] = []
    is_up, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run(folder: Path) -> None:
        loops.append(asyncio.get_running_loop())
        cell, signer = StandInCell("a", no_wallets), Signer()
        await cell.start()
        document = directory_document({"a": [cell.url]})
        async with running_router(folder, signer, document=document) as router:
            found.append(Entrance(port=router.port, cell=cell, path=f"/v1/wallets/{wallet_in(document, 'a')}"))
            is_up.set()
            await stop.wait()
        await cell.kill()

    thread = threading.Thread(target=lambda: asyncio.run(run(tmp_path_factory.mktemp("fuzz"))))
    thread.start()
    assert is_up.wait(10)
    yield found[0]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(10)
    assert not thread.is_alive()


async def no_wallets(_seen: Seen) -> Reply:
    return Reply(document={"wallets": []})


def exchange(entrance: Entrance, raw: bytes, *, patience_s: float = PATIENCE_S) -> bytes:
    """Everything that comes back until the connection ends or falls silent."""
    received = b""
    with socket.create_connection(("127.0.0.1", entrance.port)) as connection:
        connection.settimeout(patience_s)
        try:
            connection.sendall(raw)
            while piece := connection.recv(65_536):
                received += piece
        except (TimeoutError, ConnectionError):
            pass
    return received


def forget_the_past(entrance: Entrance) -> None:
    """What earlier bytes are still causing must not be taken for the effect of the next ones."""
    assert is_alive(entrance)
    for _ in range(1_000):
        if entrance.cell.in_flight == 0:
            break
        time.sleep(0.001)
    entrance.cell.seen = []


def is_alive(entrance: Entrance) -> bool:
    raw = f"GET {entrance.path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    return exchange(entrance, raw, patience_s=5.0).startswith(b"HTTP/1.1 200 ")


def check_answers(raw: bytes, received: bytes) -> None:
    """Whole answers with whole bodies; every "no" is a problem document and none blames the platform."""
    may_lack_bodies = b"HEAD" in raw
    while received:
        head, separator, rest = received.partition(b"\r\n\r\n")
        assert separator, received
        line, *lines = head.decode("latin-1").split("\r\n")
        status = int(line.split(" ")[1])
        if status < 200:
            received = rest
            continue
        headers = dict(one.lower().split(": ", 1) for one in lines)
        has_body = rest.startswith(b"{") or not may_lack_bodies
        length = int(headers["content-length"]) if has_body else 0
        body, received = rest[:length], rest[length:]
        assert status < 500 or (status == 504 and b"X-Deadline-Ms: 5\r\n" in raw), body
        if status >= 400:
            assert headers["content-type"] == "application/problem+json"
            assert not has_body or json.loads(body)["status"] == status
            assert headers["x-request-id"]


def check_what_the_cell_saw(entrance: Entrance, *, requests_max: int = 1) -> None:
    seen, entrance.cell.seen = entrance.cell.seen, []
    assert len(seen) <= requests_max, "something was cut out of something else"
    for request in seen:
        assert WALLET_TARGET.fullmatch(request.target) or OTHER_TARGET.fullmatch(request.target), request.target
        names = [name for name, _ in request.headers]
        assert all(TOKEN.fullmatch(name) for name in names), names
        assert not {"transfer-encoding", "connection", "te", "upgrade", "expect", "trailer"} & set(names)
        assert names.count("host") == names.count("x-forwarded-for") == names.count("x-request-id") == 1
        assert names.count("content-length") <= 1
        assert request.header("x-forwarded-for") == "127.0.0.1"
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request.header("x-request-id") or "")
        assert 1 <= int(request.header("x-deadline-ms") or 0) <= 30_000
        assert request.header("x-unit-epoch") in (None, "1")


WALLET = "9f0c3f64-5717-4562-b3fc-2c963f66afa6"
METHODS = st.sampled_from(
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PRI", "get", ""]
)
PIECES = st.sampled_from([
    "/v1", "/wallets", "/owners", f"/{WALLET}", f"/{WALLET.upper()}", "/balance", "/debit", "/holds", "/customer",
    "/c%2F1", "/docs", "/healthz", "/", "//", "/..", "/.", "/%2e%2e", "/%00", "%2f", "?", "?a=b", "#", ";", "\\", "*",
    "http://evil", ":80", "@", " ", "\t", "\x00", "\x7f", "\xff", "é",
])  # fmt: skip
TARGETS = st.one_of(
    st.lists(PIECES, min_size=1, max_size=6).map("".join),
    st.sampled_from(
        [f"/v1/wallets/{WALLET}", f"/v1/wallets/{WALLET}/debit", "/v1/wallets", "/v1/owners/customer/c-1/wallets"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=60),
)
LINES = st.one_of(
    st.sampled_from([
        "Host: a", "host: b", "Content-Length: 5", "Content-Length: 0", "content-length: 7", "Content-Length: 5,5",
        "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Transfer-Encoding : chunked", "Connection: close",
        "Connection: upgrade", "Connection: host, authorization, x-request-id", "Upgrade: h2c", "Expect: nothing",
        "Expect: 100-continue", "Content-Type: application/json", "Authorization: Bearer x", "X-Request-Id: a b",
        "X-Request-Id: fine", "X-Deadline-Ms: 5", "X-Deadline-Ms: x", "X-Deadline-Ms: 99999", "X-Unit-Epoch: 9",
        "X-Forwarded-For: 6.6.6.6", "X-Cell: b", "TE: trailers", "Trailer: x", " folded", "X-A: b\rc", "X_A: b", ": x",
        "X:",
    ]),
    st.text(st.characters(max_codepoint=255), max_size=30),
)  # fmt: skip
BODIES = st.sampled_from(
    [
        b"",
        b"hello",
        b"{}",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
        b"zz\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ]
)
ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"])


WELL_MADE = ["Host: a", "Authorization: Bearer x", "Content-Type: application/json"]
ORDERS = st.sampled_from([
    f"POST /v1/wallets/{WALLET}/debit", f"POST /v1/wallets/{WALLET}/holds/{WALLET}/capture", "POST /v1/wallets",
    f"PATCH /v1/wallets/{WALLET}", f"GET /v1/wallets/{WALLET}/entries?limit=5", "GET /v1/owners/customer/c%2F1/wallets",
])  # fmt: skip
FRAMINGS = st.sampled_from([
    ("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    ("Content-Length: 4", b"hello"), ("Content-Length: 6", b"hello"), ("X-None: 1", b"hello"),
    ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\nHost: b\r\n\r\n"), ("Content-Length: 0", b""),
])  # fmt: skip


@st.composite
def nearly_well_made(draw: st.DrawFn) -> bytes:
    """A good request with something added, and now and then a few bytes of it replaced."""
    framing, body = draw(FRAMINGS)
    lines = draw(st.permutations([*WELL_MADE, framing, *draw(st.lists(LINES, max_size=2))]))
    raw = "\r\n".join([f"{draw(ORDERS)} HTTP/1.1", *lines, "", ""]).encode("latin-1", "replace") + body
    return _with_a_dent(draw, raw) if draw(st.integers(0, 3)) == 0 else raw


@st.composite
def wild(draw: st.DrawFn) -> bytes:
    end = draw(ENDS)
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/11", ""]))
    lines = [f"{draw(METHODS)} {draw(TARGETS)} {version}", *draw(st.lists(LINES, max_size=7))]
    return _with_a_dent(draw, (end.join(lines) + end + end).encode("latin-1", "replace") + draw(BODIES))


def _with_a_dent(draw: st.DrawFn, raw: bytes) -> bytes:
    at = draw(st.integers(0, len(raw)))
    return raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 4)) :]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.one_of(nearly_well_made(), nearly_well_made(), wild()), min_size=1, max_size=3))
def test_whatever_is_written_is_answered_well(entrance: Entrance, written: list[bytes]) -> None:
    forget_the_past(entrance)
    raw = b"".join(written)
    check_answers(raw, exchange(entrance, raw))
    check_what_the_cell_saw(entrance, requests_max=len(written))


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_whatever_bytes_come_are_answered_well(entrance: Entrance, raw: bytes) -> None:
    forget_the_past(entrance)
    check_answers(raw, exchange(entrance, raw))
    check_what_the_cell_saw(entrance)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(target=TARGETS, lines=st.lists(LINES, max_size=5))
def test_targets_and_headers_of_well_framed_requests(entrance: Entrance, target: str, lines: list[str]) -> None:
    forget_the_past(entrance)
    head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", "Connection: close", *lines])
    raw = f"{head}\r\n\r\n".encode("latin-1", "replace")
    check_answers(raw, exchange(entrance, raw))
    check_what_the_cell_saw(entrance)
