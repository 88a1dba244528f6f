"""Rollouts by a real control plane on a real database, to real processes in the place of cells: good ones, bad ones,
and ones whose control plane is killed at each step.
"""

import uuid
from typing import Any

import psycopg
import pytest
from certificates import certificate_document
from platform_keys import bearer
from psycopg.types.json import Jsonb
from releasing.release_world import FORWARD, ReleaseWorld, has_ended, is_dead, rollout_when
from running_platform import until


def images(rollout: dict[str, Any]) -> set[str]:
    return {one["state"] for one in rollout["processes"]}


async def test_a_good_release_reaches_every_zone_of_every_cell_once(world: ReleaseWorld) -> None:
    image = world.image()
    async with world.control_plane() as platform:
        ordered = await world.order(platform, image)
        assert (ordered.status_code, ordered.json()["state"]) == (202, "planned")
        rollout_id = ordered.json()["rollout_id"]
        rollout = await rollout_when(platform, rollout_id, has_ended)
        assert (rollout["state"], rollout["deployments_done"], images(rollout)) == ("done", 4, {"settled"})
        assert world.running() == world.everywhere(image)
        assert len(world.changes) == 4, "each zone once"
        windows = (await platform.get(f"/v1/rollouts/{rollout_id}/windows")).json()["windows"]
        assert {one["verdict"] for one in windows} == {"good"}
        figures = windows[0]["evidence"]["figures"]
        assert all(one["requests"] >= 5 for one in figures.values() if one)
        trail = (await platform.get(f"/v1/changes?subject=rollout:{rollout_id}")).json()["changes"]
        assert [(one["actor"], one["after"]["image"]) for one in trail] == [("olga", image)]


async def test_a_rollout_goes_on_wherever_its_control_plane_is_killed(world: ReleaseWorld) -> None:
    """Seven lives of one rollout, each ended at the next step; the eighth finds it as if nothing had been."""
    image, rollout_id = world.image(), str(uuid.uuid4())
    for point in FORWARD:
        async with world.control_plane(dies_at=point) as mortal:
            if point == FORWARD[0]:
                await world.order(mortal, image, rollout_id=rollout_id)
            await until(lambda life=mortal: is_dead(life), deadline_s=60)
        assert not world.crash_file.exists(), f"it died at {point}"
    async with world.control_plane() as last:
        rollout = await rollout_when(last, rollout_id, has_ended)
    assert rollout["state"] == "done"
    assert world.running() == world.everywhere(image)
    assert len(world.changes) == 4, "nothing was replaced twice"


@pytest.mark.parametrize("point", [None, "rollout.image_put_back", "rollout.noted"])
async def test_a_release_that_fails_its_objective_goes_back_and_its_siblings_never_saw_it(
    world: ReleaseWorld, point: str | None
) -> None:
    """Also when the control plane is killed on the way back."""
    image, before = world.image(errors="0.5"), world.running()
    async with world.control_plane() as first:
        pids = world.pids()
        rollout_id = (await world.order(first, image)).json()["rollout_id"]
        if point is not None:
            await rollout_when(first, rollout_id, lambda one: one["state"] == "baking")
            world.crash_file.write_text(point)
            await until(lambda: is_dead(first), deadline_s=60)
        else:
            await rollout_when(first, rollout_id, has_ended)
    async with world.control_plane() as second:
        rollout = await rollout_when(second, rollout_id, has_ended)
    assert (rollout["state"], rollout["reason"]) == ("failed", "windows_must_be_good")
    assert "of its requests failed" in rollout["detail"]
    assert world.running() == before
    canary = rollout["waves"][0]["cells"][0]
    assert {change["cell"] for change in world.changes} == {canary}
    siblings = {name: pid for name, pid in world.pids().items() if not name.startswith(f"{canary}-")}
    assert siblings == {name: pids[name] for name in siblings}, "their processes were not touched"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"never_ready": "1"}, "processes_must_become_ready"),
        ({"migrates_at": "99"}, "schema_must_be_migrated"),
        ({"unclean": "1"}, "ledger_must_be_whole"),
        ({"p99_s": "0.09"}, "windows_must_be_good"),
    ],
    ids=str,
)
async def test_other_ways_to_fail_end_with_what_ran_before(
    world: ReleaseWorld, settings: dict[str, str], reason: str
) -> None:
    image, before = world.image(**settings), world.running()
    quickly = {"window_s": 0.5, "windows_good": 1, "windows_bad_max": 1, "requests_min": 5, "settle_max_s": 3.0}
    async with world.control_plane() as platform:
        ordered = await world.order(platform, image, judged_by=quickly)
        rollout = await rollout_when(platform, ordered.json()["rollout_id"], has_ended)
    assert (rollout["state"], rollout["reason"]) == ("failed", reason)
    assert world.running() == before


