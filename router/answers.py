"""Answers as the router hands them to its server: those of cells, and the problem documents that it makes itself."""

from collections.abc import AsyncIterator
from typing import Any

import orjson

from contract.headers import JSON_TYPE, PROBLEM_TYPE
from contract.problems import Problem, problem_document
from contract.values import value
from lean_http.protocol import WholeAnswer
from router.asgi import Send
from router.routing.headers import RawHeaders

_PROBLEM_TYPE = PROBLEM_TYPE.encode()
_JSON_TYPE = JSON_TYPE.encode()


@value
class Answer:
    status: int
    headers: RawHeaders
    body: bytes
    rest: AsyncIterator[bytes] | None = None
    """What follows `body`, of an answer that is too long to be held in memory."""

    @property
    def problem(self) -> dict[str, Any] | None:
        """The problem document that this answer is, if it is one."""
        if not any(name == b"content-type" and text.startswith(_PROBLEM_TYPE) for name, text in self.headers):
            return None
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return document if isinstance(document, dict) else None


def problem_answer(
    problem: Problem,
    *,
    request_id: str,
    retry_after_s: int | None = None,
    allow: str | None = None,
    closes: bool = False,
) -> Answer:
    body = orjson.dumps(problem_document(problem, request_id=request_id))
    headers = [(b"content-type", _PROBLEM_TYPE), (b"content-length", b"%d" % len(body))]
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    if allow is not None:
        headers.append((b"allow", allow.encode()))
    if problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if closes:
        headers.append((b"connection", b"close"))
    return Answer(status=problem.status, headers=headers, body=body)


def json_answer(document: dict[str, Any], *, status: int = 200, headers: RawHeaders | None = None) -> Answer:
    body = orjson.dumps(document)
    own = [(b"content-type", _JSON_TYPE), (b"content-length", b"%d" % len(body))]
    return Answer(status=status, headers=[*own, *(headers or [])], body=body)


async def send_answer(answer: Answer, send: Send) -> None:
    """Hand the answer to the server; one that breaks in the middle raises out of `rest` and stays incomplete."""
    if answer.rest is None and isinstance(send, WholeAnswer) and send.whole(answer.status, answer.headers, answer.body):
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": answer.rest is not None})
    if answer.rest is None:
        return
    async for chunk in answer.rest:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
