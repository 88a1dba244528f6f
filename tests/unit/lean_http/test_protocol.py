"""What leaves, and in how many writes: answers as a whole and in pieces; connections that are idle."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from cell.api.responses import Responder
from lean_http.protocol import GatheringTransport, LeanProtocol


class Wire(asyncio.Transport):
    """Keeps what leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.left.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 7


async def test_what_is_written_in_one_turn_leaves_together_at_its_end() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.left == []
    await asyncio.sleep(0)
    assert wire.left == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert wire.left == [b"head body", b"next"]


async def test_a_close_comes_after_what_was_written_before_it() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert wire.left == [b"last words"]
    assert wire.is_closed


async def test_nothing_is_written_to_a_wire_that_is_gone() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"too late")
    wire.close()
    await asyncio.sleep(0)
    assert wire.left == []


async def test_everything_else_is_the_transports_own() -> None:
    assert GatheringTransport(Wire(), asyncio.get_running_loop()).get_write_buffer_size() == 7


# The protocol: uvicorn's with our short cuts, fed as a socket would feed it.

ANSWER = b'{"a":1}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\nx-request-id: r\r\nx-cell: c\r\n"


async def whole(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await Responder(cell_id="c").send_json(send, status=200, body=ANSWER, request_id="r")


async def in_pieces(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


def serving(app: Callable[..., Any], *, keep_alive_s: int = 75) -> tuple[LeanProtocol, Wire]:
    config = uvicorn.Config(app, ws="none", log_config=None, access_log=False, timeout_keep_alive=keep_alive_s)
    protocol, wire = LeanProtocol(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
    protocol.connection_made(wire)
    return protocol, wire


def request(method: bytes = b"GET", *lines: bytes) -> bytes:
    return b"".join((method, b" / HTTP/1.1\r\nhost: h\r\n", *(line + b"\r\n" for line in lines), b"\r\n"))


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_an_answer_as_a_whole_is_one_write() -> None:
    protocol, wire = serving(whole)
    for _ in range(2):
        protocol.data_received(request())
        await turns()
    assert wire.left == [HEAD + b"\r\n" + ANSWER] * 2
    assert protocol.server_state.total_requests == 2
    assert not protocol.tasks


async def test_an_answer_in_pieces_is_one_write_too() -> None:
    protocol, wire = serving(in_pieces)
    protocol.data_received(request())
    await turns()
    assert wire.left == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"]


async def test_requests_that_come_together_are_answered_one_after_the_other() -> None:
    protocol, wire = serving(whole)
    protocol.data_received(request() * 3)
    await turns(30)
    assert b"".join(wire.left) == (HEAD + b"\r\n" + ANSWER) * 3


async def test_a_head_request_gets_no_body() -> None:
    protocol, wire = serving(whole)
    protocol.data_received(request(b"HEAD"))
    await turns()
    assert b"".join(wire.left) == HEAD + b"\r\n"


async def test_a_caller_that_wants_no_more_is_told_and_cut_off() -> None:
    protocol, wire = serving(whole)
    protocol.data_received(request(b"GET", b"connection: close"))
    await turns()
    assert wire.left == [HEAD + b"connection: close\r\n\r\n" + ANSWER]
    assert wire.is_closed


async def test_an_answer_that_is_to_be_the_last_ends_the_connection() -> None:
    async def closing(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        assert send.whole(413, [(b"content-length", b"2"), (b"connection", b"close")], b"ab")

    protocol, wire = serving(closing)
    protocol.data_received(request(b"POST", b"content-length: 9999999"))
    await turns()
    (answer,) = wire.left
    assert answer.endswith(b"content-length: 2\r\nconnection: close\r\n\r\nab")
    assert answer.count(b"connection") == 1
    assert wire.is_closed


async def test_what_the_server_says_of_itself_is_said_with_a_whole_answer_too() -> None:
    protocol, wire = serving(whole)
    protocol.server_state.default_headers = [(b"date", b"today")]
    protocol.data_received(request())
    await turns()
    assert b"date: today\r\n" in wire.left[0]


async def test_a_caller_that_is_gone_is_answered_into_the_void() -> None:
    protocol, wire = serving(whole)
    protocol.data_received(request())
    protocol.connection_lost(None)
    await turns()
    assert wire.left == []


async def test_a_full_wire_is_waited_for() -> None:
    protocol, wire = serving(whole)
    protocol.pause_writing()
    protocol.data_received(request())
    await turns()
    assert wire.left == []
    protocol.resume_writing()
    await turns()
    assert wire.left == [HEAD + b"\r\n" + ANSWER]


async def test_no_header_smuggles_another_one(caplog: pytest.LogCaptureFixture) -> None:
    async def smuggling(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        headers = ((b"content-length", b"0"), (b"x", b"1\r\nset-cookie: 2"))
        send.whole(200, headers, b"")

    protocol, wire = serving(smuggling)
    protocol.data_received(request())
    await turns()
    assert b"set-cookie" not in b"".join(wire.left)
    assert b"".join(wire.left).startswith(b"HTTP/1.1 500")
    assert "line feed" in caplog.text


async def test_an_idle_connection_is_closed_and_a_used_one_is_not() -> None:
    protocol, wire = serving(whole, keep_alive_s=1)
    protocol.data_received(request())
    await turns()
    first = protocol.timeout_keep_alive_task
    assert first is not None
    protocol.timeout_keep_alive_handler()  # too early: it has just been used
    assert not wire.is_closed
    protocol.data_received(b"GET / HTTP/1.1\r\n")  # a request on its way
    protocol.timeout_keep_alive_handler()
    assert not wire.is_closed
    protocol.data_received(b"host: h\r\n\r\n")
    await turns()
    assert protocol._idle_since_s is not None
    protocol._idle_since_s -= 1
    protocol.timeout_keep_alive_handler()
    assert wire.is_closed


async def test_many_requests_share_one_timer() -> None:
    protocol, _ = serving(whole)
    timers = set()
    for _ in range(5):
        protocol.data_received(request())
        await turns()
        timers.add(id(protocol.timeout_keep_alive_task))
    assert len(timers) == 1
    protocol.connection_lost(None)
    assert protocol.timeout_keep_alive_task is None
