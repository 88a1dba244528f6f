"""What reaches the cell, what comes back, and what the router answers by itself."""

import json

import httpx
import pytest
from router_under_test import JSON, NewCell, NewRouter, RouterUnderTest
from running_haproxy import both_data_planes
from signed_directory import directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell

from contract.directory import DirectoryDocument
from contract.headers import BODY_MAX_BYTES, DEADLINE_DEFAULT_MS
from contract.ids import wallet_id_of
from contract.slots import slot_of

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OPENING = {"owner": {"type": "customer", "ref": "c-1"}, "currency": "EUR"}

Cells = dict[str, StandInCell]


@pytest.fixture
async def cells(new_cell: NewCell) -> Cells:
    return {name: await new_cell(name) for name in ("a", "b")}


@pytest.fixture
def document(cells: Cells) -> DirectoryDocument:
    urls = {name: [cell.url] for name, cell in cells.items()}
    hot_slot = slot_of(wallet_in(directory_document(urls), "a"))
    return directory_document(urls, version=77, epochs={hot_slot: 5})


@pytest.fixture
async def router(new_router: NewRouter, document: DirectoryDocument) -> RouterUnderTest:
    return await new_router(document=document)


def problem(answer: httpx.Response, status: int, reason: str) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (answer.status_code, told["status"], told["reason"]) == (status, status, reason)
    assert told["request_id"] == answer.headers["x-request-id"]
    return told


