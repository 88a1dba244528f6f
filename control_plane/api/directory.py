"""`GET /v1/directory` and `GET /v1/locate/{wallet_id}`: which cell has which wallet."""

from datetime import timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.fleet import Location
from contract.ids import WalletId
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import Applied, RouterName, SignedDirectory, Wait, WalletPath
from control_plane.api.conditional import newest
from control_plane.api.parts import Parts, parts_of
from control_plane.api.problems import Refusal, problem
from control_plane.api.reasons import PlatformReason
from control_plane.fleet.model import ROUTER_LEASE
from control_plane.store.documents import SignedText, newest_directory
from control_plane.store.routers import acknowledge
from control_plane.store.units import unit_of
from control_plane.tokens import Caller

directory_routes = APIRouter(route_class=ScopedRoute, tags=["directory"])

ROUTER_WAIT_MAX_S = (ROUTER_LEASE - timedelta(seconds=2)).total_seconds()
"""An acknowledging router waits no longer: its lease must not run out while it hangs in a poll of ours."""


@directory_routes.get("/v1/directory", responses=described(SignedDirectory, 400, 401, 403, 503, unchanged=True))
@open_to(Scope.FLEET_READ)
async def read_directory(
    request: Request, wait: Wait = 0, router: RouterName = None, applied: Applied = None
) -> Response:
    """The newest directory, signed. `router` and `applied` acknowledge what that router works with."""
    parts = parts_of(request)
    if router is not None and applied is not None:
        if not _may_speak_for(caller_of(request), router):
            detail = f"a token of router:{router}, or one with {Scope.FLEET_MANAGE}, may acknowledge for it"
            return problem(request, Refusal(reason=PlatformReason.TOKEN_MUST_NAME_THIS_ROUTER, detail=detail))
        await _acknowledge(parts, router, applied)
        wait = min(wait, ROUTER_WAIT_MAX_S)

    async def read(known: tuple[int, ...]) -> SignedText | None:
        async with parts.database.transaction() as connection:
            return await newest_directory(connection, known=known)

    answer = await newest(request, parts.watch, read, lambda look: look.directory, wait_s=wait)
    return answer or problem(request, _not_published())


@directory_routes.get("/v1/locate/{wallet_id}", response_model=None, responses=described(Location, 400, 401, 403, 503))
@open_to(Scope.FLEET_READ)
async def locate_wallet(request: Request, wallet_id: WalletPath) -> Location | Response:
    """Where the wallet is or would be: whether it exists, only its cell knows."""
    async with parts_of(request).database.transaction() as connection:
        unit = await unit_of(connection, WalletId(wallet_id))
    if unit is None:
        return problem(request, _not_published())
    return Location(wallet_id=wallet_id, unit=unit.unit, cell=unit.cell, epoch=unit.epoch, moving=unit.is_moving)


def _may_speak_for(caller: Caller, router: str) -> bool:
    """A token names one router; with a star at its end, all whose names begin so: pods of one Deployment share one."""
    subject = f"router:{router}"
    named = caller.subject
    is_named = subject.startswith(named[:-1]) if named.endswith("-*") else subject == named
    return (named.startswith("router:") and is_named) or caller.may(Scope.FLEET_MANAGE)


async def _acknowledge(parts: Parts, router: str, applied: int) -> None:
    async with parts.database.transaction() as connection:
        await acknowledge(connection, router, applied=applied)


def _not_published() -> Refusal:
    detail = "the first cells have not all confirmed their units yet"
    return Refusal(reason=PlatformReason.DIRECTORY_MUST_BE_PUBLISHED, detail=detail)
