"""Releases in waves and the evacuation of a zone, by a real control plane with no more rights than the charts give it.

On a real API server, with cells from their chart, judged by a real Prometheus. Nodes are simulated, and what the cells'
processes would tell follows from what the cluster really runs (tests/support/releasing/stand_in_cells.py).
"""

import itertools
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

from control_plane_process import ControlPlaneProcess
from platform_keys import PlatformKeys, bearer
from releasing.cluster_world import (
    BAD,
    CONTROL_PLANE,
    NEW,
    OLD,
    ClusterWorld,
    Ground,
    install,
    may,
)
from releasing.release_world import FORWARD, has_ended, is_dead, rollout_when
from releasing.stand_in_cells import Behaviour
from running_platform import until

from control_plane.crash_points import EVACUATION_POINTS
from infra.cluster.local import ZONES

pytestmark = pytest.mark.timeout(900)

DEADLINE_S = 240.0


@pytest.fixture
async def world(ground: Ground, tmp_path: Path, database_url: str) -> AsyncIterator[ClusterWorld]:
    ground.stand_ins.behaviours = {BAD: Behaviour(errors=0.5)}
    async with ClusterWorld(ground, tmp_path, PlatformKeys(tmp_path), database_url) as made:
        yield made


async def ended(platform: Any, rollout_id: str) -> dict[str, Any]:
    return await rollout_when(platform, rollout_id, has_ended, deadline_s=DEADLINE_S)


async def test_a_good_release_goes_through_the_cells_zone_by_zone_and_is_judged_by_prometheus(
    world: ClusterWorld, ground: Ground
) -> None:
    async with world.control_plane() as platform:
        planned = (await world.order(platform, NEW, dry_run=True)).json()
        assert [(wave["name"], wave["cells"]) for wave in planned["waves"]] == [
            ("canary", [world.cells[0]]),
            (f"zone group {ZONES[1]}", [world.cells[1]]),
        ]
        ordered = await world.order(platform, NEW)
        assert (ordered.status_code, ordered.json()["state"]) == (202, "planned")
        rollout_id = ordered.json()["rollout_id"]
        rollout = await ended(platform, rollout_id)
        windows = (await platform.get(f"/v1/rollouts/{rollout_id}/windows")).json()["windows"]
    assert (rollout["state"], rollout["deployments_done"]) == ("done", 6)
    assert world.told() == world.everywhere(NEW)
    assert world.running() == {key: {NEW} for key in world.everywhere(NEW)}
    assert set(world.generations().values()) == {2}, "each zone was changed once"
    patched = sorted(rollout["processes"], key=lambda one: one["patched_at"])
    away = [(world.cells[0], zone) for zone in ZONES[1:]] + [(world.cells[0], ZONES[0])]
    then = [(world.cells[1], zone) for zone in (ZONES[0], ZONES[2], ZONES[1])]
    assert [(one["cell"], one["zone"]) for one in patched] == away + then, "the home zone last"
    settled = {(one["cell"], one["zone"]): one["settled_at"] for one in patched}
    assert all(
        settled[before["cell"], before["zone"]] <= after["patched_at"] for before, after in itertools.pairwise(patched)
    ), "one zone after the other"
    assert {one["verdict"] for one in windows} == {"good"}
    asked = windows[-1]["evidence"]
    assert asked["asked"]["from"] == ground.prometheus_url
    assert all(figures["requests"] > 100 for figures in asked["figures"].values())
    jobs = world.api.items(f"/apis/batch/v1/namespaces/{world.cells[0]}/jobs")
    migrated = {
        one["spec"]["template"]["spec"]["containers"][0]["image"] for one in jobs if one["status"].get("succeeded")
    }
    assert migrated == {OLD, NEW}, "the schema was brought along"


