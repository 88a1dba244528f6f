"""What a vendor asks a cell about its webhooks: the events of this cell that could not be delivered, and once more.

Which webhooks there are is the control plane's to say; the cell knows them from its configuration. Another vendor's
webhook is as unknown as one that never was.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from cell.api.errors import ProblemRaised
from cell.api.responses import json_response
from cell.api.tokens import Principal, TokenVerifier, scope_problem
from cell.events.event import identity
from cell.store.dead_letters import DeadLetter, DeadLetters, Place
from contract.configuration import CellConfiguration
from contract.ids import UUID_PATTERN
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope
from contract.webhooks import (
    LETTERS_DEFAULT,
    LETTERS_MAX,
    DeadLettersAnswer,
    RedeliveryAnswer,
    letter_cursor,
    letter_place,
)

_UUID: Final = re.compile(UUID_PATTERN)

WebhookIdInPath = Annotated[str, Path(pattern=UUID_PATTERN)]


def webhook_routes(
    *,
    cell_id: str,
    tokens: TokenVerifier,
    letters: DeadLetters,
    configuration: Callable[[], CellConfiguration | None],
) -> APIRouter:
    router = APIRouter()

    def owner(request: Request) -> Principal:
        """The caller, with `webhook:manage`, of a webhook of its own."""
        webhook_id = request.path_params["webhook_id"]
        if _UUID.fullmatch(webhook_id) is None or b"%" in request.scope["raw_path"]:
            raise ProblemRaised(_MALFORMED_PATH)
        header = request.headers.get("authorization")
        principal = tokens.verify(None if header is None else header.encode("latin-1"), time.time())
        if isinstance(principal, Problem):
            raise ProblemRaised(principal)
        problem = scope_problem(principal, Scope.WEBHOOK_MANAGE)
        if problem is not None:
            raise ProblemRaised(problem)
        return principal

    Owner = Annotated[Principal, Depends(owner)]  # noqa: N806 - a type

    @router.get(
        "/v1/webhooks/{webhook_id}/dead_letters",
        response_model=DeadLettersAnswer,
        summary="Events that could not be delivered",
    )
    async def list_dead_letters(
        webhook_id: WebhookIdInPath,
        principal: Owner,
        limit: Annotated[int, Query(ge=1, le=LETTERS_MAX)] = LETTERS_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Response:
        """The oldest first; at the router those of all cells."""
        after = None if cursor is None else _place(cursor)
        _must_be_of(principal, webhook_id, configuration())
        rows = await letters.page(webhook_id=webhook_id, vendor_id=principal.vendor_id, after=after, limit=limit + 1)
        shown = [_letter(row, cell_id=cell_id) for row in rows[:limit]]
        following = letter_cursor(shown[-1]) if len(rows) > limit else None
        return json_response({"dead_letters": shown, "next_cursor": following})

    @router.post(
        "/v1/webhooks/{webhook_id}/redeliver",
        response_model=RedeliveryAnswer,
        summary="Send the dead letters again",
    )
    async def redeliver(webhook_id: WebhookIdInPath, principal: Owner) -> Response:
        _must_be_of(principal, webhook_id, configuration())
        count = await letters.redeliver(webhook_id=webhook_id, vendor_id=principal.vendor_id)
        return json_response({"redelivered": count})

    return router


def _must_be_of(principal: Principal, webhook_id: str, current: CellConfiguration | None) -> None:
    known = () if current is None else current.webhooks
    if not any(one.id == webhook_id and one.vendor_id == principal.vendor_id for one in known):
        detail = f"There is no webhook {webhook_id}."
        raise ProblemRaised(Problem(reason=Reason.WEBHOOK_MUST_EXIST, detail=detail))


def _letter(row: DeadLetter, *, cell_id: str) -> dict[str, Any]:
    return {
        "event_id": identity(row.wallet_id, row.seq, row.entry_hash),
        "type": row.type,
        "cell": cell_id,
        "wallet_id": row.wallet_id,
        "seq": row.seq,
        "entry_hash": row.entry_hash.hex(),
        "occurred_at": _text(row.occurred_at),
        "attempts": row.attempts,
        "last_error": row.last_error,
        "dead_at": _text(row.dead_at),
    }


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _place(cursor: str) -> Place:
    place = letter_place(cursor)
    if place is None:
        message = "must be a next_cursor of an earlier page"
        raise ProblemRaised(
            Problem(
                reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
                detail=f"cursor: {message}",
                facts={"errors": [{"pointer": "", "parameter": "cursor", "message": message}]},
            )
        )
    return place


_MALFORMED_PATH: Final = Problem(
    reason=Reason.PATH_MUST_BE_WELL_FORMED, detail="Ids in the path must be UUIDs in canonical form."
)
