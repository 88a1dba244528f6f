"""Routes of the admin API that only read: the weight of units, isolated wallets, what keeps a cell from retiring."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from cell.store.unit_load import UnitLoads
from contract.load import WINDOW_S, CellLoad, IsolatedWallets, Remains

WINDOW_MAX_S = 600
"""A longer one would read too many entries at once."""

Window = Annotated[int, Query(ge=1, le=WINDOW_MAX_S)]


def load_routes(loads: UnitLoads, *, reads: Any) -> APIRouter:
    """`reads` is the dependency that lets in whoever may read the fleet."""
    routes = APIRouter(prefix="/admin", dependencies=[reads])

    @routes.get("/units/load")
    async def tell_load(window_s: Window = WINDOW_S) -> CellLoad:
        return await loads.load(window_s=window_s)

    @routes.get("/units/isolated")
    async def tell_isolated() -> IsolatedWallets:
        return await loads.isolated()

    @routes.get("/remains")
    async def tell_remains() -> Remains:
        return await loads.remains()

    return routes
