"""Answers as bytes: what every answer carries, and what a request's head may say."""

import re
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.api.responses import (
    Identified,
    Message,
    Responder,
    deadline_ms_of,
    problem_headers,
    request_id_in,
    request_id_of,
)
from contract.headers import DEADLINE_MAX_MS
from contract.problems import Problem
from contract.reasons import MEANINGS, Reason

RATE_LIMIT = {"policy": "vendor", "quota": 100, "window_s": 1, "remaining": 0, "reset_s": 2}


class Wire:
    """What an ASGI server would put on the wire."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        headers = list(self.messages[0]["headers"])
        assert len(dict(headers)) == len(headers), "a header twice"
        return dict(headers)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])


@pytest.fixture
def responder() -> Responder:
    return Responder(cell_id="cell-a")


async def test_json_carries_the_headers_of_every_answer(responder: Responder) -> None:
    wire = Wire()
    await responder.send_json(
        wire.send, status=201, body=b'{"a":1}', request_id="r-1", more=[(b"idempotent-replayed", b"true")]
    )
    assert (wire.status, wire.body) == (201, b'{"a":1}')
    assert wire.headers == {
        b"content-type": b"application/json",
        b"content-length": b"7",
        b"x-request-id": b"r-1",
        b"x-cell": b"cell-a",
        b"idempotent-replayed": b"true",
    }


async def test_a_problem_is_a_document(responder: Responder) -> None:
    wire = Wire()
    problem = Problem(reason=Reason.WALLET_MUST_EXIST, detail="No é.", facts={"at": "2027-01-01"})
    await responder.send_problem(wire.send, problem, request_id="r-1")
    document = orjson.loads(wire.body)
    assert wire.status == document["status"] == 404
    assert wire.headers[b"content-type"] == b"application/problem+json"
    assert wire.headers[b"content-length"] == b"%d" % len(wire.body)
    assert (document["reason"], document["request_id"], document["at"]) == (
        "wallet_must_exist",
        "r-1",
        "2027-01-01",
    )
    assert b"retry-after" not in wire.headers


@pytest.mark.parametrize("reason", Reason)
async def test_both_ways_of_answering_are_the_same_answer(responder: Responder, reason: Reason) -> None:
    wire = Wire()
    qualifier = "amount" if "{" in reason else None
    problem = Problem(reason=reason, detail="Because.", qualifier=qualifier)
    more = [(b"allow", b"GET")]
    await responder.send_problem(wire.send, problem, request_id="r-1", more=more)
    response = responder.problem_response(problem, request_id="r-1", more=more)
    assert (response.status_code, response.body) == (wire.status, wire.body)
    assert sorted(response.raw_headers) == sorted(wire.headers.items())


@pytest.mark.parametrize("reason", Reason)
def test_later_says_when(reason: Reason) -> None:
    qualifier = "amount" if "{" in reason else None
    headers = dict(problem_headers(Problem(reason=reason, detail="", qualifier=qualifier)))
    assert (b"retry-after" in headers) == (MEANINGS[reason].status in (429, 503))
    assert (b"www-authenticate" in headers) == (MEANINGS[reason].status == 401)


def test_a_refusing_limit_shows_its_numbers() -> None:
    problem = Problem(
        reason=Reason.REQUEST_MUST_FIT_RATE_LIMIT,
        detail="",
        facts={"retry_after_s": 2, "rate_limit": RATE_LIMIT},
    )
    assert dict(problem_headers(problem)) == {
        b"retry-after": b"2",
        b"ratelimit": b'"vendor";r=0;t=2',
        b"ratelimit-policy": b'"vendor";q=100;w=1',
    }


@pytest.mark.parametrize("raw", [b"a", b"A-1_b.c", b"x" * 128, b"0190f9a0-0000-7000-8000-000000000000"])
def test_a_fit_request_id_is_kept(raw: bytes) -> None:
    assert request_id_of(raw) == raw.decode()


@pytest.mark.parametrize("raw", [None, b"", b"x" * 129, b"a b", b"a\n", "é".encode(), b'a"', b"a/b"])
def test_an_unfit_request_id_is_replaced(raw: bytes | None) -> None:
    first, second = request_id_of(raw), request_id_of(raw)
    assert uuid.UUID(first).version == 7
    assert first != second


@given(raw=st.binary(max_size=140))
def test_a_request_id_is_always_fit_for_a_header(raw: bytes) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request_id_of(raw))


@pytest.mark.parametrize(("raw", "expected"), [(None, 5_000), (b"1", 1), (b"30000", DEADLINE_MAX_MS), (b"00250", 250)])
def test_deadlines(raw: bytes | None, expected: int) -> None:
    assert deadline_ms_of(raw, default_ms=5_000) == expected


@pytest.mark.parametrize(
    "raw", [b"", b"0", b"30001", b"99999999999", b"-1", b"+5", b"1.5", b" 5", b"5 ", b"1e3", b"1_0", "٣".encode()]
)
def test_a_deadline_that_is_none(raw: bytes) -> None:
    problem = deadline_ms_of(raw, default_ms=5_000)
    assert isinstance(problem, Problem)
    assert (problem.status, problem.code) == (400, "request_must_be_well_formed")
    assert problem.facts is not None
    assert problem.facts["errors"][0]["header"] == "X-Deadline-Ms"


async def _identified(
    headers: list[tuple[bytes, bytes]], answer_headers: list[tuple[bytes, bytes]]
) -> tuple[Wire, str]:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([request_id_in(scope), request_id_in(scope)])
        await send({"type": "http.response.start", "status": 200, "headers": answer_headers})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "http.request"}

    wire = Wire()
    await Identified(app, cell_id="cell-a")({"type": "http", "headers": headers}, receive, wire.send)
    assert seen[0] == seen[1]
    return wire, seen[0]


async def test_an_ordinary_answer_is_identified_by_the_callers_id() -> None:
    wire, request_id = await _identified([(b"x-request-id", b"r-1")], [(b"etag", b'"1"')])
    assert request_id == "r-1"
    assert wire.headers == {b"etag": b'"1"', b"x-request-id": b"r-1", b"x-cell": b"cell-a"}


async def test_an_ordinary_answer_is_identified_by_a_new_id() -> None:
    wire, request_id = await _identified([], [])
    assert wire.headers[b"x-request-id"].decode() == request_id


async def test_what_the_route_stamped_itself_is_left_alone() -> None:
    wire, _ = await _identified([], [(b"x-request-id", b"r-2"), (b"x-cell", b"cell-a")])
    assert wire.headers[b"x-request-id"] == b"r-2"