@pytest.mark.parametrize("point", [None, "rollout.image_put_back"])
async def test_a_bad_release_goes_back_to_what_ran_and_its_sibling_never_saw_it(
    world: ClusterWorld, point: str | None
) -> None:
    """Also when the control plane is killed on the way back."""
    async with world.control_plane() as first:
        rollout_id = (await world.order(first, BAD)).json()["rollout_id"]
        if point is not None:
            await rollout_when(first, rollout_id, lambda one: one["state"] == "baking", deadline_s=DEADLINE_S)
            world.crash_file.write_text(point)
            await until(lambda: is_dead(first), deadline_s=DEADLINE_S)
        else:
            await ended(first, rollout_id)
    async with world.control_plane() as second:
        rollout = await ended(second, rollout_id)
    assert (rollout["state"], rollout["reason"]) == ("failed", "windows_must_be_good")
    assert "of its requests failed" in rollout["detail"]
    assert world.told() == world.everywhere(OLD)
    assert world.running() == {key: {OLD} for key in world.everywhere(OLD)}
    changed = {cell for (cell, _), number in world.generations().items() if number > 1}
    assert changed == {world.cells[0]}


async def test_a_rollout_goes_on_wherever_its_control_plane_is_killed(world: ClusterWorld) -> None:
    """Seven lives of one rollout, each ended at the next step; the eighth finds it as if nothing had been."""
    rollout_id = str(uuid.uuid4())
    for point in FORWARD:
        async with world.control_plane(dies_at=point) as mortal:
            if point == FORWARD[0]:
                await world.order(mortal, NEW, rollout_id=rollout_id)
            await until(lambda life=mortal: is_dead(life), deadline_s=DEADLINE_S)
        assert not world.crash_file.exists(), f"it died at {point}"
    async with world.control_plane() as last:
        rollout = await ended(last, rollout_id)
    assert rollout["state"] == "done"
    assert world.told() == world.everywhere(NEW)
    assert set(world.generations().values()) == {2}, "nothing was replaced twice"


async def test_books_that_do_not_balance_take_a_release_back_although_its_figures_are_good(
    world: ClusterWorld, ground: Ground
) -> None:
    ground.stand_ins.behaviours[BAD] = Behaviour(is_clean=False)
    async with world.control_plane() as platform:
        rollout = await ended(platform, (await world.order(platform, BAD)).json()["rollout_id"])
    assert (rollout["state"], rollout["reason"]) == ("failed", "ledger_must_be_whole")
    assert world.told() == world.everywhere(OLD)


async def test_a_cluster_that_falls_silent_in_the_middle_is_waited_for(world: ClusterWorld, ground: Ground) -> None:
    """The whole API server stands still; nothing is taken for bad or for good meanwhile, and then it goes on."""
    server = ground.cluster.programs["kube-apiserver"]
    async with world.control_plane() as platform:
        rollout_id = (await world.order(platform, NEW)).json()["rollout_id"]
        await rollout_when(platform, rollout_id, lambda one: one["deployments_done"] == 1, deadline_s=DEADLINE_S)
        server.send(signal.SIGSTOP)
        try:
            held = await rollout_when(
                platform, rollout_id, lambda one: one["waiting_reason"] == "cells_must_be_reachable", deadline_s=60
            )
        finally:
            server.send(signal.SIGCONT)
        assert "does not answer" in held["waiting_detail"]
        rollout = await ended(platform, rollout_id)
    assert rollout["state"] == "done"
    assert world.told() == world.everywhere(NEW)


async def evacuate(world: ClusterWorld, platform: ControlPlaneProcess, zone: str, **named: str) -> str:
    body = {"zone": zone, "lasts_s": 600, **named}
    answer = await platform.client.post("/v1/evacuations", json=body, headers=bearer(world.keys.operator()))
    assert answer.status_code == 202, answer.text
    evacuation_id: str = answer.json()["evacuation_id"]
    return evacuation_id


async def end_evacuation(world: ClusterWorld, platform: ControlPlaneProcess, evacuation_id: str) -> None:
    headers = bearer(world.keys.operator())
    await platform.client.post(f"/v1/evacuations/{evacuation_id}/end", headers=headers)


