"""`POST /v1/bulk`: up to a thousand commands in one request, lean like the routes of one.

Each operation is checked, decided and answered as its single call would be; body, token, deadline and admission are of
the whole. All are queued at once, in order: those of one wallet meet in one lane and keep it.
"""

import asyncio
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

import orjson
from pydantic import ValidationError

from cell.api.admission import Admission
from cell.api.asking import NOT_JSON, Callers, LeanRequest
from cell.api.body import read_body
from cell.api.bulk_results import Results
from cell.api.commands_of import Caller
from cell.api.errors import bug_problem, validation_problem
from cell.api.responses import AsgiApp, Receive, Responder, Send, deadline_ms_of
from cell.api.saga_answers import SagaAnswers
from cell.api.tokens import Principal, TokenVerifier, scope_problem
from cell.api.wallet_routes import scope_of_body, unreachable
from cell.api.write_routes import HOLD_ID, WRITE_ROUTES, WriteRoute
from cell.lanes import Lanes
from cell.ledger.commands import Command, SendTransfer
from cell.ledger.outcomes import Outcome, Rejected
from cell.ports import StoreLostError
from cell.telemetry import Telemetry
from contract.bodies import Body
from contract.bulk import (
    BULK_MAX_BYTES,
    BULK_PATH,
    BulkBody,
    CaptureOperation,
    CreditOperation,
    DebitOperation,
    HoldOperation,
    ReleaseOperation,
    ReverseOperation,
    TransferOperation,
)
from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.values import value

SAGAS_MAX: Final = 32
"""Transfers of one request that are followed into other cells at a time."""


@value
class Operation:
    """What an `op` is: the fields that it has, and the route that it is a call of."""

    body: type[Body]
    route: WriteRoute
    names_hold: bool


def _operation(body: type[Body], verb: str) -> Operation:
    route = next(route for route in WRITE_ROUTES if (route.method, route.verb) == ("POST", verb))
    return Operation(body=body, route=route, names_hold=HOLD_ID in verb)


OPERATIONS: Final = {
    "debit": _operation(DebitOperation, "debit"),
    "credit": _operation(CreditOperation, "credit"),
    "reverse": _operation(ReverseOperation, "reverse"),
    "hold": _operation(HoldOperation, "holds"),
    "capture": _operation(CaptureOperation, f"holds/{HOLD_ID}/capture"),
    "release": _operation(ReleaseOperation, f"holds/{HOLD_ID}/release"),
    "transfer": _operation(TransferOperation, "transfers"),
}


