"""Evacuations by a real control plane, killed at each step; and that the clock ends one although nobody is alive."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from control_plane_process import ControlPlaneProcess
from platform_keys import bearer
from releasing.release_world import ReleaseWorld, is_dead
from running_platform import until
from stand_in_watch import StandInWatch

from cellwallet.local.failover import Pair
from control_plane.crash_points import EVACUATION_POINTS

ROUTER = "router-1"


async def ordered(world: ReleaseWorld, platform: ControlPlaneProcess, **body: Any) -> Any:
    wanted = {"zone": "a", "lasts_s": 600, **body}
    return await platform.client.post("/v1/evacuations", json=wanted, headers=bearer(world.keys.operator()))


async def evacuation_when(
    world: ReleaseWorld, platform: ControlPlaneProcess, evacuation_id: str, holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """While a router follows the directory, as a live one does."""

    async def look() -> dict[str, Any] | None:
        await follow(world, platform)
        document: dict[str, Any] = (await platform.get(f"/v1/evacuations/{evacuation_id}")).json()
        return document if holds(document) else None

    found: dict[str, Any] = await until(look, deadline_s=60)
    return found


async def follow(world: ReleaseWorld, platform: ControlPlaneProcess) -> None:
    directory = await platform.directory()
    assert directory is not None
    path = f"/v1/directory?router={ROUTER}&applied={directory['version']}"
    await platform.client.get(path, headers=bearer(world.keys.router(ROUTER)))


def weights(directory: dict[str, Any], zone: str = "a") -> set[int | None]:
    return {cell["zone_weights"].get(zone) for cell in directory["cells"].values()}


async def test_a_zone_is_left_and_comes_back(world: ReleaseWorld) -> None:
    async with world.control_plane() as platform:
        evacuation_id = (await ordered(world, platform)).json()["evacuation_id"]
        in_force = await evacuation_when(world, platform, evacuation_id, lambda one: one["state"] == "in_force")
        assert settled(in_force) == {"cell-1": "not_available", "cell-2": "switched"}
        assert "has no standby" in in_force["primaries"][0]["detail"]
        assert in_force["cordon"].startswith("not available")
        assert weights(await platform.directory() or {}) == {0}
        again = await ordered(world, platform, evacuation_id=evacuation_id)
        assert again.json()["evacuation_id"] == evacuation_id
        other = await ordered(world, platform, zone="b")
        assert (other.status_code, other.json()["reason"]) == (409, "another_evacuation_must_have_ended")
        headers = bearer(world.keys.operator())
        await platform.client.post(f"/v1/evacuations/{evacuation_id}/end", headers=headers)
        await evacuation_when(world, platform, evacuation_id, lambda one: one["state"] == "ended")
        assert weights(await platform.directory() or {}) == {None}
        trail = (await platform.get(f"/v1/changes?subject=evacuation:{evacuation_id}")).json()["changes"]
        assert [one["actor"] for one in trail] == ["olga", "olga"]


def settled(evacuation: dict[str, Any]) -> dict[str, str]:
    return {one["cell"]: one["state"] for one in evacuation["primaries"]}


async def test_primaries_leave_a_zone_and_come_home_when_somebody_says_so(world: ReleaseWorld) -> None:
    """A failover has brought the first one into the zone; the second one is at home there, and has no standby yet."""
    world.watches = {
        "cell-1": StandInWatch(Pair(primary="second", phase="synchronous", promotions=1), takes_s=0.5),
        "cell-2": StandInWatch(Pair(phase="following")),
    }
    assert world.primary_zones() == {"cell-1": "b", "cell-2": "b"}
    async with world.control_plane() as platform:
        evacuation_id = (await ordered(world, platform, zone="b")).json()["evacuation_id"]
        waiting = {"cell-1": "switched", "cell-2": "waiting"}
        told = await evacuation_when(world, platform, evacuation_id, lambda one: settled(one) == waiting)
        assert told["state"] == "switching"
        assert world.primary_zones() == {"cell-1": "a", "cell-2": "b"}
        world.watches["cell-2"].pair = Pair(phase="synchronous")
        await evacuation_when(world, platform, evacuation_id, lambda one: one["state"] == "in_force")
        assert world.primary_zones() == {"cell-1": "a", "cell-2": "c"}
        await platform.client.post(f"/v1/evacuations/{evacuation_id}/end", headers=bearer(world.keys.operator()))
        await evacuation_when(world, platform, evacuation_id, lambda one: one["state"] == "ended")
        assert world.primary_zones() == {"cell-1": "a", "cell-2": "c"}, "nobody said that it comes home"
        back = (await ordered(world, platform, zone="b", kind="fail_back")).json()["evacuation_id"]
        ended = await evacuation_when(world, platform, back, lambda one: one["state"] == "ended")
        assert settled(ended) == {"cell-2": "switched"}
        assert world.primary_zones() == {"cell-1": "a", "cell-2": "b"}
    assert {name: watch.asked for name, watch in world.watches.items()} == {"cell-1": 1, "cell-2": 2}
    assert all(one["fence"] > 0 for one in world.brought)


async def test_what_is_under_way_when_it_ends_is_followed_while_traffic_is_back(world: ReleaseWorld) -> None:
    """The first has begun to leave the zone; the second could not yet, and could now."""
    first, second = StandInWatch(Pair(primary="second", phase="synchronous")), StandInWatch(Pair(phase="following"))
    world.watches = {"cell-1": first, "cell-2": second}
    first.may_go.clear()
    async with world.control_plane() as platform:
        evacuation_id = (await ordered(world, platform, zone="b")).json()["evacuation_id"]
        begun = {"cell-1": "switching", "cell-2": "waiting"}
        await evacuation_when(world, platform, evacuation_id, lambda one: settled(one) == begun)
        headers = bearer(world.keys.operator())
        await platform.client.post(f"/v1/evacuations/{evacuation_id}/end", headers=headers)
        await evacuation_when(world, platform, evacuation_id, lambda one: one["state"] == "ending")
        second.pair = Pair(phase="synchronous")

        async def is_back() -> bool:
            await follow(world, platform)
            return weights(await platform.directory() or {}, "b") == {None}

        await until(is_back)
        given_up = {"cell-1": "switching", "cell-2": "not_available"}
        told = await evacuation_when(world, platform, evacuation_id, lambda one: settled(one) == given_up)
        assert told["state"] == "ending"
        assert "has ended" in told["primaries"][1]["detail"]
        first.may_go.set()
        ended = await evacuation_when(world, platform, evacuation_id, lambda one: one["state"] == "ended")
    assert settled(ended) == {"cell-1": "switched", "cell-2": "not_available"}
    assert (first.asked, second.asked) == (1, 0)


async def test_after_an_outage_of_the_control_plane_nobody_is_given_up_at_once(world: ReleaseWorld) -> None:
    world.watches = {"cell-1": StandInWatch(Pair(phase="following"))}
    async with world.control_plane() as platform:
        evacuation_id = (await ordered(world, platform)).json()["evacuation_id"]
        waiting = {"cell-1": "waiting", "cell-2": "switched"}
        await evacuation_when(world, platform, evacuation_id, lambda one: settled(one) == waiting)
    with psycopg.connect(world.database_url) as connection:
        connection.execute("UPDATE evacuations SET changed_at = now() - interval '20 minutes'")
    asked = len(world.brought)
    async with world.control_plane() as platform:
        await until(lambda: is_asked_again(world, asked))
        told = (await platform.get(f"/v1/evacuations/{evacuation_id}")).json()
        assert settled(told)["cell-1"] == "waiting"
        world.watches["cell-1"].pair = Pair(phase="synchronous")
        await evacuation_when(world, platform, evacuation_id, lambda one: settled(one)["cell-1"] == "switched")


async def is_asked_again(world: ReleaseWorld, asked: int) -> bool:
    return sum(one["cell"] == "cell-1" for one in world.brought[asked:]) >= 3


async def test_one_switch_over_each_wherever_the_control_plane_is_killed(world: ReleaseWorld) -> None:
    world.watches = {one.id: StandInWatch(takes_s=0.3) for one in world.members}
    evacuation_id = str(uuid.uuid4())
    async with world.control_plane(dies_at="evacuation.switched") as mortal:
        await ordered(world, mortal, evacuation_id=evacuation_id)
        await until(lambda: is_dead(mortal), deadline_s=60)
    async with world.control_plane(dies_at="evacuation.primaries_left") as mortal:
        await until(lambda: is_dead(mortal), deadline_s=60)
    async with world.control_plane() as last:
        await evacuation_when(world, last, evacuation_id, lambda one: one["state"] == "in_force")
    assert world.primary_zones() == {"cell-1": "b", "cell-2": "b"}
    assert {name: watch.asked for name, watch in world.watches.items()} == {"cell-1": 1, "cell-2": 0}


async def test_routers_that_have_not_heard_of_it_are_waited_for(world: ReleaseWorld) -> None:
    async with world.control_plane() as platform:
        await follow(world, platform)
        evacuation_id = (await ordered(world, platform)).json()["evacuation_id"]

        async def waits() -> bool:
            told = (await platform.get(f"/v1/evacuations/{evacuation_id}")).json()
            return told["reason"] == "routers_must_acknowledge" and ROUTER in told["detail"]

        await until(waits, deadline_s=8)
        await evacuation_when(world, platform, evacuation_id, lambda one: one["state"] == "in_force")


async def test_an_evacuation_goes_on_wherever_its_control_plane_is_killed(world: ReleaseWorld) -> None:
    headers = bearer(world.keys.operator())
    evacuation_id = str(uuid.uuid4())
    for point in EVACUATION_POINTS:
        async with world.control_plane(dies_at=point) as mortal:
            if point == EVACUATION_POINTS[0]:
                await ordered(world, mortal, evacuation_id=evacuation_id)
            if point == "evacuation.end_ordered":
                await evacuation_when(world, mortal, evacuation_id, lambda one: one["state"] == "in_force")
                assert weights(await mortal.directory() or {}) == {0}
                await mortal.client.post(f"/v1/evacuations/{evacuation_id}/end", headers=headers)
            await until(lambda life=mortal: is_dead(life), deadline_s=60)
        assert not world.crash_file.exists(), f"it died at {point}"
    async with world.control_plane() as last:
        await evacuation_when(world, last, evacuation_id, lambda one: one["state"] == "ended")
        assert weights(await last.directory() or {}) == {None}


async def test_the_clock_ends_it_without_a_worker(world: ReleaseWorld) -> None:
    """The worker's lease is somebody else's for an hour; the directory is published by another loop."""
    async with world.control_plane() as platform:
        evacuation_id = (await ordered(world, platform, lasts_s=600)).json()["evacuation_id"]

        async def is_away() -> bool:
            return weights(await platform.directory() or {"cells": {}}) == {0}

        await until(is_away)
        with psycopg.connect(world.database_url) as connection:
            connection.execute(
                "UPDATE leases SET holder = 'somebody', fence = fence + 1, until = now() + interval '1 hour'"
            )
            connection.execute("UPDATE evacuations SET expires_at = now() + interval '1 second'")

        async def is_back() -> bool:
            return weights(await platform.directory() or {"cells": {}}) == {None}

        await until(is_back)
        told = (await platform.get(f"/v1/evacuations/{evacuation_id}")).json()
        assert told["state"] != "ended"
        assert datetime.now(UTC) - datetime.fromisoformat(told["expires_at"]) < timedelta(minutes=1)


async def test_bad_orders_are_refused_by_name(world: ReleaseWorld) -> None:
    async with world.control_plane() as platform:
        unknown = await ordered(world, platform, zone="z")
        assert (unknown.status_code, unknown.json()["reason"]) == (404, "zone_must_be_known")
        for body in ({"lasts_s": 0}, {"lasts_s": 10**9}, {"zone": ""}, {"forever": True}):
            refused = await ordered(world, platform, **body)
            assert (refused.status_code, refused.json()["reason"]) == (400, "request_must_be_well_formed")
        reader = bearer(world.keys.operator("fleet:read"))
        denied = await platform.client.post("/v1/evacuations", json={"zone": "a"}, headers=reader)
        assert denied.status_code == 403
        nothing = await platform.get("/v1/evacuations/00000000-0000-0000-0000-000000000000")
        assert (nothing.status_code, nothing.json()["reason"]) == (404, "evacuation_must_exist")
