"""Ordinary FastAPI routes of the read path: wallets, balances at a past moment, entries, transactions, owners.

Parses and answers; what may be seen is decided by the caller's scopes, what is true by cell/queries.py.
"""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from cell.api.admission import Admission
from cell.api.errors import ProblemRaised
from cell.api.reading import From, Moment, Readers, To, WalletIdInPath, moment_of, shows_details
from cell.api.responses import json_response
from cell.api.tokens import Principal, TokenVerifier
from cell.api.translate import balance_at_of, balance_of, entry_answer_of, instant_us_of, wallet_answer_of
from cell.queries import Queries, malformed
from cell.store.reads import EntryFilter, Order, StoredEntry
from contract.answers import BalanceAnswer, EntriesAnswer, EntryAnswer, EntryKind, OwnedWalletsAnswer, WalletAnswer
from contract.ids import NAME_PATTERN, OWNER_REF_PATTERN, UUID_PATTERN, TransactionId, WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500


def history_routes(*, tokens: TokenVerifier, admission: Admission, queries: Queries) -> APIRouter:
    router = APIRouter()

    readers = Readers(tokens=tokens, admission=admission, queries=queries)
    Reader = Annotated[Principal, Depends(readers.caller)]  # noqa: N806 - a type

    @router.get("/v1/wallets/{wallet_id}", response_model=WalletAnswer, summary="Show a wallet")
    async def show_wallet(wallet_id: WalletIdInPath, principal: Reader) -> Response:
        return json_response(wallet_answer_of(await readers.wallet(wallet_id, principal)))

    @router.get(
        "/v1/wallets/{wallet_id}/balance", response_model=BalanceAnswer, summary="Balance, now or at a past moment"
    )
    async def show_balance(wallet_id: WalletIdInPath, principal: Reader, at: Moment = None) -> Response:
        moment = moment_of(at, "at")
        wallet = await readers.wallet(wallet_id, principal)
        if moment is None:
            return json_response(balance_of(wallet))
        past = await queries.balance_at(WalletId(wallet_id), moment)
        if isinstance(past, Problem):
            raise ProblemRaised(past)
        return json_response(balance_at_of(past))

    @router.get("/v1/wallets/{wallet_id}/entries", response_model=EntriesAnswer, summary="The wallet's log, by pages")
    async def list_entries(
        wallet_id: WalletIdInPath,
        principal: Reader,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
        from_: From = None,
        to: To = None,
        kind: EntryKind | None = None,
        order: Order = "desc",
    ) -> Response:
        wanted = EntryFilter(
            wallet_id=WalletId(wallet_id),
            limit=limit,
            order=order,
            from_at=moment_of(from_, "from"),
            to_at=moment_of(to, "to"),
            kind=kind,
            after=None if cursor is None else _place(cursor),
        )
        await readers.wallet(wallet_id, principal)
        rows, has_more = await queries.entries(wanted)
        answers = [entry_answer_of(row, shows_details=shows_details(principal, row)) for row in rows]
        return json_response({"entries": answers, "next_cursor": _cursor(rows[-1]) if has_more else None})

    @router.get(
        "/v1/wallets/{wallet_id}/transactions/{transaction_id}",
        response_model=EntryAnswer,
        summary="The entry that decided a transaction",
    )
    async def show_transaction(
        wallet_id: WalletIdInPath,
        transaction_id: Annotated[str, Path(pattern=UUID_PATTERN)],
        principal: Reader,
    ) -> Response:
        await readers.wallet(wallet_id, principal)
        entry = await queries.transaction(
            WalletId(wallet_id),
            principal.vendor_id,
            TransactionId(transaction_id),
            may_see_all=Scope.WALLET_MANAGE in principal.scopes,
        )
        if isinstance(entry, Problem):
            raise ProblemRaised(entry)
        return json_response(entry_answer_of(entry, shows_details=shows_details(principal, entry)))

    # `path`, because a ref may hold a slash: the server has decoded it by now.
    @router.get(
        "/v1/owners/{type}/{ref:path}/wallets", response_model=OwnedWalletsAnswer, summary="Wallets of an owner"
    )
    async def list_owned(
        principal: Reader,
        type_: Annotated[str, Path(alias="type", pattern=NAME_PATTERN)],
        ref: Annotated[str, Path(pattern=OWNER_REF_PATTERN)],
        currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$")] = None,
        kind: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    ) -> Response:
        if principal.owner_types is not None and type_ not in principal.owner_types:
            detail = f"The token does not cover wallets of owners of type {type_!r}."
            raise ProblemRaised(Problem(reason=Reason.SCOPE_MUST_ALLOW, qualifier="read", detail=detail))
        readers.admit(principal)
        owned = await queries.wallets_of_owner(owner_type=type_, owner_ref=ref, currency=currency, kind=kind)
        return json_response({"wallets": [wallet_answer_of(wallet) for wallet in owned]})

    return router


def _cursor(row: StoredEntry) -> str:
    place = f"{instant_us_of(row.posted_at)}.{row.seq}"
    return base64.urlsafe_b64encode(place.encode()).rstrip(b"=").decode()


def _place(cursor: str) -> tuple[datetime, int]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        instant_us, _, seq = text.partition(".")
        moment = datetime.fromtimestamp(int(instant_us) // 1_000_000, tz=UTC)
        return moment.replace(microsecond=int(instant_us) % 1_000_000), min(max(int(seq), 0), 2**63 - 1)
    except (ValueError, OverflowError, OSError, binascii.Error) as error:
        raise ProblemRaised(malformed("cursor", "must be a next_cursor of an earlier page")) from error
