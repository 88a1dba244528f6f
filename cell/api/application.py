"""The vendor API of a cell as one ASGI application: the lean routes in front of the ordinary ones."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from cell.api.admin import answer_lost_database
from cell.api.admission import Admission
from cell.api.asking import Callers
from cell.api.bulk import BulkRoute
from cell.api.deadlines import Timed
from cell.api.errors import answer_problems
from cell.api.history import history_routes
from cell.api.hold_routes import hold_routes
from cell.api.openapi import openapi_document
from cell.api.proofs import PublishedKeys, proof_routes
from cell.api.reading import Readers
from cell.api.responses import AsgiApp, Identified, Receive, Responder, Send, request_id_in
from cell.api.statement_routes import statement_routes
from cell.api.tokens import TokenVerifier
from cell.api.wallet_routes import WalletRoutes
from cell.api.webhook_routes import webhook_routes
from cell.lanes import Lanes
from cell.policy import LimitPolicy
from cell.queries import Queries
from cell.sagas import Sagas
from cell.store.dead_letters import DeadLetters
from cell.telemetry import AccessLine, Telemetry
from contract.configuration import CellConfiguration


def vendor_application(
    *,
    cell_id: str,
    version: str,
    tokens: TokenVerifier,
    admission: Admission,
    lanes: Lanes,
    queries: Queries,
    keys: PublishedKeys,
    sagas: Sagas,
    letters: DeadLetters,
    configuration: Callable[[], CellConfiguration | None],
    telemetry: Telemetry,
    limits: LimitPolicy,
    may_leave: bool,
    is_ready: Callable[[], bool],
    deadline_default_ms: int,
    body_timeout_ms: int,
) -> AsgiApp:
    responder = Responder(cell_id=cell_id)
    app = FastAPI(title="cellwallet: vendor API", version=version, redirect_slashes=False, redoc_url=None)
    answer_problems(app, responder)
    answer_lost_database(app, responder)
    app.include_router(history_routes(tokens=tokens, admission=admission, queries=queries))
    app.include_router(hold_routes(tokens=tokens, admission=admission, queries=queries))
    app.include_router(statement_routes(tokens=tokens, admission=admission, queries=queries))
    app.include_router(proof_routes(cell_id=cell_id, tokens=tokens, admission=admission, queries=queries, keys=keys))
    app.include_router(webhook_routes(cell_id=cell_id, tokens=tokens, letters=letters, configuration=configuration))

    readers = Readers(tokens=tokens, admission=admission, queries=queries)
    for routes in sagas.routes(readers):
        app.include_router(routes)

    _add_probes(app, cell_id=cell_id, is_ready=is_ready)
    document: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not document:
            document.update(openapi_document(app, version=version))
        return document

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way to replace the document
    timed = Timed(app, responder=responder, default_ms=deadline_default_ms)
    rest = _Told(Identified(timed, cell_id=cell_id), telemetry)
    lean: dict[str, Any] = {
        "tokens": tokens,
        "admission": admission,
        "lanes": lanes,
        "responder": responder,
        "telemetry": telemetry,
        "callers": Callers(telemetry=telemetry, limits=limits, may_leave=may_leave),
        "sagas": sagas.answers,
        "deadline_default_ms": deadline_default_ms,
        "body_timeout_ms": body_timeout_ms,
    }
    return WalletRoutes(BulkRoute(rest, **lean), queries=queries, **lean)


def _add_probes(app: FastAPI, *, cell_id: str, is_ready: Callable[[], bool]) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def show_health() -> dict[str, str]:
        return {"status": "alive", "cell": cell_id}

    @app.get("/readyz", include_in_schema=False)
    async def show_readiness() -> Response:
        if is_ready():
            return Response('{"status":"ready"}', media_type="application/json")
        return Response('{"status":"not ready"}', status_code=503, media_type="application/json")


class _Told:
    """ASGI wrapper of the ordinary routes: each request gets its line in the access log; probes do not."""

    def __init__(self, app: AsgiApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in {"/healthz", "/readyz"}:
            await self._app(scope, receive, send)
            return
        line = AccessLine(request_id_in(scope), scope["method"], scope["path"], time.perf_counter())
        headers = dict(scope["headers"])
        line.trace_id = self._telemetry.trace_id(headers.get(b"traceparent"))
        status = 500

        async def send_told(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_told)
        finally:
            self._telemetry.answered(line, status, None if status < 400 else f"status_{status}")
