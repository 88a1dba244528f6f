"""Who may call which route, and with which questions: every route states the scopes that open it, and is checked
before its body is read.

A route without a statement does not start, so none can be forgotten.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from contract.reasons import Reason
from contract.scopes import Scope
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, problem, scope_must_allow
from control_plane.tokens import Caller

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_SCOPES_ANY = "scopes_any"


def open_to(*scopes_any: Scope) -> Callable[[Endpoint], Endpoint]:
    """Any one of these scopes opens the route."""

    def stated(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _SCOPES_ANY, scopes_any)
        return endpoint

    return stated


class StrictRoute(APIRoute):
    """Refuses query parameters that the route does not know, as unknown fields of bodies are refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        known = {parameter.alias for parameter in self.dependant.query_params}
        handle = super().get_route_handler()

        async def handle_known(request: Request) -> Response:
            if request.query_params.keys() <= known:
                return await handle(request)
            detail = f"the query may have {', '.join(sorted(known)) or 'no parameters'}"
            errors = [{"in": "query", "pointer": "/", "detail": detail}]
            refusal = Refusal(reason=Reason.REQUEST_MUST_BE_WELL_FORMED, detail=detail, facts={"errors": errors})
            return problem(request, refusal)

        return handle_known


class ScopedRoute(StrictRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        scopes_any: tuple[Scope, ...] = getattr(self.endpoint, _SCOPES_ANY)
        handle = super().get_route_handler()

        async def handle_authorised(request: Request) -> Response:
            caller = parts_of(request).tokens.caller_of(request.headers.get("authorization"))
            if isinstance(caller, str):
                return problem(request, Refusal(reason=Reason.TOKEN_MUST_BE_VALID, detail=caller))
            request.state.caller = caller
            if not any(caller.may(scope) for scope in scopes_any):
                return problem(request, scope_must_allow(*scopes_any))
            return await handle(request)

        return handle_authorised


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller
