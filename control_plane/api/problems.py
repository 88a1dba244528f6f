"""Every "no" of the platform API as a problem document (RFC 9457), and every foreign exception as one of them."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from contract.headers import PROBLEM_TYPE, RETRY_AFTER
from contract.problems import TYPE_PREFIX
from contract.reasons import MEANINGS, Reason
from contract.scopes import Scope
from contract.signing import canonical_json
from contract.values import value
from control_plane.api.move_reasons import MOVE_MEANINGS, MoveProblem
from control_plane.api.reasons import PLATFORM_MEANINGS, PlatformReason
from control_plane.api.release_reasons import RELEASE_MEANINGS, ReleaseProblem
from control_plane.store.database import DatabaseMustBeReadyError

RETRY_AFTER_S = 1
ERRORS_SHOWN_MAX = 20
"""Of a body with thousands of mistakes the first ones are enough."""


@value
class Refusal:
    """A "no" before it is written down; like `contract.problems.Problem`, with the platform's own reasons too."""

    reason: Reason | PlatformReason | MoveProblem | ReleaseProblem
    detail: str
    qualifier: str | None = None
    facts: Mapping[str, Any] | None = None


def problem(request: Request, refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    return problem_response(refusal, request_id=str(request.state.request_id), headers=headers)


def problem_response(refusal: Refusal, *, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    if isinstance(refusal.reason, Reason):
        meaning, code = MEANINGS[refusal.reason], refusal.reason.code(refusal.qualifier)
    elif isinstance(refusal.reason, MoveProblem):
        meaning, code = MOVE_MEANINGS[refusal.reason], refusal.reason.value
    elif isinstance(refusal.reason, ReleaseProblem):
        meaning, code = RELEASE_MEANINGS[refusal.reason], refusal.reason.value
    else:
        meaning, code = PLATFORM_MEANINGS[refusal.reason], refusal.reason.value
    document = {
        "type": TYPE_PREFIX + code,
        "title": meaning.title,
        "status": meaning.status,
        "detail": refusal.detail,
        "reason": code,
        "retry": meaning.retry,
        "request_id": request_id,
        **(refusal.facts or {}),
    }
    return Response(
        canonical_json(document),
        status_code=meaning.status,
        media_type=PROBLEM_TYPE,
        headers={**_headers_of(refusal, meaning.status), **(headers or {})},
    )


def cell_must_exist(cell: str) -> Refusal:
    return Refusal(reason=PlatformReason.CELL_MUST_EXIST, detail=f"no cell {cell} has ever registered")


def scope_must_allow(*scopes: Scope) -> Refusal:
    detail = f"the token must carry {' or '.join(scopes)}"
    return Refusal(reason=Reason.SCOPE_MUST_ALLOW, qualifier=scopes[0].action, detail=detail)


def answer_problems(app: FastAPI) -> None:
    """What FastAPI, Starlette and the database raise, told in our own words."""
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_exception_handler(DatabaseMustBeReadyError, _database_gone)


async def _malformed(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [_pointed(one) for one in error.errors()[:ERRORS_SHOWN_MAX]]
    is_path = any(one["loc"][0] == "path" for one in error.errors())
    return problem(
        request,
        Refusal(
            reason=Reason.PATH_MUST_BE_WELL_FORMED if is_path else Reason.REQUEST_MUST_BE_WELL_FORMED,
            detail=f"{errors[0]['pointer']}: {errors[0]['detail']}",
            facts={"errors": errors},
        ),
    )


async def _unrouted(request: Request, error: Exception) -> Response:
    """Only what the framework itself refuses: unknown routes, methods, and bodies that cannot be read."""
    if not isinstance(error, HTTPException):
        raise error
    reasons = {404: Reason.ROUTE_MUST_EXIST, 405: Reason.METHOD_MUST_BE_ALLOWED}
    reason = reasons.get(error.status_code, Reason.REQUEST_MUST_BE_WELL_FORMED)
    headers = {"Allow": _methods_of(request)} if reason is Reason.METHOD_MUST_BE_ALLOWED else {}
    return problem(request, Refusal(reason=reason, detail=str(error.detail)), headers)


async def _database_gone(request: Request, error: Exception) -> Response:
    return problem(request, Refusal(reason=PlatformReason.DATABASE_MUST_BE_READY, detail=str(error)))


def _methods_of(request: Request) -> str:
    """All methods of the path; the framework names only those of the first route that has it."""
    path = getattr(request.scope.get("route"), "path", "")
    operations = request.app.openapi()["paths"].get(path, {"get": None})
    return ", ".join(sorted(method.upper() for method in operations))


def _pointed(error: Mapping[str, Any]) -> dict[str, str]:
    """Where and what, never the input itself: it may be anything, also a secret."""
    place, *path = error["loc"]
    pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
    return {"in": str(place), "pointer": _printable(pointer) or "/", "detail": _printable(str(error["msg"]))}


def _printable(text: str) -> str:
    return text[:300].encode("utf-8", errors="replace").decode("utf-8")


def _headers_of(refusal: Refusal, status: int) -> dict[str, str]:
    if refusal.reason is Reason.TOKEN_MUST_BE_VALID:
        return {"WWW-Authenticate": "Bearer"}
    return {RETRY_AFTER: str(RETRY_AFTER_S)} if status == 503 else {}
