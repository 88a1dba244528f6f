"""Ordinary FastAPI routes of the read path: wallets, balances at a past moment, entries, transactions, owners.

Parses and answers; what may be seen is decided by the caller's scopes, what is true by cell/queries.py.
"""

import asyncio
import base64
import binascii
import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from cell.api.admission import Admission
from cell.api.errors import ProblemRaised
from cell.api.tokens import Principal, TokenVerifier, scope_problem
from cell.api.translate import balance_at_of, balance_of, entry_answer_of, instant_us_of, wallet_answer_of
from cell.queries import Queries
from cell.store.reads import EntryFilter, Order, StoredEntry
from cell.store.wallet_reader import StoredWallet
from contract.answers import BalanceAnswer, EntriesAnswer, EntryAnswer, EntryKind, OwnedWalletsAnswer, WalletAnswer
from contract.ids import NAME_PATTERN, OWNER_REF_PATTERN, UUID_PATTERN, TransactionId, WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
_MOMENT: Final = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+ -]\d{2}:\d{2})$"
_FRACTION: Final = re.compile(r"\.(\d+)")
_PATH_PATTERNS: Final = {
    "wallet_id": re.compile(UUID_PATTERN),
    "transaction_id": re.compile(UUID_PATTERN),
    "type": re.compile(NAME_PATTERN),
    "ref": re.compile(OWNER_REF_PATTERN),
}

WalletIdInPath = Annotated[str, Path(pattern=UUID_PATTERN, description="The wallet's computed id.")]
_DATE_TIME: Final[dict[str, Any]] = {"format": "date-time"}
Moment = Annotated[
    str | None, Query(pattern=_MOMENT, description="RFC 3339 with offset.", json_schema_extra=_DATE_TIME)
]
From = Annotated[
    str | None, Query(alias="from", pattern=_MOMENT, description="Inclusive.", json_schema_extra=_DATE_TIME)
]
To = Annotated[str | None, Query(pattern=_MOMENT, description="Exclusive.", json_schema_extra=_DATE_TIME)]


def history_routes(*, tokens: TokenVerifier, admission: Admission, queries: Queries) -> APIRouter:
    router = APIRouter()

    async def reader(request: Request) -> Principal:
        """The caller, with `wallet:read`. FastAPI asks this before it looks at path and query."""
        if not _is_well_formed(request):
            raise ProblemRaised(_MALFORMED_PATH)
        authorization = request.headers.get("authorization")
        principal = tokens.verify(None if authorization is None else authorization.encode("latin-1"), time.time())
        if isinstance(principal, Problem):
            raise ProblemRaised(principal)
        problem = scope_problem(principal, Scope.WALLET_READ)
        if problem is not None:
            raise ProblemRaised(problem)
        return principal

    Reader = Annotated[Principal, Depends(reader)]  # noqa: N806 - a type

    def admit(principal: Principal) -> None:
        problem = admission.admit(principal.vendor_id, asyncio.get_running_loop().time(), commands=0)
        if problem is not None:
            raise ProblemRaised(problem)

    async def readable(wallet_id: str, principal: Principal) -> StoredWallet:
        admit(principal)
        wallet = await queries.wallet(WalletId(wallet_id), principal.owner_types)
        if isinstance(wallet, Problem):
            raise ProblemRaised(wallet)
        return wallet

    @router.get("/v1/wallets/{wallet_id}", response_model=WalletAnswer, summary="Show a wallet")
    async def show_wallet(wallet_id: WalletIdInPath, principal: Reader) -> Response:
        return _json(wallet_answer_of(await readable(wallet_id, principal)))

    @router.get(
        "/v1/wallets/{wallet_id}/balance", response_model=BalanceAnswer, summary="Balance, now or at a past moment"
    )
    async def show_balance(wallet_id: WalletIdInPath, principal: Reader, at: Moment = None) -> Response:
        moment = None if at is None else _moment(at, "at")
        wallet = await readable(wallet_id, principal)
        if moment is None:
            return _json(balance_of(wallet))
        past = await queries.balance_at(WalletId(wallet_id), moment)
        if isinstance(past, Problem):
            raise ProblemRaised(past)
        return _json(balance_at_of(past))

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
            from_at=None if from_ is None else _moment(from_, "from"),
            to_at=None if to is None else _moment(to, "to"),
            kind=kind,
            after=None if cursor is None else _place(cursor),
        )
        await readable(wallet_id, principal)
        rows, has_more = await queries.entries(wanted)
        answers = [entry_answer_of(row, shows_details=_shows_details(principal, row)) for row in rows]
        return _json({"entries": answers, "next_cursor": _cursor(rows[-1]) if has_more else None})

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
        await readable(wallet_id, principal)
        entry = await queries.transaction(
            WalletId(wallet_id),
            principal.vendor_id,
            TransactionId(transaction_id),
            may_see_all=Scope.WALLET_MANAGE in principal.scopes,
        )
        if isinstance(entry, Problem):
            raise ProblemRaised(entry)
        return _json(entry_answer_of(entry, shows_details=_shows_details(principal, entry)))

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
        admit(principal)
        owned = await queries.wallets_of_owner(owner_type=type_, owner_ref=ref, currency=currency, kind=kind)
        return _json({"wallets": [wallet_answer_of(wallet) for wallet in owned]})

    return router


def _is_well_formed(request: Request) -> bool:
    """As the write routes have it: ids in canonical form, and written so, for routers read them as they are written."""
    parts = request.path_params
    if "wallet_id" in parts and b"%" in request.scope["raw_path"]:
        return False
    return all(_PATH_PATTERNS[name].fullmatch(text) for name, text in parts.items())


def _json(answer: dict[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")


def _shows_details(principal: Principal, entry: StoredEntry) -> bool:
    return entry.vendor_id == principal.vendor_id or Scope.WALLET_MANAGE in principal.scopes


def _moment(text: str, parameter: str) -> datetime:
    """RFC 3339 to UTC; a blank stands for the plus sign that a query string turns into one."""
    cut = _FRACTION.sub(lambda digits: f".{digits.group(1)[:6]:0<6}", text.replace(" ", "+").upper())
    try:
        return datetime.fromisoformat(cut).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProblemRaised(_malformed(parameter, "must be an instant that exists")) from error


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
        raise ProblemRaised(_malformed("cursor", "must be a next_cursor of an earlier page")) from error


def _malformed(parameter: str, message: str) -> Problem:
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"{parameter}: {message}",
        facts={"errors": [{"pointer": "", "parameter": parameter, "message": message}]},
    )


_MALFORMED_PATH: Final = Problem(
    reason=Reason.PATH_MUST_BE_WELL_FORMED,
    detail="Ids in the path must be UUIDs in canonical form, types and refs of owners as they were at the opening.",
)
