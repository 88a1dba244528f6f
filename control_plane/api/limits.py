"""`/v1/limits`: what may be taken at most: by a vendor, from a wallet, and by a vendor from a wallet."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from contract.configuration import Limit
from contract.ids import UUID_PATTERN, VENDOR_PATTERN
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import LimitAnswer, LimitBody, LimitsAnswer, LimitSubject
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, problem
from control_plane.api.reasons import PlatformReason
from control_plane.store.limits import (
    LIMITS_MAX,
    NOBODY,
    LimitOf,
    limits_after,
    put_vendor_limit,
    put_wallet_limit,
)

limit_routes = APIRouter(route_class=ScopedRoute, tags=["limits"])

_CURSOR_PATTERN = rf"^({UUID_PATTERN[1:-1]})?~({VENDOR_PATTERN[1:-1]})?$"

OfVendor = Annotated[str | None, Query(alias="vendor", pattern=VENDOR_PATTERN, description="Only this vendor's.")]
OfWallet = Annotated[str | None, Query(pattern=UUID_PATTERN, description="Only this wallet's.")]
PageLimit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(pattern=_CURSOR_PATTERN, description="`next_cursor` of the page before.")]


@limit_routes.get("/v1/limits", response_model=None, responses=described(LimitsAnswer, 400, 401, 403, 503))
@open_to(Scope.FLEET_READ)
async def list_limits(
    request: Request,
    vendor: OfVendor = None,
    wallet_id: OfWallet = None,
    limit: PageLimit = 50,
    cursor: Cursor = None,
) -> LimitsAnswer:
    """Those of vendors alone first, then by wallet. What has no limit is not listed."""
    before, _, after = (cursor or "~").partition("~")
    async with parts_of(request).database.transaction() as connection:
        page = await limits_after(connection, (before, after), vendor_id=vendor, wallet_id=wallet_id, limit=limit + 1)
    shown = page[:limit]
    return LimitsAnswer(
        limits=[_answer(one) for one in shown],
        next_cursor=f"{shown[-1].wallet_id}~{shown[-1].vendor_id}" if len(page) > limit else None,
    )


@limit_routes.put("/v1/limits", response_model=None, responses=described(LimitAnswer, 400, 401, 403, 409, 503))
@open_to(Scope.FLEET_MANAGE)
async def put_limit(request: Request, wanted: LimitBody) -> LimitAnswer | Response:
    """Replaces one subject's limits whole; every cell hears of it with its next configuration, within moments."""
    new = LimitOf(
        vendor_id=wanted.subject.vendor or NOBODY,
        wallet_id=wanted.subject.wallet_id or NOBODY,
        limit=Limit(amount_max=wanted.amount_max, day_max=wanted.day_max),
    )
    named = {"actor": caller_of(request).subject, "request_id": request.state.request_id}
    async with parts_of(request).database.transaction() as connection:
        if new.wallet_id == NOBODY:
            await put_vendor_limit(connection, new, **named)
        elif not await put_wallet_limit(connection, new, **named):
            return problem(request, _TOO_MANY)
    return _answer(new)


def _answer(one: LimitOf) -> LimitAnswer:
    return LimitAnswer(
        subject=LimitSubject(vendor=one.vendor_id or None, wallet_id=one.wallet_id or None),
        amount_max=one.limit.amount_max,
        day_max=one.limit.day_max,
    )


_TOO_MANY = Refusal(
    reason=PlatformReason.LIMITS_MUST_FIT_THE_CONFIGURATION,
    detail=f"{LIMITS_MAX} limits of wallets are in force, and no more fit; lift one, or limit the vendor as a whole",
)
