"""What the control plane asks of a platform on one machine when primaries are to leave a zone or to come home:
contract/primaries.py.

Begins a switch-over where one is needed and answers at once how far it is. Holds nothing that a platform which is
started again would miss: where a primary is, is told by the record of the pair. Rules: primary_zones.py; the change
itself: pair_watch.py.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from cellwallet.local.failover import Pair
from cellwallet.local.members import Member
from cellwallet.local.pair_watch import SwitchOverRefusedError
from cellwallet.local.primary_zones import Databases, verdict_on
from contract.primaries import BringPrimary, PrimaryBrought
from contract.workloads import WorkloadsRefused


class Watch(Protocol):
    """As much of a PairWatch as is needed here."""

    pair: Pair
    is_running: bool

    @property
    def is_changing(self) -> bool: ...

    async def switch_over(self) -> object:
        """Raises SwitchOverRefusedError."""


class Primaries:
    def __init__(self, *, members: Callable[[], Sequence[Member]], watch_of: Callable[[Member], Watch | None]) -> None:
        """`watch_of`: None for a cell with one database that never had another."""
        self._members = members
        self._watch_of = watch_of
        self._fences: dict[str, int] = {}
        """Nobody outlives a platform who could be late with an order from before its start."""
        self._switching: dict[str, tuple[BringPrimary, asyncio.Task[str]]] = {}

    async def respond(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._answer(BringPrimary.model_validate(request))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            answer = WorkloadsRefused(error=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        return answer.model_dump(mode="json")

    async def stop(self) -> None:
        """Nobody waits for the switch-overs that are under way any more; the watches decide what becomes of them."""
        tasks = [task for _, task in self._switching.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def zones(self, cell: str) -> dict[str, str]:
        """For people: where the cell's primary is, and the other place."""
        member = self._member(cell)
        watch = None if member is None else self._watch_of(member)
        if member is None or watch is None:
            return {}
        zones = member.database_zones
        return {"primary_zone": zones[watch.pair.primary], "standby_zone": zones[watch.pair.standby]}

    def _answer(self, order: BringPrimary) -> BaseModel:
        member = self._member(order.cell)
        if member is None:
            return WorkloadsRefused(error=f"{order.cell} is no cell of this platform")
        newest = self._fences.get(order.cell, 0)
        if order.fence < newest:
            return WorkloadsRefused(error=f"fence {order.fence} is older than {newest}, which came after it")
        self._fences[order.cell] = order.fence
        return self._brought(order, member)

    def _brought(self, order: BringPrimary, member: Member) -> PrimaryBrought:
        watch = self._watch_of(member)
        why_failed = self._failure_of(order)
        verdict = verdict_on(order, _seen(member, watch, is_switching=order.cell in self._switching))
        if verdict.state is not None or watch is None:
            return PrimaryBrought(cell=order.cell, state=verdict.state or "not_available", detail=verdict.detail)
        if why_failed:
            return PrimaryBrought(cell=order.cell, state="failed", detail=why_failed)
        if not order.may_begin:
            return PrimaryBrought(cell=order.cell, state="must_wait", detail=f"not under way: {verdict.detail}")
        task = asyncio.create_task(_switch(watch), name=f"{order.cell} leaves its zone")
        self._switching[order.cell] = (order, task)
        return PrimaryBrought(cell=order.cell, state="under_way", detail=verdict.detail)

    def _failure_of(self, order: BringPrimary) -> str:
        """Why the switch-over for this very order was not done; told once."""
        tried, task = self._switching.get(order.cell, (None, None))
        if task is None or not task.done():
            return ""
        del self._switching[order.cell]
        is_same = tried is not None and tried.model_copy(update={"may_begin": order.may_begin}) == order
        return task.result() if is_same else ""

    def _member(self, cell: str) -> Member | None:
        return next((one for one in self._members() if one.id == cell), None)


def _seen(member: Member, watch: Watch | None, *, is_switching: bool) -> Databases:
    """A switch-over is over when services have the address of the new primary, which is after its record."""
    if watch is None:
        return Databases(zones=member.database_zones, pair=None)
    return Databases(
        zones=member.database_zones,
        pair=watch.pair,
        is_running=watch.is_running,
        is_changing=is_switching or watch.is_changing,
    )


async def _switch(watch: Watch) -> str:
    """Why not; empty when it was done."""
    try:
        await watch.switch_over()
    except SwitchOverRefusedError as error:
        return str(error)
    return ""
