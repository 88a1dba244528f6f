"""Failures of the edge: every "no" is a problem document, and quotes nothing it should not."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import orjson
import pytest
import structlog
from fastapi import Depends, FastAPI, HTTPException, Path, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from cell.api.errors import ERRORS_MAX, TEXT_MAX, ProblemRaised, answer_problems, validation_problem
from cell.api.responses import Identified, Responder
from contract.bodies import Body, ChangeWalletBody, OpenWalletBody, PostingBody
from contract.ids import UUID_PATTERN
from contract.problems import Problem, problem_document
from contract.reasons import Reason

TRANSACTION = '"transaction_id":"0190f9a0-0000-7000-8000-000000000000"'


def _problem(body: bytes | str, model: type[BaseModel] = PostingBody) -> Problem:
    with pytest.raises(ValidationError) as refused:
        model.model_validate_json(body)
    problem = validation_problem(refused.value)
    assert (problem.status, problem.code) == (400, "request_must_be_well_formed")
    return problem


def _errors(problem: Problem) -> list[dict[str, str]]:
    assert problem.facts is not None
    errors: list[dict[str, str]] = problem.facts["errors"]
    return errors


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (f'{{{TRANSACTION},"amount":0,"currency":"EUR"}}', ["/amount"]),
        (f'{{{TRANSACTION},"amount":"5","currency":"EUR"}}', ["/amount"]),
        (f'{{{TRANSACTION},"amount":1.0,"currency":"EUR"}}', ["/amount"]),
        (f'{{{TRANSACTION},"amount":1,"currency":"EUX"}}', ["/currency"]),
        (f'{{{TRANSACTION},"amount":1}}', ["/currency"]),
        (f'{{{TRANSACTION},"amount":1,"currency":"EUR","a/b~c":1}}', ["/a~1b~0c"]),
        (f'{{{TRANSACTION},"amount":1,"currency":"EUR","metadata":{{"a":[]}}}}', ["/metadata"]),
        ("{}", ["/transaction_id", "/amount", "/currency"]),
        ("[]", [""]),
        ("null", [""]),
        ("", [""]),
        ("{", [""]),
        ("[" * 5_000, [""]),
        (b"\xff\xfe", [""]),
        ('{"transaction_id":"\\ud800"}', [""]),
    ],
)
def test_pointers(body: bytes | str, pointers: list[str]) -> None:
    assert [error["pointer"] for error in _errors(_problem(body))] == pointers


def test_members_of_members_are_pointed_at() -> None:
    body = '{"owner":{"type":"Player","ref":"1"},"currency":"EUR"}'
    assert _errors(_problem(body, OpenWalletBody))[0]["pointer"] == "/owner/type"


def test_items_are_pointed_at_by_their_place() -> None:
    class Many(Body):
        items: list[int]

    assert _errors(_problem('{"items":[1,"x"]}', Many))[0]["pointer"] == "/items/1"


def test_a_message_is_a_sentence_for_people() -> None:
    problem = _problem(f'{{{TRANSACTION},"amount":1,"currency":"EUX"}}')
    assert _errors(problem) == [{"pointer": "/currency", "message": "must be an ISO 4217 currency code"}]
    assert problem.detail == "/currency: must be an ISO 4217 currency code"


def test_what_was_sent_is_not_quoted() -> None:
    body = f'{{{TRANSACTION},"amount":"hunter2","currency":"hunter2","description":7,"metadata":"hunter2"}}'
    assert "hunter2" not in str(problem_document(_problem(body), request_id="r"))
    body = f'{{{TRANSACTION},"status":"hunter2"}}'
    assert "hunter2" not in str(problem_document(_problem(body, ChangeWalletBody), request_id="r"))


def test_a_hostile_body_gets_a_bounded_answer() -> None:
    members = ",".join(f'"{"x" * 5_000}{number}":1' for number in range(1_000))
    errors = _errors(_problem(f"{{{members}}}"))
    assert len(errors) == ERRORS_MAX
    assert max(len(text) for error in errors for text in error.values()) <= TEXT_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["transaction_id", "amount", "currency", "metadata", "owner", "kind", "status", "x"])


@given(
    body=st.binary(max_size=200) | st.dictionaries(FIELDS, JSON).map(lambda document: str(document).encode()),
    model=st.sampled_from([PostingBody, OpenWalletBody, ChangeWalletBody]),
)
def test_no_body_breaks_the_translation(body: bytes, model: type[BaseModel]) -> None:
    _check_any_body(body, model)


@given(document=st.dictionaries(FIELDS, JSON), model=st.sampled_from([PostingBody, OpenWalletBody]))
def test_no_document_breaks_the_translation(document: dict[str, Any], model: type[BaseModel]) -> None:
    _check_any_body(json.dumps(document).encode(), model)


def _check_any_body(body: bytes, model: type[BaseModel]) -> None:
    try:
        model.model_validate_json(body)
    except ValidationError as error:
        problem = validation_problem(error)
        orjson.dumps(problem_document(problem, request_id="r"))
        assert len(_errors(problem)) >= 1


def _app() -> FastAPI:
    app = FastAPI()
    answer_problems(app, Responder(cell_id="cell-a"))

    @app.get("/wallets/{wallet_id}")
    async def read(
        wallet_id: Annotated[str, Path(pattern=UUID_PATTERN)], limit: Annotated[int, Query(ge=1)] = 50
    ) -> dict[str, Any]:
        return {"wallet_id": wallet_id, "limit": limit}

    @app.post("/postings")
    async def post(body: PostingBody) -> dict[str, Any]:
        return body.model_dump()

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("hunter2")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, detail="hunter2")

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise HTTPException(503, detail="hunter2")

    async def refuse() -> None:
        raise ProblemRaised(Problem(reason=Reason.TOKEN_MUST_BE_VALID, detail="The token has expired."))

    @app.get("/guarded", dependencies=[Depends(refuse)])
    async def guarded() -> None: ...

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Identified(_app(), cell_id="cell-a"), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://cell") as client:
        yield client


def _document(answer: httpx.Response) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-cell"] == "cell-a"
    assert answer.headers["x-request-id"] == document["request_id"]
    assert answer.headers.get_list("x-request-id") == [document["request_id"]]
    assert answer.status_code == document["status"]
    assert "hunter2" not in answer.text
    return document


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nowhere", 404, "route_must_exist"),
        ("DELETE", "/postings", 405, "method_must_be_allowed"),
        ("GET", "/wallets/abc", 400, "path_must_be_well_formed"),
        ("GET", "/wallets/abc?limit=x", 400, "path_must_be_well_formed"),
        ("GET", "/wallets/0190f9a0-0000-7000-8000-000000000000?limit=x", 400, "request_must_be_well_formed"),
        ("POST", "/postings", 400, "request_must_be_well_formed"),
        ("GET", "/teapot", 400, "request_must_be_well_formed"),
        ("GET", "/unavailable", 500, "request_must_not_break_the_cell"),
        ("GET", "/broken", 500, "request_must_not_break_the_cell"),
        ("GET", "/guarded", 401, "token_must_be_valid"),
    ],
)
async def test_every_no_is_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, status: int, reason: str
) -> None:
    document = _document(await client.request(method, path))
    assert (document["status"], document["reason"]) == (status, reason)
    assert ("errors" in document) == (reason == "request_must_be_well_formed")


async def test_a_method_that_is_not_allowed_names_those_that_are(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/postings")).headers["allow"] == "POST"


async def test_a_parameter_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/wallets/0190f9a0-0000-7000-8000-000000000000?limit=0")
    assert _document(answer)["errors"] == [
        {"pointer": "", "parameter": "limit", "message": "Input should be greater than or equal to 1"}
    ]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b'{"\\ud800":1}', ""),
        (f'{{{TRANSACTION},"amount":0,"currency":"EUR"}}'.encode(), "/amount"),
    ],
)
async def test_ordinary_bodies(client: httpx.AsyncClient, body: bytes, pointer: str) -> None:
    answer = await client.post("/postings", content=body, headers={"content-type": "application/json"})
    assert _document(answer)["errors"][0]["pointer"] == pointer


async def test_the_callers_request_id_is_kept(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere", headers={"x-request-id": "r-1"})
    assert _document(answer)["request_id"] == "r-1"


async def test_a_bug_is_logged_under_the_id_that_the_caller_got(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        document = _document(await client.get("/broken"))
    assert lines == [
        {
            "event": "request_broke",
            "log_level": "error",
            "request_id": document["request_id"],
            "route": "GET /broken",
            "error": "ZeroDivisionError",
        }
    ]


async def test_the_traceback_that_the_server_logs_names_the_same_request() -> None:
    transport = httpx.ASGITransport(_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://cell") as client:
        with pytest.raises(ZeroDivisionError) as raised:
            await client.get("/broken", headers={"x-request-id": "r-1"})
    assert "request_id=r-1" in logging.Formatter().formatException(
        (type(raised.value), raised.value, raised.value.__traceback__)
    )
