"""Failures of the edge as problem documents: bodies that do not fit their model, routes that do not exist, bugs.

Pydantic's and Starlette's exceptions are translated here, once, and nowhere else. What a client sent is never quoted
beyond the names of its fields, and those only to a bounded length.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cell.api.responses import Responder, request_id_in
from contract.headers import PROBLEM_TYPE
from contract.problems import TYPE_PREFIX, Problem
from contract.reasons import Reason

ERRORS_MAX: Final = 20
"""Errors told per request: enough to mend a body, and no amplifier of a hostile one."""
TEXT_MAX: Final = 200
"""Characters of a pointer or message; field names come from the client."""

_log = structlog.get_logger(__name__)

_REASONS_BY_STATUS: Final = {
    404: (Reason.ROUTE_MUST_EXIST, "There is no such route."),
    405: (Reason.METHOD_MUST_BE_ALLOWED, "The route does not allow this method."),
    413: (Reason.BODY_MUST_FIT, "The body is too large."),
    415: (Reason.CONTENT_TYPE_MUST_BE_JSON, "The body must be application/json."),
}


class ProblemRaised(Exception):  # noqa: N818 - it is the way out of a FastAPI dependency, not an error
    """A "no" from where nothing can be returned: a FastAPI dependency. Everything else returns its problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def validation_problem(error: ValidationError) -> Problem:
    """For bodies read with `model_validate_json`."""
    return _problem_of(error.errors(include_url=False, include_context=False, include_input=False))


def answer_problems(app: FastAPI, responder: Responder) -> None:
    """Register the handlers, so that every "no" of the ordinary routes is a problem document too."""

    def answer(request: Request, problem: Problem, more: Mapping[str, str] | None = None) -> Response:
        headers = [(name.lower().encode(), text.encode("latin-1")) for name, text in (more or {}).items()]
        return responder.problem_response(problem, request_id=request_id_in(request.scope), more=headers)

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: RequestValidationError) -> Response:
        return answer(request, _request_problem(error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        allow = {name: text for name, text in (error.headers or {}).items() if name.lower() == "allow"}
        return answer(request, _http_problem(error.status_code), allow)

    @app.exception_handler(ProblemRaised)
    async def on_problem(request: Request, error: ProblemRaised) -> Response:
        return answer(request, error.problem)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        request_id = request_id_in(request.scope)
        return answer(request, bug_problem(error, request_id=request_id, route=f"{request.method} {request.url.path}"))


def conflict(
    reason: str, detail: str, *, request_id: str, status: int = 409, facts: Mapping[str, Any] | None = None
) -> Response:
    """Refusals that vendors never meet: they have no place in their table of reasons."""
    document = {
        "type": f"{TYPE_PREFIX}{reason}",
        "title": f"The {reason.replace('_', ' ')}",
        "status": status,
        "detail": detail,
        "reason": reason,
        "retry": "never",
        "request_id": request_id,
        **(facts or {}),
    }
    return Response(orjson.dumps(document), status_code=status, media_type=PROBLEM_TYPE)


def bug_problem(error: Exception, *, request_id: str, route: str) -> Problem:
    """Log what broke under the request's id, and say nothing of it to the caller.

    The server logs the traceback itself when the exception reaches it; the note makes the two lines findable by the
    same id.
    """
    error.add_note(f"request_id={request_id}")
    _log.error("request_broke", request_id=request_id, route=route[:TEXT_MAX], error=type(error).__name__)
    return Problem(
        reason=Reason.REQUEST_MUST_NOT_BREAK_THE_CELL,
        detail="This is a bug of the platform; please report it with the request id.",
    )


def _http_problem(status: int) -> Problem:
    if status >= 500:
        return Problem(reason=Reason.REQUEST_MUST_NOT_BREAK_THE_CELL, detail="The request could not be served.")
    if status in _REASONS_BY_STATUS:
        reason, detail = _REASONS_BY_STATUS[status]
        return Problem(reason=reason, detail=detail)
    return _malformed([{"pointer": "", "message": "could not be read"}])


def _request_problem(errors: Sequence[Any]) -> Problem:
    """FastAPI puts the place first: what does not fit in the path makes the path malformed, whatever else is wrong."""
    in_path = [error for error in errors if error["loc"][:1] == ("path",)]
    if in_path:
        return Problem(
            reason=Reason.PATH_MUST_BE_WELL_FORMED,
            detail=_bounded(f"{in_path[0]['loc'][-1]}: {_message_of(in_path[0])}"),
        )
    return _problem_of(errors, is_placed=True)


def _problem_of(errors: Sequence[Any], *, is_placed: bool = False) -> Problem:
    return _malformed([_placed(error) if is_placed else _told(error, error["loc"]) for error in errors[:ERRORS_MAX]])


def _malformed(told: Sequence[Mapping[str, str]]) -> Problem:
    first = told[0]
    place = first.get("parameter") or first["pointer"] or "The body"
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=_bounded(f"{place}: {first['message']}"),
        facts={"errors": list(told)},
    )


def _placed(error: Mapping[str, Any]) -> dict[str, str]:
    place, *rest = error["loc"]
    if place == "body":
        return _told(error, rest)
    return {"pointer": "", "parameter": _bounded(str(rest[-1] if rest else place)), "message": _message_of(error)}


def _told(error: Mapping[str, Any], location: Sequence[str | int]) -> dict[str, str]:
    whole = error["type"] == "json_invalid"  # FastAPI adds the offset, which is no member of the document
    return {"pointer": "" if whole else _pointer(location), "message": _message_of(error)}


def _pointer(location: Sequence[str | int]) -> str:
    """RFC 6901."""
    return _bounded("".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in location))


def _message_of(error: Mapping[str, Any]) -> str:
    return _bounded(str(error["msg"]).removeprefix("Value error, "))


def _bounded(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"
