"""The vendor's entrance: a bare ASGI application that checks the outside of a request and has it delivered.

Refusals come in the order of precedence of `contract/reasons.py`. It knows no rule of money, no token and no body but
that of an opening; everything it relays, it relays unchanged.
"""

import time
from collections.abc import Callable

import structlog

from contract.bulk import BULK_MAX_BYTES
from contract.headers import BODY_MAX_BYTES, DEADLINE_MAX_MS, DEADLINE_MS
from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason
from router.access_log import AccessLog
from router.answers import Answer, json_answer, problem_answer, send_answer
from router.asgi import Receive, Scope, Send
from router.bulk import BulkJourney, operations_in
from router.cell_connections import CellWentSilentError
from router.delivery import Delivery, unreachable
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.opening import wallet_to_open
from router.owner_wallets import wallets_of_owner
from router.request import BodyTooLongError, Request, VendorLeftError, read_body
from router.routing.choice import Forward, choose_instances
from router.routing.directory import Directory
from router.routing.health import FleetHealth
from router.routing.request_head import Head, Kind, NoRoute, named_cell, parse_head, unknown_cell
from router.tracing import Tracing
from router.webhooks import ControlPlane, from_every_cell

_log = structlog.get_logger("router")


class Proxy:
    def __init__(
        self,
        *,
        delivery: Delivery,
        control_plane: ControlPlane,
        live_map: LiveMap,
        health: FleetHealth,
        metrics: RouterMetrics,
        access_log: AccessLog,
        tracing: Tracing | None,
        clock: Callable[[], float],
    ) -> None:
        self._delivery = delivery
        self._control_plane = control_plane
        self._live_map = live_map
        self._health = health
        self._metrics = metrics
        self._access_log = access_log
        self._tracing = tracing
        self._clock = clock
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served")
        request = Request(scope, now=self._clock())
        span = None if self._tracing is None else self._tracing.begin(request)
        status = await self._serve(scope, request, receive, send)
        if span is not None and self._tracing is not None:
            self._tracing.end(span, request, status=status)
        if request.is_own:
            return
        duration_s = self._clock() - request.started
        self._metrics.answered(request.cell_id, status, duration_s)
        self._access_log.add(request, status=status, duration_s=duration_s, unix_time_s=time.time())

    async def _serve(self, scope: Scope, request: Request, receive: Receive, send: Send) -> int:
        """Answer the request; the status, 499 for a vendor who left."""
        try:
            answer = await self._answer(scope, request, receive)
        except VendorLeftError:
            return 499
        except Exception as error:  # noqa: BLE001 - the boundary towards vendors: a bug is a problem document too
            _log.exception("request_broke", request_id=request.request_id, error=type(error).__name__)
            detail = "This is a bug of the platform; please report it with the request id."
            answer = self._no(request, Problem(reason=Reason.REQUEST_MUST_NOT_BREAK_THE_CELL, detail=detail))
        answer.headers.append((b"x-request-id", request.request_id.encode()))
        try:
            await send_answer(answer, send)
        except CellWentSilentError as error:
            # Part of it is sent, so it can be neither completed nor taken back: the server ends the connection.
            _log.warning("answer_broke", request_id=request.request_id, cell=request.cell_id, cause=str(error))
        return answer.status

    async def _answer(self, scope: Scope, request: Request, receive: Receive) -> Answer:
        head = parse_head(request.method, scope["raw_path"].decode("latin-1"))
        if isinstance(head, NoRoute):
            return problem_answer(head.problem, request_id=request.request_id, allow=head.allow)
        request.route_name = head.route.name
        if head.route.takes_body:
            max_bytes = BULK_MAX_BYTES if head.route.kind is Kind.BULK else BODY_MAX_BYTES
            try:
                request.body = await read_body(
                    receive, announced_bytes=request.inbound.content_length, max_bytes=max_bytes
                )
            except BodyTooLongError as error:
                return _too_long(request, max_bytes, closes=not error.is_drained)
            if not request.inbound.is_json:
                return self._no(request, _NOT_JSON)
        if head.flaw is not None:
            return self._no(request, Problem(reason=Reason.PATH_MUST_BE_WELL_FORMED, detail=head.flaw))
        if head.route.kind is Kind.OWN:
            return self._own(request)
        if request.inbound.deadline_ms is None:
            return self._ill_formed(request, _BAD_DEADLINE)
        return await self._delivered(request, head)

    async def _delivered(self, request: Request, head: Head) -> Answer:
        if head.wallet_id is not None:
            return await self._delivery.to_wallet(request, head.wallet_id)
        if head.route.kind is Kind.OPENING:
            return await self._opened(request)
        if head.route.kind is Kind.BULK:
            return await self._in_parts(request)
        if head.route.kind is Kind.CONTROL_PLANE:
            return await self._control_plane.answer(request, now=self._clock())
        directory = self._live_map.current
        if directory is None:
            return unreachable(request, "The router has no map yet.")
        if head.route.kind is Kind.EVERY_CELL:
            return await from_every_cell(request, self._delivery, directory)
        if head.route.kind is Kind.OWNER:
            return await wallets_of_owner(request, self._delivery, directory)
        if head.route.kind is Kind.NAMED_CELL:
            return await self._from_named_cell(request, directory)
        return await self._from_any_cell(request, directory)

    async def _opened(self, request: Request) -> Answer:
        """The same opening under its computed id, at the cell that owns that id."""
        wallet_id = wallet_to_open(request.body)
        if isinstance(wallet_id, Problem):
            return self._ill_formed(request, wallet_id)
        _, question_mark, query = request.target.partition(b"?")
        request.method = "PUT"
        request.target = b"/v1/wallets/%b%b%b" % (wallet_id.encode(), question_mark, query)
        return await self._delivery.to_wallet(request, WalletId(wallet_id))

    async def _from_named_cell(self, request: Request, directory: Directory) -> Answer:
        name = named_cell(request.target.partition(b"?")[2].decode("latin-1"))
        if isinstance(name, Problem):
            return self._ill_formed(request, name)
        if name is None:
            return await self._from_any_cell(request, directory)
        cell = next((cell for cell in directory.cells if cell.id == name), None)
        if cell is None:
            return self._ill_formed(request, unknown_cell("must be a cell of this fleet"))
        return await self._delivery.to_cell(request, cell)

    async def _in_parts(self, request: Request) -> Answer:
        operations = operations_in(request.body)
        if isinstance(operations, Problem):
            return self._ill_formed(request, operations)
        journey = BulkJourney(
            request,
            operations,
            delivery=self._delivery,
            live_map=self._live_map,
            metrics=self._metrics,
            clock=self._clock,
        )
        return await journey.answer()

    async def _from_any_cell(self, request: Request, directory: Directory) -> Answer:
        """The first answer of a cell that is in reach."""
        answer = unreachable(request, "No cell can be reached.")
        for cell in directory.cells:
            if isinstance(choose_instances(cell, 0, self._health, self._clock()), Forward):
                answer = await self._delivery.to_cell(request, cell, is_patient=False)
                if answer.status < 500:
                    break
        return answer

    def _own(self, request: Request) -> Answer:
        request.is_own = True
        directory = self._live_map.current
        if request.route_name == "GET /healthz":
            return json_answer({"status": "ok"})
        if self.is_draining:
            return unreachable(request, "The router is stopping.")
        if directory is None or not directory.has_owners:
            return unreachable(request, "The router has no map yet.")
        return json_answer({"status": "ready", "directory_version": directory.version})

    def _ill_formed(self, request: Request, problem: Problem) -> Answer:
        """A missing token outranks an ill-formed request; whether a token is valid is for the cell to say."""
        return self._no(request, problem if request.inbound.has_authorization else _NO_TOKEN)

    def _no(self, request: Request, problem: Problem) -> Answer:
        return problem_answer(problem, request_id=request.request_id)


_NOT_JSON = Problem(reason=Reason.CONTENT_TYPE_MUST_BE_JSON, detail="The body must be application/json.")
_NO_TOKEN = Problem(reason=Reason.TOKEN_MUST_BE_VALID, detail="The Authorization header is missing.")
_DEADLINE_RULE = f"must be a whole number from 1 to {DEADLINE_MAX_MS}"
_BAD_DEADLINE = Problem(
    reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
    detail=f"{DEADLINE_MS} {_DEADLINE_RULE}.",
    facts={"errors": [{"pointer": "", "header": DEADLINE_MS, "message": _DEADLINE_RULE}]},
)


def _too_long(request: Request, max_bytes: int, *, closes: bool) -> Answer:
    detail = f"The body must fit into {max_bytes} bytes."
    problem = Problem(reason=Reason.BODY_MUST_FIT, detail=detail)
    return problem_answer(problem, request_id=request.request_id, closes=closes)
