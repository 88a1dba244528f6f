"""The routes under /v1/wallets that change something, and the plain balance: the money path.

They are lean ASGI: a framework's routing and injection cost more than the whole decision. What is checked, and in
which order, is contract/reasons.py's precedence; no rule of money stands here. Everything else is handed on to the
ordinary FastAPI application.
"""

import asyncio
import time
from collections.abc import MutableMapping
from typing import Any, Final

import orjson
from pydantic import ValidationError

from cell.api.admission import Admission
from cell.api.asking import NOT_JSON, Callers, LeanRequest
from cell.api.body import read_body
from cell.api.errors import bug_problem, validation_problem
from cell.api.responses import AsgiApp, Headers, Receive, Responder, Send, deadline_ms_of
from cell.api.saga_answers import SagaAnswers
from cell.api.tokens import Principal, TokenVerifier, scope_problem
from cell.api.translate import balance_of, posting_of, refusal_of, wallet_answer_of
from cell.api.write_routes import ALLOWED, COLLECTION, OPENING, PREFIX, ROUTES, WriteRoute, item_route_of
from cell.lanes import Lanes
from cell.ledger.commands import Command, SendTransfer, StartGroup
from cell.ledger.model import Recorded
from cell.ledger.outcomes import Accepted, Marked, Outcome, Refused, Rejected, Replayed
from cell.ports import StoreLostError
from cell.queries import Queries
from cell.store.wallet_reader import StoredWallet
from cell.telemetry import Telemetry
from contract.bodies import Body, GroupBody, OpenWalletBody, ReverseBody
from contract.ids import WalletId, wallet_id_of
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope

_REPLAYED: Final = ((b"idempotent-replayed", b"true"),)


