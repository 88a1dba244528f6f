"""What every ordinary read begins with: who asks, whether it may, for how long, and what the query means.

Knows no route. A "no" is raised, because FastAPI's dependencies have nothing to return it to.
"""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query, Request

from cell.api.admission import Admission
from cell.api.errors import ProblemRaised
from cell.api.responses import authorization_in, deadline_ms_of
from cell.api.tokens import Principal, TokenVerifier, scope_problem
from cell.queries import Queries, malformed
from cell.store.reads import StoredEntry
from cell.store.wallet_reader import StoredWallet
from contract.headers import DEADLINE_DEFAULT_MS
from contract.ids import NAME_PATTERN, OWNER_REF_PATTERN, UUID_PATTERN, WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope

_MOMENT: Final = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+ -]\d{2}:\d{2})$"
_FRACTION: Final = re.compile(r"\.(\d+)")
_PATH_PATTERNS: Final = {
    "wallet_id": re.compile(UUID_PATTERN),
    "transaction_id": re.compile(UUID_PATTERN),
    "hold_id": re.compile(UUID_PATTERN),
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


class Readers:
    """Who may read here, and which wallets."""

    def __init__(self, *, tokens: TokenVerifier, admission: Admission, queries: Queries) -> None:
        self._tokens = tokens
        self._admission = admission
        self._queries = queries

    async def caller(self, request: Request) -> Principal:
        """The caller, with `wallet:read`. FastAPI asks this before it looks at path and query."""
        if not _is_well_formed(request):
            raise ProblemRaised(_MALFORMED_PATH)
        principal = self._tokens.verify(authorization_in(request.scope["headers"]), time.time())
        problem = principal if isinstance(principal, Problem) else scope_problem(principal, Scope.WALLET_READ)
        if problem is None:
            # How long the read may take is kept elsewhere (cell/api/deadlines.py); what it says is told here, in turn.
            raw = request.headers.get("x-deadline-ms")
            deadline = deadline_ms_of(None if raw is None else raw.encode("latin-1"), default_ms=DEADLINE_DEFAULT_MS)
            problem = deadline if isinstance(deadline, Problem) else None
        if isinstance(principal, Problem) or problem is not None:
            raise ProblemRaised(problem or _MALFORMED_PATH)
        return principal

    def admit(self, principal: Principal) -> None:
        problem = self._admission.admit(principal.vendor_id, asyncio.get_running_loop().time(), commands=0)
        if problem is not None:
            raise ProblemRaised(problem)

    async def wallet(self, wallet_id: str, principal: Principal) -> StoredWallet:
        self.admit(principal)
        wallet = await self._queries.wallet(WalletId(wallet_id), principal.owner_types)
        if isinstance(wallet, Problem):
            raise ProblemRaised(wallet)
        return wallet


def shows_details(principal: Principal, entry: StoredEntry) -> bool:
    return entry.vendor_id == principal.vendor_id or Scope.WALLET_MANAGE in principal.scopes


def moment_of(text: str | None, parameter: str) -> datetime | None:
    """RFC 3339 to UTC; a blank stands for the plus sign that a query string turns into one."""
    if text is None:
        return None
    cut = _FRACTION.sub(lambda digits: f".{digits.group(1)[:6]:0<6}", text.replace(" ", "+").upper())
    try:
        return datetime.fromisoformat(cut).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProblemRaised(malformed(parameter, "must be an instant that exists")) from error


def _is_well_formed(request: Request) -> bool:
    """As the write routes have it: ids in canonical form, and written so, for routers read them as they are written."""
    parts = request.path_params
    if "wallet_id" in parts and b"%" in request.scope["raw_path"]:
        return False
    return all(_PATH_PATTERNS[name].fullmatch(text) for name, text in parts.items())


_MALFORMED_PATH: Final = Problem(
    reason=Reason.PATH_MUST_BE_WELL_FORMED,
    detail="Ids in the path must be UUIDs in canonical form, types and refs of owners as they were at the opening.",
)