async def test_operators_pause_resume_cancel_and_roll_back(world: ReleaseWorld) -> None:
    image, before = world.image(), world.running()
    slowly = {"window_s": 0.5, "windows_good": 1_000, "requests_min": 5}
    async with world.control_plane() as platform:

        async def say(rollout_id: str, verb: str) -> tuple[int, dict[str, Any]]:
            headers = bearer(world.keys.operator())
            answer = await platform.client.post(f"/v1/rollouts/{rollout_id}/{verb}", headers=headers)
            return answer.status_code, answer.json()

        first = (await world.order(platform, image, judged_by=slowly)).json()["rollout_id"]
        await rollout_when(platform, first, lambda one: one["state"] == "baking")
        other = await world.order(platform, world.image("3.0", errors="0.1"))
        assert (other.status_code, other.json()["reason"]) == (409, "another_rollout_must_have_ended")
        assert (await say(first, "pause"))[1]["is_paused"]
        assert not (await say(first, "resume"))[1]["is_paused"]
        for _ in range(2):
            assert (await say(first, "cancel"))[1]["stop"] == "cancelled"
        assert (await rollout_when(platform, first, has_ended))["state"] == "cancelled"
        assert world.running() == before
        assert (await say(first, "pause"))[0] == 409
        assert (await say(first, "roll_back"))[0] == 409

        second = (await world.order(platform, image, judged_by=slowly)).json()["rollout_id"]
        await rollout_when(platform, second, lambda one: one["state"] == "baking")
        assert (await say(second, "roll_back"))[1]["stop"] == "rolled_back"
        assert (await rollout_when(platform, second, has_ended))["state"] == "rolled_back"
        assert world.running() == before
        listed = (await platform.get("/v1/rollouts?limit=1")).json()
        assert [one["rollout_id"] for one in listed["rollouts"]] == [second]
        rest = (await platform.get(f"/v1/rollouts?cursor={listed['next_cursor']}")).json()
        assert [one["rollout_id"] for one in rest["rollouts"]] == [first]


async def test_a_dry_run_tells_the_waves_and_changes_nothing(world: ReleaseWorld) -> None:
    async with world.control_plane() as platform:
        answer = (await world.order(platform, world.image(), dry_run=True)).json()
        assert (answer["rollout_id"], [wave["name"] for wave in answer["waves"]]) == (None, ["canary", "zone group b"])
        assert (await platform.get("/v1/rollouts")).json()["rollouts"] == []
    assert world.changes == []


async def test_where_a_cell_is_certified_the_order_brings_the_certificate_of_the_release(world: ReleaseWorld) -> None:
    image, measured = world.image(), certificate_document(version="2.0", limit_per_s=480.0)
    async with world.control_plane() as platform:
        with psycopg.connect(world.database_url) as connection:
            held = Jsonb(certificate_document(version="1.0", limit_per_s=500.0))
            connection.execute("INSERT INTO certificates VALUES ('cell-1', now(), %s)", [held])
        without = await world.order(platform, image, dry_run=True)
        assert (without.status_code, without.json()["reason"]) == (409, "release_must_be_certified")
        taken = await world.order(platform, image, dry_run=True, certificate=measured)
        assert taken.status_code == 202, taken.text
        slower = await world.order(platform, image, dry_run=True, certificate={**measured, "limit_per_s": 400.0})
        assert slower.status_code == 409
        waived = await world.order(platform, image, dry_run=True, without_certificate=True)
        assert waived.status_code == 202