class BulkRoute:
    """ASGI application in front of `rest`."""

    def __init__(
        self,
        rest: AsgiApp,
        *,
        tokens: TokenVerifier,
        admission: Admission,
        lanes: Lanes,
        sagas: SagaAnswers,
        responder: Responder,
        telemetry: Telemetry,
        callers: Callers,
        deadline_default_ms: int,
        body_timeout_ms: int,
    ) -> None:
        self._rest = rest
        self._tokens = tokens
        self._admission = admission
        self._lanes = lanes
        self._sagas = sagas
        self._responder = responder
        self._telemetry = telemetry
        self._callers = callers
        self._deadline_default_ms = deadline_default_ms
        self._body_timeout_s = body_timeout_ms / 1_000

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != BULK_PATH:
            await self._rest(scope, receive, send)
            return
        request = LeanRequest(scope)
        if scope["method"] != "POST":
            await self._refuse(request, _POST_ONLY, send)
            return
        try:
            results = await self._results(request, receive)
        except Exception as error:  # noqa: BLE001 - the process boundary: a caller always gets a problem document
            results = bug_problem(error, request_id=request.request_id, route=f"POST {BULK_PATH}")
        if isinstance(results, Problem):
            await self._refuse(request, results, send)
            return
        body = orjson.dumps({"results": results.answers})
        await self._responder.send_json(send, status=200, body=body, request_id=request.request_id)
        self._telemetry.answered_items(results.accepted, results.replayed, results.refused)
        self._telemetry.answered(request.line, 200, None)

    async def _results(self, request: LeanRequest, receive: Receive) -> Results | Problem:
        asked = await self._read(request, receive)
        if isinstance(asked, Problem):
            return asked
        principal, operations, deadline_ms = asked
        now_s = asyncio.get_running_loop().time()
        caller = self._callers.caller(request, principal)
        checked = [_checked(operation, principal, caller) for operation in operations]
        commands = [one for one in checked if not isinstance(one, Problem)]
        problem = self._admission.admit(principal.vendor_id, now_s, commands=len(commands))
        if problem is not None:
            return problem
        return await self._decided(request, checked, deadline_at_s=now_s + deadline_ms / 1_000)

    async def _read(self, request: LeanRequest, receive: Receive) -> tuple[Principal, list[Any], int] | Problem:
        """What is of the whole, in order of precedence."""
        raw = await read_body(request.headers, receive, timeout_s=self._body_timeout_s, max_bytes=BULK_MAX_BYTES)
        if isinstance(raw, Problem):
            return raw
        if not request.is_json:
            return NOT_JSON
        if not request.is_well_formed():
            return _MALFORMED_PATH
        principal = self._tokens.verify(request.headers.get(b"authorization"), time.time())
        if isinstance(principal, Problem):
            return principal
        request.line.vendor = principal.vendor_id
        try:
            body = BulkBody.__pydantic_validator__.validate_json(raw)
        except ValidationError as error:
            return validation_problem(error)
        deadline_ms = deadline_ms_of(request.headers.get(b"x-deadline-ms"), default_ms=self._deadline_default_ms)
        if isinstance(deadline_ms, Problem):
            return deadline_ms
        request.line.kind = "bulk"
        return principal, body.operations, deadline_ms

    async def _decided(
        self, request: LeanRequest, checked: Sequence[Command | Problem], *, deadline_at_s: float
    ) -> Results:
        """Queued without a pause in between, so that nothing comes between two commands of one wallet."""
        submit = self._lanes.submit
        waiting = [one if isinstance(one, Problem) else submit(one, deadline_at_s=deadline_at_s) for one in checked]
        results = Results(request.request_id)
        followed: list[tuple[int, SendTransfer, Outcome]] = []
        for place, answer in enumerate(waiting):
            if isinstance(answer, Problem):
                results.refuse(answer)
                continue
            outcome = answer.result() if answer.done() else await answer
            command = checked[place]
            if isinstance(command, SendTransfer) and not isinstance(outcome, Rejected):
                followed.append((place, command, outcome))
            results.add(outcome)
        if followed:
            await self._follow(results, followed, deadline_at_s)
        return results

    async def _follow(
        self, results: Results, transfers: Sequence[tuple[int, SendTransfer, Outcome]], deadline_at_s: float
    ) -> None:
        """Transfers are answered as they are now: some go on into other cells."""
        room = asyncio.Semaphore(SAGAS_MAX)

        async def follow(place: int, command: SendTransfer, outcome: Any) -> None:
            async with room:
                try:
                    answer = await self._sagas.answer(command, outcome, deadline_at_s=deadline_at_s)
                except StoreLostError as error:
                    answer = unreachable(error)
            results.replace(place, answer)

        await asyncio.gather(*(follow(*transfer) for transfer in transfers))

    async def _refuse(self, request: LeanRequest, problem: Problem, send: Send) -> None:
        more = ((b"allow", b"POST"),) if problem is _POST_ONLY else ()
        await self._responder.send_problem(send, problem, request_id=request.request_id, more=more)
        self._telemetry.answered(request.line, problem.status, problem.code)


def _checked(fields: Any, principal: Principal, caller: Caller) -> Command | Problem:
    """The command of one operation, or the first reason why not, in order of precedence."""
    if not isinstance(fields, dict):
        return _malformed("", "must be an object")
    op = fields.get("op")
    operation = OPERATIONS.get(op) if isinstance(op, str) else None
    if operation is None:
        return _UNKNOWN_OP
    route = operation.route
    if route.scope not in principal.scopes:
        return scope_problem(principal, route.scope) or _UNKNOWN_OP
    try:
        body = operation.body.__pydantic_validator__.validate_python(fields)
    except ValidationError as error:
        return validation_problem(error)
    if operation.names_hold:
        return route.command(WalletId(body.wallet_id), body, caller, body.hold_id)
    return scope_of_body(principal, body) or route.command(WalletId(body.wallet_id), body, caller)


def _malformed(pointer: str, message: str) -> Problem:
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"{pointer or 'The operation'}: {message}",
        facts={"errors": [{"pointer": pointer, "message": message}]},
    )


_UNKNOWN_OP: Final = _malformed("/op", f"must be one of {', '.join(OPERATIONS)}")
_POST_ONLY: Final = Problem(reason=Reason.METHOD_MUST_BE_ALLOWED, detail="The route allows POST and no other method.")
_MALFORMED_PATH: Final = Problem(reason=Reason.PATH_MUST_BE_WELL_FORMED, detail="The path must be written plainly.")
