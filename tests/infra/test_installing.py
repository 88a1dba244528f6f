"""A cell installed by the control plane on a real API server, with no more rights than the charts give it.

From the values that infra exports, by the verb that operators use; and refused where somebody else is in it.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

from control_plane_process import ControlPlaneProcess
from platform_keys import PlatformKeys
from releasing.cluster_world import JUDGED_BY, NEW, OLD, ClusterWorld, Ground
from releasing.release_world import has_ended, rollout_when
from running_platform import until

from infra.cluster.local import ZONES

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0


@pytest.fixture
async def world(ground: Ground, tmp_path: Path, database_url: str) -> AsyncIterator[ClusterWorld]:
    """The ground of two cells, and no process of either."""
    made = ClusterWorld(ground, tmp_path, PlatformKeys(tmp_path), database_url)
    for cell in made.cells:
        made.install_ground(cell)
    ground.stand_ins.cells = made.cells
    yield made
    await made.__aexit__()


class Verb:
    """`cellwallet cells install`, as an operator runs it far from the platform."""

    def __init__(self, world: ClusterWorld, platform: ControlPlaneProcess, helm: Path) -> None:
        self._world = world
        self._environment = {
            "PATH": f"{helm.parent}:{os.defpath}",
            "HOME": str(world.folder),
            "CELLWALLET_CONTROL_PLANE_URL": str(platform.client.base_url),
            "CELLWALLET_OPERATOR_TOKEN": world.keys.operator(),
        }

    async def __call__(
        self, cell: str, *options: str, image: str = OLD, changes: dict[str, Any] | None = None
    ) -> tuple[int, Any, str]:
        """Exit code, answer, and what it said."""
        values = self._world.folder / f"{cell}.json"
        values.write_text(json.dumps({**self._world.values(cell), **(changes or {})}))
        words = ("cells", "install", "--values", str(values), "--image", image, "--json", *options)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cellwallet", *words),
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, said = await process.communicate()
        return process.returncode or 0, json.loads(told) if told else None, " ".join(said.decode().split())


def outcomes(answer: Any) -> dict[str, str]:
    return {f"{one['kind']} {one['name']}": one["change"] for one in answer["objects"]}


async def until_ready(world: ClusterWorld, cell: str, per_zone: int) -> None:
    async def is_there() -> bool:
        zones = [one.zone for one in world.ground.stand_ins.processes(cell)]
        return {zone: zones.count(zone) for zone in ZONES} == dict.fromkeys(ZONES, per_zone) and len(
            zones
        ) == 3 * per_zone

    await until(is_there, deadline_s=DEADLINE_S)


async def test_a_cell_comes_from_infra_s_values_and_the_same_again_changes_nothing(
    world: ClusterWorld, helm: Path
) -> None:
    cell = world.cells[0]
    async with world.control_plane(is_born=False) as platform:
        verb = Verb(world, platform, helm)
        code, answer, said = await verb(cell, "--dry-run")
        assert (code, set(outcomes(answer).values())) == (0, {"created"}), said
        assert world.told() == {}, "a dry run changes nothing"
        code, answer, said = await verb(cell)
        assert (code, set(outcomes(answer).values())) == (0, {"created"}), said
        await until_ready(world, cell, 2)
        code, answer, said = await verb(cell)
        assert (code, set(outcomes(answer).values())) == (0, {"unchanged"}), said
        assert set(world.generations().values()) == {1}
        code, answer, said = await verb(cell, changes={"replicasPerZone": 3})
        assert code == 0, said
        changed = {name for name, change in outcomes(answer).items() if change == "changed"}
        assert changed == {f"Deployment {cell}-api-{zone}" for zone in ZONES}
        await until_ready(world, cell, 3)
        trail = (await platform.get(f"/v1/changes?subject=cell:{cell}")).json()["changes"]
        assert [one["after"]["installed"] for one in trail] == [OLD] * 3, "dry runs leave no trace"
    managers = {
        (entry["manager"], entry["operation"])
        for one in world.deployments().values()
        for entry in one["metadata"]["managedFields"]
        if "subresource" not in entry
    }
    assert ("cellwallet-control-plane", "Apply") in managers


async def test_what_was_begun_is_ended_by_the_same_order(world: ClusterWorld, helm: Path) -> None:
    """As after a control plane that died in the middle: some objects are there and others are not."""
    cell = world.cells[0]
    async with world.control_plane(is_born=False) as platform:
        verb = Verb(world, platform, helm)
        assert (await verb(cell))[0] == 0
        world.api.delete(f"/apis/apps/v1/namespaces/{cell}/deployments/{cell}-api-{ZONES[2]}")
        world.api.delete(f"/api/v1/namespaces/{cell}/services/{cell}-api")
        code, answer, said = await verb(cell)
        assert code == 0, said
        found = outcomes(answer)
        created = {name for name, change in found.items() if change == "created"}
        assert created == {f"Deployment {cell}-api-{ZONES[2]}", f"Service {cell}-api"}
        assert set(found.values()) == {"created", "unchanged"}


async def test_bad_values_and_strangers_are_refused_in_words_and_change_nothing(
    world: ClusterWorld, helm: Path
) -> None:
    cell = world.cells[0]
    async with world.control_plane(is_born=False) as platform:
        verb = Verb(world, platform, helm)
        for changes, image, words in (
            ({"replicasPerZnoe": 3}, OLD, "replicasPerZnoe"),
            ({"zones": [ZONES[0]]}, OLD, "zones"),
            ({"replicasPerZone": -1}, OLD, "replicasPerZone"),
            ({}, "registry.example/cellwallet/cell:latest", "repository"),
            ({"image": {"repository": "a/b", "digest": "sha256:" + "0" * 64}}, OLD, "named by --image alone"),
        ):
            code, _, said = await verb(cell, image=image, changes=changes)
            assert (code, words in said) == (1, True), (changes, said)
        stranger = {"cell": {"id": "cell-nowhere", "homeZone": ZONES[0]}}
        code, _, said = await verb(cell, changes=stranger)
        assert code == 1
        assert "cluster_must_accept" in said or "the cluster does not let us" in said, said
        assert world.told() == {}


async def test_another_owner_of_a_field_is_named_and_not_overruled(world: ClusterWorld, helm: Path) -> None:
    cell = world.cells[0]
    async with world.control_plane(is_born=False) as platform:
        verb = Verb(world, platform, helm)
        assert (await verb(cell))[0] == 0
        path = f"/apis/apps/v1/namespaces/{cell}/deployments/{cell}-api-{ZONES[1]}?fieldManager=autoscaler"
        world.api.patch(path, {"spec": {"replicas": 7}})
        code, _, said = await verb(cell, changes={"replicasPerZone": 3})
    assert code == 1
    assert "fields_must_have_one_owner: two owners of one field" in said
    assert f".spec.replicas of Deployment {cell}-api-{ZONES[1]} is autoscaler's" in said
    assert sorted(one["spec"]["replicas"] for one in world.deployments().values()) == [2, 2, 7], "nothing was changed"


async def test_a_version_that_a_rollout_brought_is_kept_and_the_rest_may_still_be_changed(
    world: ClusterWorld, helm: Path
) -> None:
    """With the chart's own pace: a process must be ready for 15 seconds before the next one is replaced."""
    cell, spare = world.cells
    del world.homes[spare]
    async with world.control_plane(is_born=False) as platform:
        verb = Verb(world, platform, helm)
        assert (await verb(cell))[0] == 0
        await until_ready(world, cell, 2)
        await until(platform.directory, deadline_s=60)
        ordered = await world.order(platform, NEW, judged_by={**JUDGED_BY, "settle_max_s": 180.0})
        assert ordered.status_code == 202, ordered.text
        code, _, said = await verb(cell)
        assert (code, "another_rollout_must_have_ended" in said) == (1, True), said
        rollout = await rollout_when(platform, ordered.json()["rollout_id"], has_ended, deadline_s=400)
        assert rollout["state"] == "done", rollout
        code, _, said = await verb(cell)
        assert (code, "image_must_be_the_one_that_runs" in said, NEW in said) == (1, True, True), said
        code, answer, said = await verb(cell, image=NEW, changes={"replicasPerZone": 3})
        assert code == 0, said
        changed = {name for name, change in outcomes(answer).items() if change == "changed"}
        assert changed == {f"Deployment {cell}-api-{zone}" for zone in ZONES}
    assert world.told() == world.everywhere(NEW)
