"""Ordinary FastAPI routes that tell a wallet's holds: a vendor its own ones, `wallet:manage` every vendor's.

Parses and answers; what there is stands in cell/store/hold_reads.py.
"""

import base64
import binascii
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from cell.api.admission import Admission
from cell.api.errors import ProblemRaised
from cell.api.reading import Readers, WalletIdInPath
from cell.api.responses import json_response
from cell.api.tokens import Principal, TokenVerifier
from cell.api.translate import instant_text, instant_us_of
from cell.queries import Queries, malformed
from cell.store.hold_reads import HoldFilter, StoredHold, hold_page, one_hold
from contract.answers import HoldAnswer, HoldsAnswer, HoldState
from contract.ids import UUID_PATTERN, TransactionId, WalletId, is_canonical_uuid
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500


def hold_routes(*, tokens: TokenVerifier, admission: Admission, queries: Queries) -> APIRouter:
    router = APIRouter()

    readers = Readers(tokens=tokens, admission=admission, queries=queries)
    Reader = Annotated[Principal, Depends(readers.caller)]  # noqa: N806 - a type

    @router.get("/v1/wallets/{wallet_id}/holds", response_model=HoldsAnswer, summary="Holds of a wallet, by pages")
    async def list_holds(
        wallet_id: WalletIdInPath,
        principal: Reader,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=300)] = None,
        state: HoldState | None = None,
    ) -> Response:
        wanted = HoldFilter(
            wallet_id=WalletId(wallet_id),
            vendor_id=None if _sees_all(principal) else principal.vendor_id,
            limit=limit + 1,  # one more tells whether more follow
            state=state,
            after=None if cursor is None else _place(cursor),
        )
        await readers.wallet(wallet_id, principal)
        found = list(await queries.ask(lambda connection: hold_page(connection, wanted)))
        page, has_more = found[:limit], len(found) > limit
        return json_response(
            {"holds": [hold_of(row) for row in page], "next_cursor": _cursor(page[-1]) if has_more else None}
        )

    @router.get("/v1/wallets/{wallet_id}/holds/{hold_id}", response_model=HoldAnswer, summary="Show a hold")
    async def show_hold(
        wallet_id: WalletIdInPath, hold_id: Annotated[str, Path(pattern=UUID_PATTERN)], principal: Reader
    ) -> Response:
        await readers.wallet(wallet_id, principal)
        row = await queries.ask(
            lambda connection: one_hold(
                connection,
                WalletId(wallet_id),
                principal.vendor_id,
                TransactionId(hold_id),
                may_see_all=_sees_all(principal),
            )
        )
        if row is None:
            detail = f"This wallet has no hold {hold_id} of this vendor."
            raise ProblemRaised(Problem(reason=Reason.HOLD_MUST_EXIST, detail=detail, is_of_read=True))
        return json_response(hold_of(row))

    return router


def hold_of(row: StoredHold) -> dict[str, Any]:
    return {
        "hold_id": row.hold_id,
        "wallet_id": row.wallet_id,
        "vendor_id": row.vendor_id,
        "amount": row.amount,
        "captured": row.captured,
        "remaining": row.remaining,
        "state": row.state,
        "placed_at": instant_text(instant_us_of(row.placed_at)),
        "expires_at": None if row.expires_at is None else instant_text(instant_us_of(row.expires_at)),
    }


def _sees_all(principal: Principal) -> bool:
    return Scope.WALLET_MANAGE in principal.scopes


def _cursor(row: StoredHold) -> str:
    return base64.urlsafe_b64encode(f"{row.hold_id}{row.vendor_id}".encode()).rstrip(b"=").decode()


def _place(cursor: str) -> tuple[str, str]:
    """The vendor and the hold that a page ended with."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error) as error:
        raise ProblemRaised(_BAD_CURSOR) from error
    hold_id, vendor_id = text[:36], text[36:]
    if not is_canonical_uuid(hold_id) or "\x00" in vendor_id:
        raise ProblemRaised(_BAD_CURSOR)
    return vendor_id, hold_id


_BAD_CURSOR: Final = malformed("cursor", "must be a next_cursor of an earlier page")
