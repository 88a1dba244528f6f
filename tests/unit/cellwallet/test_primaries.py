"""An order about the zone of a primary: it names a place, so nothing that comes in between makes a toggle of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from stand_in_watch import SAFE, StandInWatch

from cellwallet.local import primaries
from cellwallet.local.failover import NEXT, PLACES, Pair, Place
from cellwallet.local.members import ZONES, Member, member
from cellwallet.local.primaries import Primaries
from cellwallet.local.primary_zones import Databases, Verdict, verdict_on
from contract.primaries import BringPrimary

CELL = member(0, api_processes=2)
HOME, OTHER = "a", "b"


def order(direction: Any = "away", zone: str = HOME, *, fence: int = 1) -> BringPrimary:
    return BringPrimary(cell=CELL.id, zone=zone, direction=direction, fence=fence)


def databases(pair: Pair | None = SAFE, **changes: bool) -> Databases:
    return Databases(zones=CELL.database_zones, pair=pair, **changes)


# Zones.


@pytest.mark.parametrize("api_processes", [1, 2, 3])
def test_the_places_of_a_cell_are_in_two_zones_whatever_processes_it_has(api_processes: int) -> None:
    found = [member(number, api_processes=api_processes).database_zones for number in range(4)]
    assert [(zones["first"], zones["second"]) for zones in found] == [("a", "b"), ("b", "c"), ("c", "a"), ("a", "b")]


def test_a_primary_that_leaves_home_finds_processes_of_its_cell() -> None:
    for number in range(len(ZONES)):
        one = member(number, api_processes=2)
        assert set(one.database_zones.values()) == set(one.api_zones)


# Verdicts.

LADDER: dict[str, tuple[BringPrimary, Databases, str | None]] = {
    "roles change": (order(), databases(replace(SAFE, phase="fencing")), "under_way"),
    "somebody asked for a change": (order(), databases(is_changing=True), "under_way"),
    "halted in a change": (order(), databases(replace(SAFE, phase="fencing"), is_running=False), "must_wait"),
    "elsewhere": (order(zone="c"), databases(), "there"),
    "away already": (order(), databases(replace(SAFE, primary="second")), "there"),
    "away, and nothing else is well": (order(), databases(Pair(primary="second"), is_running=False), "there"),
    "home already": (order("back"), databases(), "there"),
    "one database elsewhere": (order(zone=OTHER), databases(None), "there"),
    "one database, here": (order(), databases(None), "not_available"),
    "no standby is wanted": (order(), databases(replace(SAFE, is_wanted=False)), "not_available"),
    "no database is in the zone": (order("back", "c"), databases(), "not_available"),
    "halted": (order(), databases(is_running=False), "must_wait"),
    "nobody follows": (order(), databases(Pair(phase="alone")), "must_wait"),
    "its standby is behind": (order(), databases(Pair(phase="following")), "must_wait"),
    "it may go": (order(), databases(), None),
    "it may come home": (order("back"), databases(replace(SAFE, primary="second")), None),
    "and leave the other zone too": (order(zone=OTHER), databases(replace(SAFE, primary="second")), None),
}


@pytest.mark.parametrize("case", LADDER)
def test_what_follows_from_where_the_primary_is(case: str) -> None:
    asked, found, state = LADDER[case]
    verdict = verdict_on(asked, found)
    assert verdict.state == state
    assert verdict.detail


Rule = Callable[[BringPrimary, Databases], Verdict]


def disasters(rule: Rule) -> set[str]:
    """What an order does wrong in any of the worlds that there can be."""
    found = set()
    for asked, primary, phase, is_wanted in product(
        [order(way, zone) for way in ("away", "back") for zone in ZONES], PLACES, NEXT, (True, False)
    ):
        pair = Pair(primary=primary, phase=phase, is_wanted=is_wanted)
        verdict = rule(asked, databases(pair))
        is_there = _is_there(asked, primary)
        if verdict.state is None and phase != "synchronous":
            found.add("changes without a safe standby")
        if verdict.state is None and (is_there or not _is_there(asked, pair.standby)):
            found.add("moves a primary to where nobody wanted it")
        if verdict.state == "there" and not is_there:
            found.add("says that it is done and it is not")
        if verdict.state == "not_available" and is_there:
            found.add("gives up what is done")
    return found


def _is_there(asked: BringPrimary, place: Place) -> bool:
    zone = CELL.database_zones[place]
    return (zone == asked.zone) is (asked.direction == "back")


def test_no_order_does_harm_in_any_world() -> None:
    assert disasters(verdict_on) == set()


def toggles(asked: BringPrimary, found: Databases) -> Verdict:
    """As the verb for people: change, whoever is where."""
    verdict = verdict_on(asked, found)
    is_idle = found.pair is not None and found.pair.phase == "synchronous" and found.pair.is_wanted
    return replace(verdict, state=None) if verdict.state == "there" and is_idle else verdict


def looks_at_home(asked: BringPrimary, found: Databases) -> Verdict:
    """Takes each primary for one at home."""
    return verdict_on(asked, replace(found, pair=replace(found.pair, primary="first") if found.pair else None))


def hurries(asked: BringPrimary, found: Databases) -> Verdict:
    verdict = verdict_on(asked, found)
    return replace(verdict, state=None) if verdict.state == "must_wait" else verdict


@pytest.mark.parametrize(
    ("mutant", "finds"),
    [
        (toggles, "moves a primary to where nobody wanted it"),
        (looks_at_home, "says that it is done and it is not"),
        (hurries, "changes without a safe standby"),
    ],
)
def test_a_mistake_in_the_rule_is_found(mutant: Rule, finds: str) -> None:
    assert finds in disasters(mutant)


# Carrying it out.


class Site:
    def __init__(self, watch: StandInWatch | None) -> None:
        self.watch = watch
        self.primaries = Primaries(members=lambda: [CELL], watch_of=self._watch_of)

    async def ask(self, asked: BringPrimary) -> dict[str, Any]:
        answer = await self.primaries.respond(asked.model_dump())
        await asyncio.sleep(0)  # what was begun goes on
        await asyncio.sleep(0)
        return answer

    def _watch_of(self, one: Member) -> StandInWatch | None:
        assert one is CELL
        return self.watch


async def states(site: Site, *asked: BringPrimary) -> list[str]:
    return [(await site.ask(one)).get("state", "refused") for one in asked]


async def test_the_same_order_again_and_again_is_one_change() -> None:
    watch = StandInWatch()
    site = Site(watch)
    watch.may_go.clear()
    assert await states(site, order(), order(), order()) == ["under_way"] * 3
    watch.may_go.set()
    await asyncio.sleep(0)
    assert await states(site, order(), order(), order()) == ["there"] * 3
    assert (watch.asked, watch.pair.primary) == (1, "second")
    assert await states(site, order("back"), order("back"), order("back")) == ["under_way", "there", "there"]
    assert (watch.asked, watch.pair.primary) == (2, "first")


async def test_a_primary_that_a_failover_has_moved_is_left_where_it_is() -> None:
    watch = StandInWatch()
    site = Site(watch)
    watch.pair = Pair(primary="second", phase="alone", promotions=1)
    assert await states(site, order(), order()) == ["there", "there"]
    watch.pair = Pair(primary="second", phase="fencing")
    assert await states(site, order()) == ["under_way"]
    assert watch.asked == 0


async def test_what_was_tried_in_vain_is_told_once_and_may_be_tried_again() -> None:
    watch = StandInWatch()
    site = Site(watch)
    watch.refusal = "the standby did not get the primary's last word"
    assert await states(site, order(), order()) == ["under_way", "failed"]
    watch.refusal = ""
    assert await states(site, order(), order()) == ["under_way", "there"]
    assert watch.asked == 2


async def test_what_was_tried_in_vain_for_another_order_is_no_failure_of_this_one() -> None:
    watch = StandInWatch()
    site = Site(watch)
    watch.refusal = "no"
    assert await states(site, order(fence=1)) == ["under_way"]
    assert await states(site, order(fence=2)) == ["under_way"]
    assert watch.asked == 2


async def test_who_may_begin_nothing_is_told_how_far_it_is() -> None:
    watch = StandInWatch()
    site = Site(watch)
    followed = order().model_copy(update={"may_begin": False})
    assert await states(site, followed, followed) == ["must_wait"] * 2
    assert watch.asked == 0
    watch.may_go.clear()
    assert await states(site, order(), followed) == ["under_way"] * 2
    watch.refusal = "no"
    watch.may_go.set()
    await asyncio.sleep(0)
    assert await states(site, followed, followed) == ["failed", "must_wait"]
    watch.refusal = ""
    assert await states(site, order(), followed) == ["under_way", "there"]
    assert watch.asked == 2


async def test_an_order_of_a_worker_that_was_followed_moves_nothing() -> None:
    watch = StandInWatch()
    site = Site(watch)
    assert await states(site, order("back", fence=5), order(fence=4)) == ["there", "refused"]
    assert watch.asked == 0
    assert "fence 4 is older than 5" in (await site.ask(order(fence=4)))["error"]


async def test_mutant_without_its_fence_a_late_order_sends_the_primary_away_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Primaries._answer

    def forgetful(site: Primaries, asked: BringPrimary) -> Any:
        site._fences.clear()
        return answer(site, asked)

    monkeypatch.setattr(primaries.Primaries, "_answer", forgetful)
    watch = StandInWatch()
    site = Site(watch)
    assert await states(site, order("back", fence=5), order(fence=4)) == ["there", "under_way"]
    assert watch.pair.primary == "second"


async def test_people_are_told_where_the_primary_is() -> None:
    site = Site(StandInWatch())
    assert site.primaries.zones(CELL.id) == {"primary_zone": HOME, "standby_zone": OTHER}
    await states(site, order())
    assert site.primaries.zones(CELL.id) == {"primary_zone": OTHER, "standby_zone": HOME}
    assert site.primaries.zones("cell-9") == {}
    assert Site(None).primaries.zones(CELL.id) == {}


async def test_nonsense_and_strangers_are_refused_in_words() -> None:
    site = Site(StandInWatch())
    assert (await site.primaries.respond({"do": "bring_primary"})).keys() == {"error"}
    stranger = order().model_copy(update={"cell": "cell-9"})
    assert (await site.ask(stranger))["error"] == "cell-9 is no cell of this platform"
