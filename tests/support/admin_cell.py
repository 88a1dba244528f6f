"""A cell as the control plane sees it: a real HTTP server with the admin API of the contract, and nothing behind it.

It believes only the control plane's key, adopts first units once, answers the same body again with 200 and any other
with 409. `gate` lets a test stop it right before, or right after, it adopts units.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import Any

import jwt
from aiohttp import web
from jwt import PyJWK
from pydantic import ValidationError

from contract.fleet import CellUnits, FirstUnits, UnitRun
from contract.load import CellLoad, IsolatedWallets, Remains, UnitLoad
from contract.moves import UnitNow
from contract.quarantine import PromotionRecorded, QuarantineNow, Revived, ReviveOrder
from contract.resending import ResendOrder, Resent

Gate = Callable[[], Awaitable[None]]


async def pass_through() -> None:
    return


class AdminCell:
    def __init__(self, cell: str, control_plane_jwks: dict[str, Any]) -> None:
        self.cell = cell
        self.adopted: FirstUnits | None = None
        self.puts: list[FirstUnits] = []
        self.refused = 0
        self.before_adoption: Gate = pass_through
        self.after_adoption: Gate = pass_through
        self.before_telling_units: Gate = pass_through
        self._keys = {jwk["kid"]: PyJWK.from_dict(jwk) for jwk in control_plane_jwks["keys"]}
        self.given: dict[int, tuple[str, int]] = {}
        """Unit to state and epoch, where moves have changed what was adopted."""
        self.loads: list[UnitLoad] = []
        self.remaining: dict[str, int] = {}
        self.accounts: dict[str, dict[str, int]] = {}
        self.isolated_wallets: list[tuple[str, int]] = []
        self.exiles: list[tuple[str, int]] = []
        self.quarantine: QuarantineNow | None = None
        self.refuses_to_revive = False
        self.promotions: list[int | str] = []
        """What those who are asked to vouch say next: a timeline, or why not; later ones, that it is recorded."""
        self.resendings: list[ResendOrder] = []
        self.resent: list[Resent] = []
        """What the next pages will say."""
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> "AdminCell":
        """On a free port the first time, on the same one afterwards."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/admin/units", self._tell_units),
                web.put("/admin/units/first", self._put_first_units),
                web.get("/admin/units/load", self._tell_load),
                web.get("/admin/units/isolated", self._tell_isolated),
                web.get("/admin/remains", self._tell_remains),
                web.get("/admin/quarantine", self._tell_quarantine),
                web.post("/admin/quarantine/promotion", self._record_promotion),
                web.post("/admin/revive", self._revive),
                web.post("/admin/transfers/resend", self._resend),
            ]
        )
        self._runner = web.AppRunner(application, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def units(self) -> CellUnits:
        runs = self.adopted.runs if self.adopted else ()
        owned = {unit: ("active", 1) for first, last in runs for unit in range(first, last + 1)} | self.given
        numbered = enumerate(sorted(owned.items()))
        return CellUnits(
            cell=self.cell,
            units=tuple(
                UnitRun(first=alike[0], last=alike[-1], state=state, epoch=epoch)
                for (state, epoch, _), run in groupby(numbered, key=lambda one: (*one[1][1], one[1][0] - one[0]))
                if (alike := [unit for _, (unit, _) in run])
            ),
        )

    async def _tell_load(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:read")
        load = CellLoad(cell=self.cell, window_s=60, database_bytes=0, units=tuple(self.loads))
        return web.json_response(text=load.model_dump_json())

    async def _tell_isolated(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:read")
        told = IsolatedWallets(cell=self.cell, wallets=tuple(self.isolated_wallets), exiles=tuple(self.exiles))
        return web.json_response(text=told.model_dump_json())

    async def _tell_remains(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:read")
        zero = {name: 0 for name in Remains.model_fields if name not in {"cell", "accounts"}}
        owned = sum(run.last - run.first + 1 for run in self.units().units if run.state != "moved")
        told = Remains.model_validate(
            {"cell": self.cell, **zero, "units": owned, "accounts": self.accounts, **self.remaining}
        )
        return web.json_response(text=told.model_dump_json())

    async def _tell_units(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:read")
        await self.before_telling_units()
        return web.json_response(text=self.units().model_dump_json())

    async def _tell_quarantine(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:read")
        told = self.quarantine or QuarantineNow(cell=self.cell, is_quarantined=False)
        return web.json_response(text=told.model_dump_json())

    async def _record_promotion(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:manage")
        told = self.promotions.pop(0) if self.promotions else None
        if told is None:
            return web.json_response(PromotionRecorded(cell=self.cell, timeline=1, is_new=False).model_dump())
        if isinstance(told, str):
            refusal = {"reason": "promotion_must_be_remembered", "detail": told}
            return web.json_response(refusal, status=409, content_type="application/problem+json")
        return web.json_response(PromotionRecorded(cell=self.cell, timeline=told, is_new=True).model_dump())

    async def _revive(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:manage")
        order = ReviveOrder.model_validate_json(await request.read())
        if self.refuses_to_revive:
            refusal = {"reason": "rows_must_be_retained", "detail": "Unit 1 is moved here."}
            return web.json_response(refusal, status=409, content_type="application/problem+json")
        self.given |= {unit: ("active", epoch + 1) for unit, epoch in order.units}
        now = (UnitNow(unit=unit, state="active", epoch=epoch + 1) for unit, epoch in order.units)
        return web.json_response(text=Revived(cell=self.cell, units=tuple(now)).model_dump_json())

    async def _resend(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:manage")
        self.resendings.append(ResendOrder.model_validate_json(await request.read()))
        return web.json_response(text=self.resent.pop(0).model_dump_json())

    async def _put_first_units(self, request: web.Request) -> web.Response:
        self._check(request, "fleet:manage")
        try:
            wanted = FirstUnits.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        self.puts.append(wanted)
        await self.before_adoption()
        if self.adopted not in {None, wanted}:
            self.refused += 1
            raise web.HTTPConflict(text="other units were adopted before")
        self.adopted = wanted
        await self.after_adoption()
        return web.json_response(text=self.units().model_dump_json())

    def _check(self, request: web.Request, scope: str) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            key = self._keys[jwt.get_unverified_header(given)["kid"]]
            claims = jwt.decode(given, key=key, algorithms=["EdDSA"], audience="cellwallet")
        except (jwt.PyJWTError, KeyError) as error:
            raise web.HTTPUnauthorized(text="the token must be the control plane's") from error
        if scope not in claims["scope"].split():
            raise web.HTTPForbidden(text=f"the token must carry {scope}")


NewCell = Callable[[str], Awaitable[AdminCell]]
"""Starts one; the fixture of this type stops it again."""


class Turnstile:
    """Tells when somebody arrives, and holds whoever arrives until it is opened."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        self.arrived.set()
        await self.opened.wait()


class Rendezvous:
    """Holds everybody until so many have arrived, then nobody any more."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._met = asyncio.Event()

    async def __call__(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self._met.set()
        await self._met.wait()
