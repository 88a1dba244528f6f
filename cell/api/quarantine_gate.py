"""The vendor port of a cell in quarantine: one answer to everybody, reads included, with nothing looked at.

Courtesy, so that nobody waits for a connection that nobody gets; what decides is the database.
"""

from collections.abc import Callable, MutableMapping
from typing import Any, Final

from starlette.responses import Response

from cell.api.responses import AsgiApp, Receive, Responder, Send, request_id_in
from contract.problems import Problem
from contract.reasons import Reason

RETRY_AFTER_S: Final = 30
"""People decide how long it takes."""
PROBLEM: Final = Problem(
    reason=Reason.CELL_MUST_BE_REACHABLE,
    detail="The cell was restored from a backup and is closed until that has been looked at; nothing was recorded.",
    facts={"retry_after_s": RETRY_AFTER_S},
)


class QuarantineGate:
    def __init__(self, app: AsgiApp, *, is_quarantined: Callable[[], bool], responder: Responder) -> None:
        self._app = app
        self._is_quarantined = is_quarantined
        self._responder = responder

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_quarantined() or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        answer = self._responder.problem_response(PROBLEM, request_id=request_id_in(scope))
        if scope["path"] == "/readyz":
            answer = Response('{"status":"quarantined"}', status_code=503, media_type="application/json")
        await answer(scope, receive, send)
