"""The deadline of ordinary routes: whoever has waited as long as it said it would gets its 504.

The deadline bounds the whole answer. One that has begun is broken off instead, which an HTTP client notices.
"""

from collections.abc import MutableMapping
from typing import Any

from cell.api.responses import AsgiApp, Message, Receive, Responder, Send, deadline_ms_of, request_id_in
from cell.patience import within
from cell.queries import TOO_LATE
from contract.problems import Problem


class Timed:
    """ASGI wrapper. A deadline that cannot be read counts as none: the route refuses it when its turn comes."""

    def __init__(self, app: AsgiApp, *, responder: Responder, default_ms: int) -> None:
        self._app = app
        self._responder = responder
        self._default_ms = default_ms

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_begun = is_late = False

        async def send_in_time(message: Message) -> None:
            nonlocal is_begun
            if not is_late:
                is_begun = True
                await send(message)

        async def answer() -> None:
            await self._app(scope, receive, send_in_time)

        try:
            await within(self._deadline_s(scope), answer())
        except TimeoutError:
            is_late = True
            if not is_begun:
                await self._responder.send_problem(send, TOO_LATE, request_id=request_id_in(scope))

    def _deadline_s(self, scope: MutableMapping[str, Any]) -> float:
        raw = next((text for name, text in scope["headers"] if name == b"x-deadline-ms"), None)
        asked = deadline_ms_of(raw, default_ms=self._default_ms)
        return (self._default_ms if isinstance(asked, Problem) else asked) / 1_000