@both_data_planes
async def test_each_cell_gets_the_requests_of_its_wallets(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    for name in ("a", "b", "a"):
        answer = await router.get(f"/v1/wallets/{wallet_in(document, name)}/balance")
        assert (answer.status_code, answer.headers["x-cell"], answer.json()["cell"]) == (200, name, name)
    assert (len(cells["a"].seen), len(cells["b"].seen)) == (2, 1)


@both_data_planes
async def test_a_request_reaches_the_cell_as_it_came(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    path = f"/v1/wallets/{wallet_in(document, 'a')}/debit?a=%20b&a=c"
    await router.post(path, b'{ "amount":1}', x_vendor="v", traceparent=TRACEPARENT, tracestate="k=v")
    seen = cells["a"].seen[0]
    assert (seen.method, seen.target, seen.body) == ("POST", path, b'{ "amount":1}')
    passed = {
        name: seen.header(name) for name in ("authorization", "content-type", "x-vendor", "traceparent", "tracestate")
    }
    assert passed == {
        "authorization": "Bearer token",
        "content-type": "application/json",
        "x-vendor": "v",
        "traceparent": TRACEPARENT,
        "tracestate": "k=v",
    }


@both_data_planes
async def test_the_router_says_who_and_what_it_is(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    await router.get(f"/v1/wallets/{wallet_in(document, 'a')}/balance", x_request_id="my-id", x_deadline_ms="1234")
    seen = cells["a"].seen[0]
    assert seen.header("x-request-id") == "my-id"
    assert seen.header("x-forwarded-for") == "127.0.0.1"
    assert seen.header("x-router-version") == "77"
    assert 0 < int(seen.header("x-deadline-ms") or 0) <= 1234


async def test_the_router_says_by_which_epoch_it_asks(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    await router.get(f"/v1/wallets/{wallet_in(document, 'a')}/balance")
    seen = cells["a"].seen[0]
    assert seen.header("x-unit-epoch") == "5"
    assert seen.header("host") == cells["a"].url.removeprefix("http://")


@both_data_planes
async def test_a_request_without_a_deadline_gets_one(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    await router.get(f"/v1/wallets/{wallet_in(document, 'a')}/balance")
    assert 0 < int(cells["a"].seen[0].header("x-deadline-ms") or 0) <= DEADLINE_DEFAULT_MS


@both_data_planes
async def test_nobody_can_pretend_to_be_the_router(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    spoofed = {
        "x-forwarded-for": "6.6.6.6", "x-forwarded-host": "evil", "forwarded": "for=6.6.6.6", "x-real-ip": "6.6.6.6",
        "x-cell": "b", "x-unit-epoch": "99", "x-router-version": "99", "te": "trailers", "keep-alive": "9",
        "connection": "keep-alive, x-secret", "x-secret": "1", "proxy-authorization": "x",
    }  # fmt: skip
    path = f"/v1/wallets/{wallet_in(document, 'a')}/balance"
    await router.client.get(path, headers={"authorization": "Bearer token", **spoofed})
    seen = cells["a"].seen[0]
    assert (seen.header("x-forwarded-for"), seen.header("x-router-version")) == ("127.0.0.1", "77")
    assert seen.header("x-unit-epoch") in {"5", None}
    gone = ("x-forwarded-host", "forwarded", "x-real-ip", "x-cell", "te", "keep-alive", "connection", "x-secret")
    assert [name for name in gone if seen.header(name) is not None] == []


@both_data_planes
async def test_an_answer_comes_back_as_the_cell_gave_it(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    told = {
        "idempotent-replayed": "true", "location": "/v1/x", "ratelimit": '"v";r=1;t=1',
        "ratelimit-policy": '"v";q=5;w=1', "retry-after": "9", "etag": '"1"',
    }  # fmt: skip

    async def tell(_seen: Seen) -> Reply:
        return Reply(status=422, body=b'{"reason" : "x"}', headers=told)

    cells["a"].script = tell
    answer = await router.post(f"/v1/wallets/{wallet_in(document, 'a')}/debit", x_request_id="my-id")
    assert (answer.status_code, answer.content) == (422, b'{"reason" : "x"}')
    assert {name: answer.headers[name] for name in told} == told
    assert (answer.headers["x-cell"], answer.headers["x-request-id"]) == ("a", "my-id")
    assert "server" not in answer.headers
    assert len(answer.headers.get_list("date")) == 1
    assert len(answer.headers.get_list("x-request-id")) == 1


@both_data_planes
@pytest.mark.parametrize("sent", ["a b", "x" * 129, "é"])
async def test_a_request_id_that_is_not_acceptable_is_replaced(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument, sent: str
) -> None:
    headers = [(b"authorization", b"Bearer token"), (b"x-request-id", sent.encode())]
    answer = await router.client.get(f"/v1/wallets/{wallet_in(document, 'a')}", headers=headers)
    made = answer.headers["x-request-id"]
    assert made not in ("", sent)
    assert cells["a"].seen[0].header("x-request-id") == made


@both_data_planes
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_long_answer_is_passed_on_whole(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument, *, is_chunked: bool
) -> None:
    body = bytes(range(256)) * 16_384

    async def tell_much(_seen: Seen) -> Reply:
        if not is_chunked:
            return Reply(body=body)
        pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    cells["a"].script = tell_much
    for _ in range(2):
        answer = await router.get(f"/v1/wallets/{wallet_in(document, 'a')}/entries")
        assert answer.status_code == 200, answer.text
        assert answer.content == body
    assert cells["a"].connections == 1, "the connection is used again after a long answer"


@both_data_planes
async def test_an_interim_answer_is_passed_over(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    async def tell_twice(_seen: Seen) -> Reply:
        return Reply(raw=b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    cells["a"].script = tell_twice
    answer = await router.get(f"/v1/wallets/{wallet_in(document, 'a')}")
    assert (answer.status_code, answer.content, "link" in answer.headers) == (200, b"{}", False)


@both_data_planes
async def test_an_opening_goes_to_the_cell_of_its_computed_id(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    for number in range(6):
        body = {**OPENING, "owner": {"type": "customer", "ref": f"c-{number}"}}
        wallet_id = wallet_id_of(owner_type="customer", owner_ref=f"c-{number}", kind="main", currency="EUR")
        owner = document.slot_cells()[slot_of(wallet_id)]

        async def opened(seen: Seen) -> Reply:
            return Reply(status=201, document={}, headers={"location": seen.target})

        cells[owner].script = opened
        answer = await router.post("/v1/wallets", body)
        seen = cells[owner].seen[-1]
        assert (seen.method, seen.target, json.loads(seen.body)) == ("PUT", f"/v1/wallets/{wallet_id}", body)
        assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/wallets/{wallet_id}")


@both_data_planes
async def test_an_opening_that_describes_no_wallet_is_refused(router: RouterUnderTest, cells: Cells) -> None:
    told = problem(await router.post("/v1/wallets", {**OPENING, "currency": "XXX"}), 400, "request_must_be_well_formed")
    assert told["errors"] == [{"pointer": "/currency", "message": "must be an ISO 4217 currency code"}]
    assert cells["a"].seen == cells["b"].seen == []


@both_data_planes
async def test_a_missing_token_outranks_an_ill_formed_request(router: RouterUnderTest) -> None:
    json_only = {"content-type": "application/json"}
    answer = await router.client.post("/v1/wallets", content=b"{", headers=json_only)
    problem(answer, 401, "token_must_be_valid")
    assert answer.headers["www-authenticate"] == "Bearer"


@both_data_planes
async def test_refusals_come_in_the_order_of_precedence(router: RouterUnderTest, document: DirectoryDocument) -> None:
    """Everything is wrong with the first request; each following one has mended the most important thing."""
    wallet = wallet_in(document, "a")
    long = b"x" * (BODY_MAX_BYTES + 1)
    text = {"content-type": "text/plain", "x-deadline-ms": "soon"}
    client = router.client
    bad, good = f"/v1/wallets/x{wallet}", f"/v1/wallets/{wallet}"
    problem(await client.post(f"{bad}/nothing", content=long, headers=text), 404, "route_must_exist")
    answer = await client.put(f"{bad}/debit", content=long, headers=text)
    problem(answer, 405, "method_must_be_allowed")
    assert answer.headers["allow"] == "POST"
    problem(await client.post(f"{bad}/debit", content=long, headers=text), 413, "body_must_fit")
    problem(await client.post(f"{bad}/debit", content=b"x", headers=text), 415, "content_type_must_be_json")
    mended = {**text, "content-type": "application/json"}
    problem(await client.post(f"{bad}/debit", content=b"x", headers=mended), 400, "path_must_be_well_formed")
    problem(await client.post(f"{good}/debit", content=b"x", headers=mended), 401, "token_must_be_valid")
    mended["authorization"] = "Bearer token"
    told = problem(await client.post(f"{good}/debit", content=b"x", headers=mended), 400, "request_must_be_well_formed")
    assert told["errors"] == [
        {"pointer": "", "header": "X-Deadline-Ms", "message": "must be a whole number from 1 to 30000"}
    ]
    mended["x-deadline-ms"] = "30000"
    assert (await client.post(f"{good}/debit", content=b"x", headers=mended)).status_code == 200


@both_data_planes
async def test_a_body_of_exactly_the_limit_passes(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    body = b"x" * BODY_MAX_BYTES
    answer = await router.post(f"/v1/wallets/{wallet_in(document, 'a')}/debit", body)
    assert (answer.status_code, cells["a"].seen[0].body) == (200, body)


@both_data_planes
async def test_a_chunked_body_arrives_with_its_length(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    async def pieces():  # noqa: ANN202
        yield b'{"a":'
        yield b"1}"

    path = f"/v1/wallets/{wallet_in(document, 'a')}/debit"
    assert (await router.client.post(path, content=pieces(), headers=JSON)).status_code == 200
    seen = cells["a"].seen[0]
    assert (seen.body, seen.header("content-length"), seen.header("transfer-encoding")) == (b'{"a":1}', "7", None)


@both_data_planes
async def test_a_body_that_is_not_asked_for_does_not_travel(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    path = f"/v1/wallets/{wallet_in(document, 'a')}"
    assert (await router.client.request("GET", path, content=b"x" * 100, headers=JSON)).status_code == 200
    assert cells["a"].seen[0].body == b""
    assert (await router.get(path)).status_code == 200


@both_data_planes
@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_documentation_comes_from_any_cell_in_reach(router: RouterUnderTest, cells: Cells, path: str) -> None:
    await cells["a"].kill()
    answer = await router.client.get(path)
    assert (answer.status_code, answer.json()["target"], answer.headers["x-cell"]) == (200, path, "b")
    await cells["b"].kill()
    problem(await router.client.get(path, headers={"x-deadline-ms": "100"}), 503, "cell_must_be_reachable")


@both_data_planes
async def test_signs_of_life(router: RouterUnderTest) -> None:
    assert (await router.client.get("/healthz")).json() == {"status": "ok"}
    assert (await router.client.get("/readyz")).json() == {"status": "ready", "directory_version": 77}
    assert (await router.client.get(f"{router.admin_url}/healthz")).json() == {"status": "ok"}
    problem_on_admin = await router.client.get(f"{router.admin_url}/v1/wallets")
    assert problem_on_admin.status_code == 404
    assert (await router.client.post(f"{router.admin_url}/metrics")).headers["allow"] == "GET"


@both_data_planes
async def test_a_failure_without_a_reason_becomes_a_problem(
    router: RouterUnderTest, cells: Cells, document: DirectoryDocument
) -> None:
    async def fail(seen: Seen) -> Reply:
        status = int(seen.target.partition("?")[2])
        return Reply(status=status, body=b"Internal Server Error", headers={"content-type": "text/plain"})

    cells["a"].script = fail
    path = f"/v1/wallets/{wallet_in(document, 'a')}"
    problem(await router.get(f"{path}?500"), 500, "request_must_not_break_the_cell")
    answer = await router.get(f"{path}?502")
    problem(answer, 503, "cell_must_be_reachable")
    assert answer.headers["retry-after"] == "1"
    assert len(cells["a"].seen) == 2, "a request that breaks a cell is not sent again"


async def test_a_bug_of_the_router_is_a_problem_too(
    router: RouterUnderTest, document: DirectoryDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(router.router.proxy, "_delivered", break_down)
    problem(await router.get(f"/v1/wallets/{wallet_in(document, 'a')}"), 500, "request_must_not_break_the_cell")
