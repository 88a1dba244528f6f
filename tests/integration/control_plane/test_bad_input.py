"""Whatever is sent, the answer is a problem document with a reason, never a 500."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
from platform_keys import bearer
from running_platform import RunningPlatform, registration

from contract.answers import ProblemAnswer
from contract.headers import PROBLEM_TYPE
from control_plane.api import envelope

NOWHERE = "http://127.0.0.1:1"
VENDOR = "/v1/vendors/v-1"
JSON = {"Content-Type": "application/json"}


def assert_problem(answer: httpx.Response, status: int, reason: str) -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM_TYPE)
    problem = ProblemAnswer.model_validate(answer.json())
    assert (problem.status, problem.reason) == (status, reason)
    assert problem.request_id == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe\x00",
        b'{"blocked": true}}',
        b'"\\ud800"',
        b'{"\\ud800": 1}',
        b'{"colour\\u0000": 1}',
        b"[" * 30_000,
        b'{"rate_per_s": NaN}',
        b'{"rate_per_s": Infinity}',
        b'{"rate_per_s": 1e999}',
        b'{"rate_per_s": ' + b"9" * 5_000 + b"}",
        b'{"scopes_allowed": [' + b'"x",' * 10_000 + b'"x"]}',
        b'{"blocked": null}',
    ],
)
async def test_a_body_that_is_none_is_refused(standing: RunningPlatform, content: bytes) -> None:
    headers = {**bearer(standing.keys.operator()), **JSON}
    answer = await standing.client.put(VENDOR, content=content, headers=headers)
    assert_problem(answer, 400, "request_must_be_well_formed")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "Cell"},
        {"id": "cell\x00"},
        {"id": "cell-1\n"},
        {"home_zone": "zone\x00a"},
        {"home_zone": ""},
        {"home_zone": 7},
        {"instance": {"url": "http://127.0.0.1:1\x00", "zone": "a"}},
        {"instance": {"url": "ftp://127.0.0.1", "zone": "a"}},
        {"instance": {"url": NOWHERE, "zone": "a", "more": 1}},
        {"instance": NOWHERE},
        {"schema_revision": None},
        {"software_version": "x" * 65},
        {"more": 1},
    ],
)
async def test_a_registration_that_is_none_is_refused(standing: RunningPlatform, changes: dict[str, object]) -> None:
    answer = await standing.register("cell-1", NOWHERE, **changes)
    assert_problem(answer, 400, "request_must_be_well_formed")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://",
        "http://[",
        "http://:80",
        "http://user@host/",
        "http://127.0.0.1:65536",
        "http://a..b",
        f"{NOWHERE}/{'x' * 500}",
    ],
)
async def test_what_is_no_url_is_refused(standing: RunningPlatform, url: str) -> None:
    assert_problem(await standing.register("cell-1", url), 400, "request_must_be_well_formed")
    refused = await standing.register("cell-1", NOWHERE, url=url)
    assert_problem(refused, 400, "request_must_be_well_formed")


async def test_a_body_must_fit(standing: RunningPlatform) -> None:
    headers = {**bearer(standing.keys.operator()), **JSON}

    async def in_parts(size: int) -> Iterator[bytes]:
        for _ in range(size // 1024):
            yield b" " * 1024

    fits = b" " * (65_536 - 2) + b"{}"
    assert (await standing.client.put(VENDOR, content=fits, headers=headers)).status_code == 200
    too_long = await standing.client.put(VENDOR, content=b" " + fits, headers=headers)
    assert_problem(too_long, 413, "body_must_fit")
    without_length = await standing.client.put(VENDOR, content=in_parts(100_000), headers=headers)
    assert_problem(without_length, 413, "body_must_fit")
    on_a_read = await standing.client.request("GET", VENDOR, content=b" " * 70_000, headers=headers)
    assert_problem(on_a_read, 413, "body_must_fit")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json-ish", "é"]
)
async def test_a_body_must_be_json(standing: RunningPlatform, content_type: str | None) -> None:
    headers = bearer(standing.keys.operator()) | ({"Content-Type": content_type} if content_type else {})
    raw = {name: text.encode() for name, text in headers.items()}
    answer = await standing.client.put(VENDOR, content=b"{}", headers=raw)
    assert_problem(answer, 415, "content_type_must_be_json")


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/", 404, "route_must_exist"),
        ("GET", "/v1/cells/", 404, "route_must_exist"),
        ("GET", "/v1/%00", 404, "route_must_exist"),
        ("GET", "/v1/cells/a/b/c", 404, "route_must_exist"),
        ("DELETE", "/v1/cells", 405, "method_must_be_allowed"),
        ("TRACE", "/v1/directory", 405, "method_must_be_allowed"),
        ("PROPFIND", "/healthz", 405, "method_must_be_allowed"),
        ("GET", "/v1/cells/Cell-1", 400, "path_must_be_well_formed"),
        ("GET", "/v1/cells/cell%00", 400, "path_must_be_well_formed"),
        ("GET", "/v1/cells/cell%0A", 400, "path_must_be_well_formed"),
        ("GET", "/v1/cells/%FF%FE", 400, "path_must_be_well_formed"),
        ("GET", "/v1/locate/not-a-wallet", 400, "path_must_be_well_formed"),
        ("GET", "/v1/locate/0190B2F4-5A6E-7C3D-8E9F-0A1B2C3D4E5F", 400, "path_must_be_well_formed"),
        ("GET", "/v1/changes?limit=0", 400, "request_must_be_well_formed"),
        ("GET", "/v1/changes?limit=501", 400, "request_must_be_well_formed"),
        ("GET", "/v1/changes?cursor=%00", 400, "request_must_be_well_formed"),
        ("GET", "/v1/changes?subject=vendor:%00", 400, "request_must_be_well_formed"),
    ],
)
async def test_what_is_not_there_is_refused(
    standing: RunningPlatform, method: str, path: str, status: int, reason: str
) -> None:
    answer = await standing.client.request(method, path, headers=bearer(standing.keys.operator()))
    assert_problem(answer, status, reason)


async def test_a_refused_method_names_all_that_are_allowed(standing: RunningPlatform) -> None:
    for path, allowed in (("/v1/cells", "GET, POST"), ("/v1/vendors/v-1", "GET, PUT"), ("/docs", "GET")):
        answer = await standing.client.delete(path)
        assert_problem(answer, 405, "method_must_be_allowed")
        assert answer.headers["Allow"] == allowed


async def test_without_a_token_nothing_is_told_not_even_what_is_wrong(standing: RunningPlatform) -> None:
    for method, path in (
        ("GET", "/v1/directory"),
        ("GET", "/v1/cells/Cell"),
        ("GET", "/v1/cells/cell-9"),
        ("PUT", VENDOR),
        ("POST", "/v1/cells"),
        ("GET", "/v1/plan"),
        ("GET", "/v1/changes"),
    ):
        answer = await standing.client.request(method, path)
        assert_problem(answer, 401, "token_must_be_valid")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_every_path_of_the_document_needs_a_token_but_three(standing: RunningPlatform) -> None:
    document = (await standing.client.get("/openapi.json")).json()
    opened = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if not operation.get("security")
    }
    assert opened == {"/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [("r-1", True), ("0190b2f4-5a6e-7c3d", True), ("", False), ("r 1", False), ("x" * 129, False), ("é", False)],
)
async def test_a_request_id_is_taken_or_made(standing: RunningPlatform, given: str, *, is_taken: bool) -> None:
    answer = await standing.client.get("/healthz", headers={"X-Request-Id": given.encode()})
    assert (answer.headers["X-Request-Id"] == given) is is_taken
    assert answer.headers["X-Request-Id"]


async def test_a_body_must_arrive_in_time(standing: RunningPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "BODY_TIMEOUT_S", 0.1)
    url = standing.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"PUT {VENDOR} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
    async with asyncio.timeout(9):
        answer = await reader.readuntil(b"}")
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 504")
    assert b"deadline_must_not_pass" in answer


async def test_a_client_that_goes_away_in_the_middle_harms_nobody(standing: RunningPlatform) -> None:
    url = standing.client.base_url
    body = json.dumps(registration("cell-1", NOWHERE))
    for sent in (
        b"PUT /v1/vendors/v-1 HTTP/1.1\r\n",
        f"PUT {VENDOR} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{body[:20]}".encode(),
    ):
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await standing.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"blocked": "yes"},
        {"blocked": 1},
        {"rate_per_s": 0},
        {"rate_per_s": "5"},
        {"rate_per_s": 1e10},
        {"scopes_allowed": ["fleet:manage"]},
        {"scopes_allowed": ["money:debit\x00"]},
        {"scopes_allowed": "money:debit"},
        {"limits": None},
        {"limits": {"amount_max": 0}},
        {"limits": {"amount_max": 5.5}},
        {"limits": {"day_max": 5}},
        {"scopes_allowed": ["money:debit"] * 50},
        {"colour": "red"},
        [],
        None,
        "text",
    ],
)
async def test_what_is_no_policy_is_refused(standing: RunningPlatform, body: object) -> None:
    answer = await standing.put("/v1/vendors/v-1", body)
    assert_problem(answer, 400, "request_must_be_well_formed")


@pytest.mark.parametrize("vendor", ["@cell", "-v", "v%00", "v%0A", "v" * 65, "%C3%A9"])
async def test_what_is_no_vendor_is_refused(standing: RunningPlatform, vendor: str) -> None:
    answer = await standing.get(f"/v1/vendors/{vendor}")
    assert_problem(answer, 400, "path_must_be_well_formed")


@pytest.mark.parametrize("capacity", [0, -1, "5", True, 1e999, [], {}, 1e10])
async def test_what_is_no_capacity_is_refused(standing: RunningPlatform, capacity: object) -> None:
    answer = await standing.client.put(
        "/v1/cells/cell-1/capacity",
        content=f'{{"capacity_per_s": {json.dumps(capacity)}}}',
        headers={**bearer(standing.keys.operator()), "Content-Type": "application/json"},
    )
    assert_problem(answer, 400, "request_must_be_well_formed")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/cells/cell-9", None),
        ("GET", "/v1/cells/cell-9/configuration", None),
        ("GET", "/v1/cells/cell-9/configuration?wait=20", None),
        ("PUT", "/v1/cells/cell-9/capacity", {"capacity_per_s": 5}),
    ],
)
async def test_an_unknown_cell_does_not_exist(standing: RunningPlatform, method: str, path: str, body: object) -> None:
    answer = await standing.client.request(method, path, json=body, headers=bearer(standing.keys.operator()))
    assert_problem(answer, 404, "cell_must_exist")


@pytest.mark.parametrize(
    "query",
    [
        "wait=-1",
        "wait=inf",
        "wait=nan",
        "wait=soon",
        "router=%00&applied=1",
        "router=r&applied=x",
        "router=r&applied=-1",
        "router=r&applied=9999999999999999999",
    ],
)
async def test_a_malformed_question_is_refused(standing: RunningPlatform, query: str) -> None:
    answer = await standing.get(f"/v1/directory?{query}")
    assert_problem(answer, 400, "request_must_be_well_formed")
    assert answer.json()["errors"]


IMAGE = f"registry.example/cell@sha256:{'0' * 64}"
RELEASE = f'{{"label": "2.0", "image": "{IMAGE}"}}'


@pytest.mark.parametrize(
    "members",
    [
        f'"release": {RELEASE}, "judged_by": {{"window_s": 1e999}}',
        f'"release": {RELEASE}, "judged_by": {{"window_s": {"9" * 400}}}',
        f'"release": {RELEASE}, "judged_by": {{"windows_good": {"9" * 400}}}',
        f'"release": {RELEASE}, "judged_by": {{"requests_min": 1e300}}',
        f'"release": {RELEASE}, "judged_by": {{"p99_ms_max": NaN}}',
        f'"release": {RELEASE}, "judged_by": {{"at_once": true}}',
        f'"release": {RELEASE}, "canary": "cell\\u0000"',
        f'"release": {RELEASE}, "rollout_id": "\\ud800"',
        f'"release": {RELEASE}, "certificate": {{"form": 1}}',
        f'"release": {{"label": "2.0\\u0000", "image": "{IMAGE}"}}',
        '"release": {"label": "2.0", "image": "registry.example/cell:latest"}',
        f'"release": {{"label": "2.0", "image": "{"x" * 10_000}{IMAGE}"}}',
        '"release": null',
    ],
    ids=lambda members: members[-30:],
)
async def test_a_rollout_that_is_none_is_refused(standing: RunningPlatform, members: str) -> None:
    headers = {**bearer(standing.keys.operator()), **JSON}
    answer = await standing.client.post("/v1/rollouts", content=f"{{{members}}}".encode(), headers=headers)
    assert_problem(answer, 400, "request_must_be_well_formed")


@pytest.mark.parametrize(
    "members",
    [
        '"zone": "a\\u0000"',
        '"zone": "a b"',
        f'"zone": "{"x" * 65}"',
        f'"zone": "a", "lasts_s": {"9" * 400}',
        '"zone": "a", "lasts_s": 1e300',
        '"zone": "a", "lasts_s": -1',
        '"zone": "a", "lasts_s": 0.5',
        '"zone": "a", "kind": "flight"',
        '"zone": "a", "evacuation_id": "\\u0000"',
    ],
    ids=lambda members: members[-30:],
)
async def test_an_evacuation_that_is_none_is_refused(standing: RunningPlatform, members: str) -> None:
    headers = {**bearer(standing.keys.operator()), **JSON}
    answer = await standing.client.post("/v1/evacuations", content=f"{{{members}}}".encode(), headers=headers)
    assert_problem(answer, 400, "request_must_be_well_formed")


@pytest.mark.parametrize("what", ["rollouts", "evacuations"])
@pytest.mark.parametrize("digits", ["0", "9" * 20, "\u0663"])
async def test_a_cursor_from_anywhere_gives_a_page(standing: RunningPlatform, what: str, digits: str) -> None:
    answer = await standing.client.get(
        f"/v1/{what}",
        params={"cursor": f"{digits}~00000000-0000-0000-0000-000000000000"},
        headers=bearer(standing.keys.operator()),
    )
    assert (answer.status_code, answer.json()[what]) == (200, [])
