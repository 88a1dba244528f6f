"""Orders about the zone of a primary, over a real socket: to two real databases, and to the stand-in for them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from running_pair import CELL, RunningPair, clients, lost, more_acknowledged, running_pair
from running_platform import until
from stand_in_watch import StandInWatch

from cellwallet.local.control import listen
from cellwallet.local.failover import Pair
from cellwallet.local.members import member
from cellwallet.local.primaries import Primaries, Watch
from contract.ids import CellId
from contract.primaries import PrimaryDirection
from control_plane.fleet.model import Cell, Unreachable
from control_plane.releaser.local_switch_overs import LocalSwitchOvers
from control_plane.releaser.switch_overs import (
    MustWait,
    NotAvailable,
    SwitchedOver,
    SwitchFailed,
    SwitchOrder,
    SwitchOutcome,
    UnderWay,
)

pytestmark = pytest.mark.timeout(300)

MEMBER = member(0, api_processes=2)
HOME, OTHER = "a", "b"
SETTLED = SwitchedOver | NotAvailable | SwitchFailed


class Site(Protocol):
    """A cell whose primary may be told to leave its zone, or to come back."""

    watch: Any

    async def fail_over(self) -> None:
        """The primary dies, and its standby takes over."""

    async def until_safe(self) -> None: ...


class RealSite:
    def __init__(self, pair: RunningPair) -> None:
        self.pair = pair
        self.watch = pair.watch

    async def fail_over(self) -> None:
        before = self.watch.pair.promotions
        self.pair.signal(self.pair.primary, signal.SIGKILL)
        await self.pair.until(lambda: self.watch.pair.promotions > before, "the standby has taken over")

    async def until_safe(self) -> None:
        await self.pair.until_protected(promotions=self.watch.pair.promotions)


class StandInSite:
    def __init__(self) -> None:
        self.watch = StandInWatch(takes_s=0.05)

    async def fail_over(self) -> None:
        pair = self.watch.pair
        self.watch.pair = Pair(primary=pair.standby, phase="alone", promotions=pair.promotions + 1)

    async def until_safe(self) -> None:
        pair = self.watch.pair
        self.watch.pair = Pair(primary=pair.primary, phase="synchronous", promotions=pair.promotions)


@pytest.fixture(params=["real", "stand-in"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    if request.param == "stand-in":
        yield StandInSite()
        return
    async with running_pair(tmp_path / "data") as pair:
        yield RealSite(pair)


@asynccontextmanager
async def orders(watch: Watch | None, folder: Path) -> AsyncIterator[LocalSwitchOvers]:
    primaries = Primaries(members=lambda: [MEMBER], watch_of=lambda _: watch)
    server = await listen(folder / "control.sock", primaries.respond)
    try:
        yield LocalSwitchOvers(folder / "control.sock")
    finally:
        server.close()
        await primaries.stop()


def cell(name: str = CELL) -> Cell:
    return Cell(id=CellId(name), state="active", home_zone=HOME)


def order(direction: PrimaryDirection = "away", zone: str = HOME, *, fence: int = 1) -> SwitchOrder:
    return SwitchOrder(cell=cell(), zone=zone, direction=direction, fence=fence)


async def settled(port: LocalSwitchOvers, wanted: SwitchOrder) -> SwitchOutcome:
    async def look() -> SwitchOutcome | None:
        outcome = await port.switch(wanted)
        return outcome if isinstance(outcome, SETTLED) else None

    outcome: SwitchOutcome = await until(look, deadline_s=60)
    return outcome


async def test_a_primary_leaves_its_zone_once_and_comes_home_once(site: Site, tmp_path: Path) -> None:
    async with orders(site.watch, tmp_path) as port:
        assert isinstance(await port.switch(order("back")), SwitchedOver), "it is at home"
        assert isinstance(await port.switch(order()), UnderWay)
        for _ in range(3):
            assert isinstance(await settled(port, order()), SwitchedOver)
        assert (site.watch.pair.primary, site.watch.pair.promotions) == ("second", 1)
        await site.until_safe()
        for _ in range(3):
            assert isinstance(await settled(port, order("back")), SwitchedOver)
        assert (site.watch.pair.primary, site.watch.pair.promotions) == ("first", 2)


async def test_who_may_begin_nothing_follows_what_is_under_way(site: Site, tmp_path: Path) -> None:
    async with orders(site.watch, tmp_path) as port:
        assert isinstance(await port.switch(replace(order(), may_begin=False)), MustWait)
        assert (site.watch.pair.primary, site.watch.is_changing) == ("first", False)
        assert isinstance(await port.switch(order()), UnderWay)
        assert isinstance(await port.switch(replace(order(), may_begin=False)), UnderWay)
        assert isinstance(await settled(port, replace(order(), may_begin=False)), SwitchedOver)
        assert (site.watch.pair.primary, site.watch.pair.promotions) == ("second", 1)


async def test_a_failover_that_came_first_is_enough(site: Site, tmp_path: Path) -> None:
    async with orders(site.watch, tmp_path) as port:
        await site.fail_over()
        assert isinstance(await settled(port, order()), SwitchedOver)
        await site.until_safe()
        assert isinstance(await settled(port, order()), SwitchedOver)
        assert (site.watch.pair.primary, site.watch.pair.promotions) == ("second", 1)


async def test_who_cannot_go_says_why(tmp_path: Path) -> None:
    watch = StandInWatch(Pair(phase="following"))
    async with orders(watch, tmp_path) as port:
        assert isinstance(await port.switch(order()), MustWait)
        assert isinstance(await port.switch(order("back", zone="c")), NotAvailable)
        watch.pair, watch.refusal = Pair(phase="synchronous"), "its last word"
        assert await settled(port, order()) == SwitchFailed(detail="its last word")
        assert isinstance(await port.switch(order()), UnderWay)
        followed = replace(order(), may_begin=False)
        assert await settled(port, followed) == SwitchFailed(detail="its last word")
        assert isinstance(await port.switch(followed), MustWait), "told once, and not begun again"
        assert isinstance(await port.switch(order(fence=0)), NotAvailable)
    async with orders(None, tmp_path) as port:
        assert isinstance(await port.switch(order()), NotAvailable)
        assert isinstance(await port.switch(order(zone=OTHER)), SwitchedOver)
    assert isinstance(await port.switch(order()), Unreachable), "no platform runs"


async def test_nothing_is_lost_when_a_primary_leaves_under_load(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "data") as pair, orders(pair.watch, tmp_path) as port:
        with clients(pair) as working:
            for direction in ("away", "back"):
                await more_acknowledged(pair, working, 20)
                assert isinstance(await settled(port, order(direction)), SwitchedOver)
                await more_acknowledged(pair, working, 20)
                await pair.until_protected(promotions=pair.watch.pair.promotions)
        assert lost(pair, working) == []
        assert pair.watch.pair.primary == "first"


async def test_a_cell_that_is_halted_in_between_goes_nowhere_when_it_is_resumed(tmp_path: Path) -> None:
    """Its standby stands still, so that the change cannot begin before."""
    async with running_pair(tmp_path / "data") as pair, orders(pair.watch, tmp_path) as port:
        pair.signal(pair.standby, signal.SIGSTOP)
        await pair.until(lambda: not pair.acts.look_at_standby(pair.watch.pair).answers, "the standby is silent")
        assert isinstance(await port.switch(order()), UnderWay)
        assert pair.watching is not None
        pair.watching.cancel()
        await asyncio.gather(pair.watching, return_exceptions=True)
        pair.signal(pair.standby, signal.SIGCONT)
        await until(lambda: waits(port), deadline_s=60)
        pair.watching = asyncio.create_task(pair.watch.run())
        await pair.until(lambda: pair.acts.is_open(pair.watch.pair), "services reach it again")
        assert not pair.watch.is_changing, "what was asked before is asked still"
        assert (pair.watch.pair.primary, pair.watch.pair.promotions) == ("first", 0)
        assert isinstance(await settled(port, order()), SwitchedOver), "the order itself is in force"


async def waits(port: LocalSwitchOvers) -> bool:
    return isinstance(await port.switch(order()), MustWait)
