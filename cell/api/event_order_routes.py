"""Routes of the admin API about the order of events over moves: what cells ask, what operators see and may do."""

from typing import Any

from fastapi import APIRouter

from cell.api.tokens import Principal
from cell.event_order import EventOrder
from contract.published import Asked, EventWaits, Published, Release, Released


def event_order_routes(order: EventOrder, *, asks: Any, reads: Any, manages: Any) -> APIRouter:
    """`asks` lets cells through, `reads` and `manages` whoever may read or manage the fleet."""
    routes = APIRouter(prefix="/admin")

    @routes.post("/published", dependencies=[asks])
    async def tell_published(asked: Asked) -> Published:
        return await order.told(asked)

    @routes.get("/event_waits", dependencies=[reads])
    async def tell_waits() -> EventWaits:
        return EventWaits(waits=await order.waits())

    @routes.post("/event_waits/release")
    async def release(wanted: Release, operator: Principal = manages) -> Released:
        return Released(waits=await order.release(wanted.cell, by=operator.vendor_id))

    return routes
