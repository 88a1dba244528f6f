"""Whatever is odd about a request: HAProxy answers it, and passes it on, as the Python proxy does."""

import pytest
from raw_http import RawAnswer, connect
from router_under_test import NewCell, NewRouter, RouterUnderTest
from running_haproxy import only_haproxy
from signed_directory import directory_document, wallet_in
from stand_in_cell import StandInCell

DOCUMENT = directory_document({"a": ["http://127.0.0.1:9"]})
WALLET = wallet_in(DOCUMENT, "a")
PATH = f"/v1/wallets/{WALLET}"
DEBIT = f"{PATH}/debit"

TOKEN = "authorization: Bearer token"
JSON = "content-type: application/json"
BODY = '{"amount":1}'


def raw(line: str, *headers: str, body: str = "") -> bytes:
    length = [f"content-length: {len(body)}"] if body else []
    return "\r\n".join([f"{line} HTTP/1.1", "host: wallets", *headers, *length, "", body]).encode("latin-1")


REQUESTS = {
    "plain": raw(f"POST {DEBIT}", TOKEN, JSON, body=BODY),
    "query": raw(f"GET {PATH}?a=%20b&wallet=/v1", TOKEN),
    "absolute form": raw(f"GET http://wallets{PATH}", TOKEN),
    "encoded": raw(f"GET /v1/wallets/%30{WALLET[1:]}", TOKEN),
    "upper case": raw(f"GET {PATH.upper()}", TOKEN),
    "upper case id": raw(f"GET /v1/wallets/{WALLET.replace('0', 'A')}", TOKEN),
    "slash": raw(f"GET {PATH}/", TOKEN),
    "two slashes": raw(f"GET /v1//wallets/{WALLET}", TOKEN),
    "dots": raw(f"GET /v1/x/../wallets/{WALLET}", TOKEN),
    "semicolon": raw(f"GET {PATH};a=b", TOKEN),
    "method of another route": raw(f"DELETE {PATH}", TOKEN),
    "no method of ours": raw(f"OPTIONS {PATH}", TOKEN),
    "no token": raw(f"POST {DEBIT}", JSON, body=BODY),
    "two tokens": raw(f"GET {PATH}", TOKEN, "authorization: Bearer other"),
    "text": raw(f"POST {DEBIT}", TOKEN, "content-type: text/plain", body=BODY),
    "charset": raw(f"POST {DEBIT}", TOKEN, f"{JSON}; charset=utf-8", body=BODY),
    "no type": raw(f"POST {DEBIT}", TOKEN, body=BODY),
    "no body": raw(f"POST {DEBIT}", TOKEN, JSON),
    "no length but chunks": raw(f"POST {DEBIT}", TOKEN, JSON, "transfer-encoding: chunked") + b"3\r\n{ }\r\n0\r\n\r\n",
    "body of a read": raw(f"GET {PATH}", TOKEN, body=BODY),
    "long body": raw(f"POST {DEBIT}", TOKEN, JSON, body="x" * 70_000),
    "body between the limits": raw(f"POST {DEBIT}", TOKEN, JSON, body="x" * 40_000),
    **{f"deadline {text!r}": raw(f"GET {PATH}", TOKEN, f"x-deadline-ms: {text}")
       for text in ("0", "1.5", "30000", "30001", "007000", "05000", "-1", "", "soon")},
    "two deadlines": raw(f"GET {PATH}", TOKEN, "x-deadline-ms: 900", "x-deadline-ms: 900"),
    "bad trace": raw(f"GET {PATH}", TOKEN, "traceparent: 00-x"),
    "two traces": raw(f"GET {PATH}", TOKEN, *[f"traceparent: 00-{'a' * 32}-{'b' * 16}-01"] * 2),
    "nominated": raw(f"GET {PATH}", TOKEN, "connection: x-secret", "x-secret: 1"),
    "expecting": raw(f"POST {DEBIT}", TOKEN, JSON, "expect: 100-continue", body=BODY),
    "no such route": raw("GET /v2/wallets", TOKEN),
    "asterisk": raw("OPTIONS *", TOKEN),
    "opening": raw("POST /v1/wallets", TOKEN, JSON, body='{"owner":{"type":"c","ref":"1"},"currency":"EUR"}'),
    "opening of nothing": raw("POST /v1/wallets", TOKEN, JSON, body="{"),
}  # fmt: skip

NOT_COMPARED = {"x-request-id", "x-deadline-ms", "x-unit-epoch", "host", "x-router-version", "content-length"}


@pytest.fixture
async def cell(new_cell: NewCell) -> StandInCell:
    return await new_cell("a")


@pytest.fixture
async def router(new_router: NewRouter, cell: StandInCell) -> RouterUnderTest:
    return await new_router(document=directory_document({"a": [cell.url]}))


async def answer_of(port: int, request: bytes) -> RawAnswer:
    connection = await connect(port)
    await connection.send(request)
    answer = await connection.answer()
    await connection.close()
    assert answer is not None
    return answer


def told(answer: RawAnswer, cell: StandInCell) -> tuple[object, ...]:
    """What the vendor and the cell can see, without what is drawn for each request."""
    problem = answer.document.get("reason") if answer.status >= 400 else None
    seen = [
        (one.method, one.target, one.body, sorted(pair for pair in one.headers if pair[0] not in NOT_COMPARED))
        for one in cell.seen
    ]
    cell.seen.clear()
    return answer.status, problem, answer.headers.get("allow"), answer.headers["content-type"], seen


@only_haproxy
async def test_odd_requests_are_answered_alike(router: RouterUnderTest, cell: StandInCell) -> None:
    assert router.haproxy is not None
    differences = []
    for name, request in REQUESTS.items():
        python = told(await answer_of(router.port, request), cell)
        haproxy = told(await answer_of(router.haproxy.port, request), cell)
        if python != haproxy:
            differences.append((name, python, haproxy))
    assert differences == []