async def test_the_same_order_again_is_the_same_rollout_and_an_unknown_image_is_refused(world: ReleaseWorld) -> None:
    image = world.image()
    async with world.control_plane() as platform:
        ordered = (await world.order(platform, image)).json()
        again = (await world.order(platform, image, rollout_id=ordered["rollout_id"])).json()
        assert again["rollout_id"] == ordered["rollout_id"]
        stranger = {"label": "9.9", "image": f"local/9.9@sha256:{'0' * 64}"}
        differs = await world.order(platform, image, rollout_id=ordered["rollout_id"], release=stranger)
        assert (differs.status_code, differs.json()["reason"]) == (409, "rollout_exists_with_different_release")
        await rollout_when(platform, ordered["rollout_id"], has_ended)
        unknown = await world.order(platform, image, release=stranger)
        assert (unknown.status_code, unknown.json()["reason"]) == (409, "release_must_be_known")
        tag = await world.order(platform, image, release={"label": "9.9", "image": "local/cell:latest"})
        assert (tag.status_code, tag.json()["reason"]) == (400, "request_must_be_well_formed")


async def test_cells_serve_while_no_control_plane_is_there(world: ReleaseWorld) -> None:
    """Killed in the middle of a wave, it leaves every cell with processes that are ready."""
    async with world.control_plane(dies_at="rollout.image_put") as platform:
        await world.order(platform, world.image())
        await until(lambda: is_dead(platform), deadline_s=60)
    ready = {cell for cell, _ in world.running()}
    assert ready == {member.id for member in world.members}


async def test_an_evacuation_holds_the_next_wave_and_the_rollout_goes_on_after_it(world: ReleaseWorld) -> None:
    image = world.image()
    headers = bearer(world.keys.operator())
    async with world.control_plane() as platform:
        slowly = {"window_s": 2.0, "windows_good": 1, "requests_min": 5}
        rollout_id = (await world.order(platform, image, judged_by=slowly)).json()["rollout_id"]
        await rollout_when(platform, rollout_id, lambda one: one["state"] == "baking")
        left = await platform.client.post("/v1/evacuations", json={"zone": "b", "lasts_s": 60}, headers=headers)
        assert left.status_code == 202
        held = await rollout_when(
            platform, rollout_id, lambda one: one["waiting_reason"] == "evacuation_must_have_ended"
        )
        assert held["waves_passed"] == 1
        await platform.client.post(f"/v1/evacuations/{left.json()['evacuation_id']}/end", headers=headers)
        assert (await rollout_when(platform, rollout_id, has_ended))["state"] == "done"


async def test_mutant_who_judges_without_looking_lets_a_bad_release_through(world: ReleaseWorld) -> None:
    image = world.image(errors="0.5")
    async with world.control_plane(mutant="every_window_is_good") as platform:
        rollout_id = (await world.order(platform, image)).json()["rollout_id"]
        rollout = await rollout_when(platform, rollout_id, has_ended)
    assert rollout["state"] == "done"
    assert world.running() == world.everywhere(image)


async def test_mutant_who_believes_the_record_alone_does_not_get_over_a_kill(world: ReleaseWorld) -> None:
    async with world.control_plane(dies_at="rollout.image_put") as first:
        rollout_id = (await world.order(first, world.image())).json()["rollout_id"]
        await until(lambda: is_dead(first), deadline_s=60)
    async with world.control_plane(mutant="the_record_is_all_there_is") as second:
        held = await rollout_when(
            second, rollout_id, lambda one: one["waiting_reason"] == "image_must_be_the_recorded_one"
        )
    assert held["state"] == "updating"