class WalletRoutes:
    """ASGI application in front of `rest`."""

    def __init__(
        self,
        rest: AsgiApp,
        *,
        tokens: TokenVerifier,
        admission: Admission,
        lanes: Lanes,
        queries: Queries,
        responder: Responder,
        telemetry: Telemetry,
        callers: Callers,
        sagas: SagaAnswers,
        deadline_default_ms: int,
        body_timeout_ms: int,
    ) -> None:
        self._rest = rest
        self._tokens = tokens
        self._admission = admission
        self._lanes = lanes
        self._queries = queries
        self._responder = responder
        self._telemetry = telemetry
        self._deadline_default_ms = deadline_default_ms
        self._body_timeout_s = body_timeout_ms / 1_000
        self._callers = callers
        self._sagas = sagas

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        path: str = scope["path"]
        method: str = scope["method"]
        if path.startswith(PREFIX) and path != PREFIX:
            wallet_id, slash, verb = path[len(PREFIX) :].partition("/")
            verb = verb or slash  # a trailing slash makes another path, which no route has
            route = ROUTES.get((method, verb))
            if route is not None:
                await self._write(LeanRequest(scope), route, wallet_id, receive, send)
            elif verb == "balance" and method == "GET" and not scope["query_string"]:
                await self._balance(LeanRequest(scope), wallet_id, send)
            elif "/" in verb and (about_item := item_route_of(verb)) is not None:
                route, item = about_item
                if method == route.method:
                    await self._write(LeanRequest(scope), route, wallet_id, receive, send, item)
                else:
                    await self._method_not_allowed(LeanRequest(scope), route.method.encode(), send)
            elif verb in ALLOWED and method.encode() not in ALLOWED[verb].split(b", "):
                await self._method_not_allowed(LeanRequest(scope), ALLOWED[verb], send)
            else:
                await self._rest(scope, receive, send)
        elif path == COLLECTION and method == "POST":
            await self._write(LeanRequest(scope), OPENING, None, receive, send)
        elif path == COLLECTION:
            await self._method_not_allowed(LeanRequest(scope), b"POST", send)
        else:
            await self._rest(scope, receive, send)

    async def _write(
        self,
        request: LeanRequest,
        route: WriteRoute,
        wallet_id: str | None,
        receive: Receive,
        send: Send,
        *items: str,
    ) -> None:
        """`items` are the ids in the path behind the wallet's."""
        try:
            asked = await self._read(request, route, wallet_id, receive, *items)
            if isinstance(asked, Problem):
                await self._refuse(request, asked, send)
                return
            command, deadline_at_s = asked
            outcome = await self._lanes.submit(command, deadline_at_s=deadline_at_s)
            await self._answer(request, route, command, outcome, send, deadline_at_s)
        except StoreLostError as error:
            await self._refuse(request, unreachable(error), send)
        except Exception as error:  # noqa: BLE001 - the process boundary: a caller always gets a problem document
            problem = bug_problem(error, request_id=request.request_id, route=f"{route.method} {route.verb}")
            await self._refuse(request, problem, send)

    async def _read(
        self, request: LeanRequest, route: WriteRoute, wallet_id: str | None, receive: Receive, *items: str
    ) -> tuple[Command, float] | Problem:
        """The command that the request asks for, or the first reason why not, in order of precedence."""
        loop_time_s = asyncio.get_running_loop().time()
        raw = await read_body(request.headers, receive, timeout_s=self._body_timeout_s)
        if isinstance(raw, Problem):
            return raw
        if not request.is_json:
            return NOT_JSON
        if wallet_id is not None and not request.is_well_formed(wallet_id, *items):
            return _MALFORMED_PATH
        principal = self._tokens.verify(request.headers.get(b"authorization"), time.time())
        if isinstance(principal, Problem):
            return principal
        request.line.vendor = principal.vendor_id
        problem = scope_problem(principal, route.scope)
        if problem is not None:
            return problem
        try:
            body = route.body.__pydantic_validator__.validate_json(raw)
        except ValidationError as error:
            return validation_problem(error)
        deadline_ms = deadline_ms_of(request.headers.get(b"x-deadline-ms"), default_ms=self._deadline_default_ms)
        if isinstance(deadline_ms, Problem):
            return deadline_ms
        problem = scope_of_body(principal, body) or self._admission.admit(principal.vendor_id, loop_time_s)
        if problem is not None:
            return problem
        if isinstance(body, OpenWalletBody):
            wallet_id = _opened_id(body, wallet_id)
        elif isinstance(body, GroupBody) and all(leg.wallet_id != wallet_id for leg in body.legs):
            return _NO_ANCHOR
        if wallet_id is None:
            return _FOREIGN_ID
        command = route.command(WalletId(wallet_id), body, self._callers.caller(request, principal), *items)
        request.line.asked(command)
        return command, loop_time_s + deadline_ms / 1_000

    async def _answer(
        self,
        request: LeanRequest,
        route: WriteRoute,
        command: Command,
        outcome: Outcome,
        send: Send,
        deadline_at_s: float,
    ) -> None:
        if isinstance(outcome, Rejected):
            await self._refuse(request, outcome.problem, send)
            return
        assert not isinstance(outcome, Marked)  # noqa: S101 - only the platform's own commands are marked
        recorded: Recorded = outcome.recorded
        is_replay = isinstance(outcome, Replayed)
        more = _REPLAYED if is_replay else ()
        request.line.seq = recorded.seq
        if isinstance(command, SendTransfer | StartGroup):
            await self._answer_saga(request, command, outcome, send, deadline_at_s)
        elif isinstance(outcome, Refused) or recorded.reason is not None:
            await self._refuse(request, refusal_of(recorded), send, more=more)
        elif route.answer == "posting":
            self._telemetry.accepted(recorded.kind, is_replay=is_replay)
            await self._send(request, 201, orjson.dumps(posting_of(recorded)), send, more=more)
        else:
            self._telemetry.accepted(recorded.kind, is_replay=is_replay)
            await self._answer_wallet(request, route, command, outcome, send, deadline_at_s)

    async def _answer_saga(
        self,
        request: LeanRequest,
        command: SendTransfer | StartGroup,
        outcome: Accepted | Refused | Replayed,
        send: Send,
        deadline_at_s: float,
    ) -> None:
        """What may reach beyond the cell is answered as it is now, on a replay too."""
        is_replay = isinstance(outcome, Replayed)
        more: tuple[tuple[bytes, bytes], ...] = _REPLAYED if is_replay else ()
        answer = await self._sagas.answer(command, outcome, deadline_at_s=deadline_at_s)
        if isinstance(answer, Problem):
            await self._refuse(request, answer, send, more=more)
            return
        self._telemetry.accepted(outcome.recorded.kind, is_replay=is_replay)
        if answer.location is not None:
            more = (*more, (b"location", answer.location.encode()))
        await self._send(request, answer.status, orjson.dumps(answer.body), send, more=more)

    async def _answer_wallet(
        self,
        request: LeanRequest,
        route: WriteRoute,
        command: Command,
        outcome: Accepted | Replayed,
        send: Send,
        deadline_at_s: float,
    ) -> None:
        """The wallet as it is now; an opening that was new says where it is."""
        left_s = deadline_at_s - asyncio.get_running_loop().time()
        wallet = await self._queries.wallet(command.wallet_id, None, within_s=left_s)
        if isinstance(wallet, Problem):
            await self._refuse(request, wallet, send)
            return
        more: tuple[tuple[bytes, bytes], ...] = _REPLAYED if isinstance(outcome, Replayed) else ()
        is_born = route is OPENING and isinstance(outcome, Accepted)
        if is_born:
            more = ((b"location", f"{PREFIX}{command.wallet_id}".encode()),)
        await self._send(request, 201 if is_born else 200, orjson.dumps(wallet_answer_of(wallet)), send, more=more)

    async def _balance(self, request: LeanRequest, wallet_id: str, send: Send) -> None:
        try:
            wallet = await self._readable_wallet(request, wallet_id)
        except StoreLostError as error:
            wallet = unreachable(error)
        if isinstance(wallet, Problem):
            await self._refuse(request, wallet, send)
        else:
            self._telemetry.read("balance")
            await self._send(request, 200, orjson.dumps(balance_of(wallet)), send)

    async def _readable_wallet(self, request: LeanRequest, wallet_id: str) -> StoredWallet | Problem:
        if not request.is_well_formed(wallet_id):
            return _MALFORMED_PATH
        principal = self._tokens.verify(request.headers.get(b"authorization"), time.time())
        if isinstance(principal, Problem):
            return principal
        request.line.vendor = principal.vendor_id
        problem = scope_problem(principal, Scope.WALLET_READ)
        if problem is not None:
            return problem
        deadline_ms = deadline_ms_of(request.headers.get(b"x-deadline-ms"), default_ms=self._deadline_default_ms)
        if isinstance(deadline_ms, Problem):
            return deadline_ms
        problem = self._admission.admit(principal.vendor_id, asyncio.get_running_loop().time(), commands=0)
        if problem is not None:
            return problem
        return await self._queries.wallet(WalletId(wallet_id), principal.owner_types, within_s=deadline_ms / 1_000)

    async def _method_not_allowed(self, request: LeanRequest, allowed: bytes, send: Send) -> None:
        problem = Problem(
            reason=Reason.METHOD_MUST_BE_ALLOWED, detail=f"The route allows {allowed.decode()} and no other method."
        )
        await self._refuse(request, problem, send, more=((b"allow", allowed),))

    async def _send(self, request: LeanRequest, status: int, body: bytes, send: Send, *, more: Headers = ()) -> None:
        await self._responder.send_json(send, status=status, body=body, request_id=request.request_id, more=more)
        self._telemetry.answered(request.line, status, None)

    async def _refuse(self, request: LeanRequest, problem: Problem, send: Send, *, more: Headers = ()) -> None:
        await self._responder.send_problem(send, problem, request_id=request.request_id, more=more)
        self._telemetry.answered(request.line, problem.status, problem.code)