async def evacuation_when(platform: ControlPlaneProcess, evacuation_id: str, state: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        told: dict[str, Any] = (await platform.get(f"/v1/evacuations/{evacuation_id}")).json()
        return told if told["state"] == state else None

    found: dict[str, Any] = await until(look, deadline_s=60)
    return found


async def test_an_evacuation_closes_the_nodes_of_its_zone_and_opens_them_at_its_end(world: ClusterWorld) -> None:
    async with world.control_plane() as platform:
        before = world.running()
        evacuation_id = await evacuate(world, platform, ZONES[1])
        in_force = await evacuation_when(platform, evacuation_id, "in_force")
        assert in_force["cordon"] == "closed for anything new"
        assert world.closed_nodes() == world.nodes(ZONES[1])
        assert {one["cell"]: one["state"] for one in in_force["primaries"]} == dict.fromkeys(world.cells, "switched")
        assert world.primary_zones() == dict.fromkeys(world.cells, ZONES[0])
        directory = await platform.directory()
        assert directory is not None
        assert {one["zone_weights"].get(ZONES[1]) for one in directory["cells"].values()} == {0}
        refused = await world.order(platform, NEW)
        assert (refused.status_code, refused.json()["reason"]) == (409, "evacuation_must_have_ended")
        assert world.running() == before, "what runs there stays"
        await end_evacuation(world, platform, evacuation_id)
        await evacuation_when(platform, evacuation_id, "ended")
    assert world.closed_nodes() == set()


async def test_an_evacuation_goes_on_wherever_its_control_plane_is_killed(world: ClusterWorld) -> None:
    """And opens what it closed, and not what somebody else had closed before."""
    evacuation_id, by_hand = str(uuid.uuid4()), min(world.nodes(ZONES[1]))
    world.api.patch(f"/api/v1/nodes/{by_hand}", {"spec": {"unschedulable": True}})
    try:
        for point in EVACUATION_POINTS:
            async with world.control_plane(dies_at=point) as mortal:
                if point == EVACUATION_POINTS[0]:
                    await evacuate(world, mortal, ZONES[1], evacuation_id=evacuation_id)
                if point == "evacuation.end_ordered":
                    await evacuation_when(mortal, evacuation_id, "in_force")
                    assert world.closed_nodes() == world.nodes(ZONES[1])
                    await end_evacuation(world, mortal, evacuation_id)
                await until(lambda life=mortal: is_dead(life), deadline_s=DEADLINE_S)
            assert not world.crash_file.exists(), f"it died at {point}"
        async with world.control_plane() as last:
            told = await evacuation_when(last, evacuation_id, "ended")
        assert world.closed_nodes() == {by_hand}
        assert {one["state"] for one in told["primaries"]} == {"switched"}
        assert world.cells[1] in world.ground.stand_ins.vouched, "whose order it was, nobody has forgotten"
    finally:
        world.api.patch(f"/api/v1/nodes/{by_hand}", {"spec": {"unschedulable": None}})


async def test_a_rollout_in_the_middle_of_which_a_zone_is_evacuated_waits_and_goes_on(world: ClusterWorld) -> None:
    """Nothing may be placed there meanwhile, and no replacement is begun that would have to be."""
    async with world.control_plane() as platform:
        rollout_id = (await world.order(platform, NEW)).json()["rollout_id"]
        await rollout_when(platform, rollout_id, lambda one: one["deployments_done"] == 1, deadline_s=DEADLINE_S)
        evacuation_id = await evacuate(world, platform, ZONES[2])
        await evacuation_when(platform, evacuation_id, "in_force")
        held = await rollout_when(
            platform,
            rollout_id,
            lambda one: one["waiting_reason"] == "evacuation_must_have_ended",
            deadline_s=DEADLINE_S,
        )
        assert held["state"] in {"updating", "planned"}
        told = world.told()
        await end_evacuation(world, platform, evacuation_id)
        await evacuation_when(platform, evacuation_id, "ended")
        assert OLD in told.values(), "it was held in the middle"
        rollout = await ended(platform, rollout_id)
    assert rollout["state"] == "done"
    assert world.told() == world.everywhere(NEW)
    assert world.closed_nodes() == set()


async def test_without_the_right_to_nodes_a_zone_is_evacuated_all_the_same_and_that_is_told(
    world: ClusterWorld,
) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cellwallet-cordon-{CONTROL_PLANE}"
    binding = world.api.read(path)
    world.api.delete(path)
    try:
        async with world.control_plane() as platform:
            told = await evacuation_when(platform, await evacuate(world, platform, ZONES[2]), "in_force")
            assert "the cluster does not let us (403 Forbidden)" in told["cordon"]
            assert world.closed_nodes() == set()
    finally:
        kept = {name: binding[name] for name in ("apiVersion", "kind", "roleRef", "subjects")}
        install(world.api, [{**kept, "metadata": {"name": binding["metadata"]["name"]}}])


async def test_without_its_role_in_a_cell_s_namespace_nothing_is_begun(world: ClusterWorld) -> None:
    """The mutant of the rights: were they not asked for, the tests above would prove nothing about them."""
    cell = world.cells[1]
    world.api.delete(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cell}/rolebindings/cell-operator")
    async with world.control_plane() as platform:
        refused = await world.order(platform, NEW)
    assert (refused.status_code, refused.json()["reason"]) == (503, "cells_must_tell_what_they_run")
    assert f"{cell} does not tell what it runs: the cluster does not let us (403 Forbidden)" in refused.json()["detail"]
    assert world.told() == world.everywhere(OLD)


def test_the_account_may_do_what_it_needs_and_nothing_else(world: ClusterWorld, ground: Ground) -> None:
    """By the server's own answer, of the roles that the charts make."""
    cell = world.cells[0]
    allowed = {
        *(("apps", "deployments", verb) for verb in ("get", "list", "create", "patch")),
        *(("batch", "jobs", verb) for verb in ("get", "list", "create", "patch")),
        ("", "pods", "list"),
        *(("", "services", verb) for verb in ("get", "create", "patch")),
        *(("policy", "poddisruptionbudgets", verb) for verb in ("get", "create", "patch")),
    }
    refused = {
        *(("apps", "deployments", verb) for verb in ("update", "delete")),
        *(("", "pods", verb) for verb in ("create", "delete", "patch")),
        *(("", "secrets", verb) for verb in ("get", "list", "create")),
        *(("", "serviceaccounts", verb) for verb in ("create", "impersonate")),
        *(("rbac.authorization.k8s.io", "roles", verb) for verb in ("create", "patch", "bind", "escalate")),
        ("", "pods/exec", "create"),
        ("networking.k8s.io", "networkpolicies", "patch"),
        ("batch", "jobs", "delete"),
    }

    def asked(group: str, resource: str, verb: str, space: str) -> bool:
        name, _, part = resource.partition("/")
        question = {"group": group, "resource": name, "subresource": part, "verb": verb, "namespace": space}
        return may(ground.kubeconfig, question)

    assert {one for one in allowed if not asked(*one, cell)} == set()
    assert {one for one in refused if asked(*one, cell)} == set()
    for elsewhere in ("default", "kube-system", CONTROL_PLANE):
        assert {one for one in allowed | refused if asked(*one, elsewhere)} == set(), elsewhere
    assert may(ground.kubeconfig, {"resource": "nodes", "verb": "patch"})
    assert not may(ground.kubeconfig, {"resource": "nodes", "verb": "delete"})


async def test_mutant_who_judges_without_looking_lets_a_bad_release_through(world: ClusterWorld) -> None:
    async with world.control_plane(mutant="every_window_is_good") as platform:
        rollout = await ended(platform, (await world.order(platform, BAD)).json()["rollout_id"])
    assert rollout["state"] == "done"
    assert world.told() == world.everywhere(BAD)