def unreachable(error: StoreLostError) -> Problem:
    del error  # for the log, not for the caller
    return Problem(
        reason=Reason.CELL_MUST_BE_REACHABLE, detail="The cell's database cannot be reached; please try again."
    )


def scope_of_body(principal: Principal, body: Body) -> Problem | None:
    """Scopes that depend on what is asked."""
    if isinstance(body, OpenWalletBody) and body.overdraft_limit > 0:
        return scope_problem(principal, Scope.WALLET_MANAGE)
    if isinstance(body, ReverseBody) and body.original_vendor not in (None, principal.vendor_id):
        return scope_problem(principal, Scope.MONEY_REVERSE_ANY)
    return None


def _opened_id(body: OpenWalletBody, wallet_id: str | None) -> str | None:
    """The computed id; none if the path names another one."""
    computed = wallet_id_of(
        owner_type=body.owner.type, owner_ref=body.owner.ref, kind=body.kind, currency=body.currency
    )
    return computed if wallet_id in (None, computed) else None


_MALFORMED_PATH = Problem(
    reason=Reason.PATH_MUST_BE_WELL_FORMED, detail="Ids in the path must be UUIDs in canonical form."
)
_NO_ANCHOR = Problem(
    reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
    detail="One of the legs must be the wallet of the path.",
    facts={"errors": [{"pointer": "/legs", "message": "must name the wallet of the path"}]},
)
_FOREIGN_ID = Problem(
    reason=Reason.WALLET_ID_MUST_MATCH_OWNER,
    detail="The wallet id must be the one computed from owner, kind and currency.",
)
