"""Stacks through Pulumi's own engine: up, once more, drift, a failure in the middle, and one cell taken away.

The clouds behind it stand in (tests/support/stand_in_provider.py): what the engine decides is real, what AWS and
Kubernetes would say to it is not.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pulumi
import pytest
from engine_stacks import LEAVES_LOOPS, Clouds, nothing_left, stand_ins, state, up
from pulumi import automation as auto
from stacks import cell, document, example_certificate, settings
from stand_in_provider import Thing

from infra import program
from infra.headroom import cell_needs
from infra.planning import stack_of
from infra.policies import NODE_GROUP, ZONE_TAG, violations
from infra.stack_state import declared_in

pytestmark = [
    *LEAVES_LOOPS,
    pytest.mark.only_a_cloud("that AWS makes network, cluster and nodes as the program asks, and takes their values"),
]
__all__ = ["nothing_left"]

DATABASE, DEPLOYMENT = "kubernetes:postgresql.cnpg.io/v1:Cluster", "kubernetes:apps/v1:Deployment"
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
ON_AWS = ("ground", "fleet", "cell-a", "cell-b")


@pytest.fixture(scope="session")
def pulumi_program(tools_or_skip: Callable[[list[str]], dict[str, Path]]) -> Path:
    pytest.importorskip("pulumi_aws", reason="the package pulumi-aws is not installed: pip install 'cellwallet[infra]'")
    return tools_or_skip(["pulumi"])["pulumi"]


@pytest.fixture
def clouds(pulumi_program: Path, tmp_path: Path) -> Iterator[Clouds]:
    with stand_ins(pulumi_program, tmp_path / "engine") as running:
        yield running


def revisions(*worlds: dict[str, Thing], of: str = "") -> dict[str, int]:
    return {name: one.revision for world in worlds for name, one in world.items() if of in one.name}


def groups_per_pool_and_zone(clouds: Clouds) -> Counter[tuple[str, str]]:
    found = (one.inputs for one in clouds.aws.of(NODE_GROUP))
    return Counter((one["labels"]["cellwallet/pool"], one["tags"][ZONE_TAG]) for one in found)


def test_a_fleet_of_two_cells_comes_up_and_a_second_time_changes_nothing(clouds: Clouds) -> None:
    stacks = {name: clouds.engine.stack(name, document(name)) for name in ON_AWS}
    for name, stack in stacks.items():
        assert set(up(stack)) == {"create"}, name
        assert violations(stack_of(settings(name)), state(stack)) == [], name
    before = revisions(clouds.aws.things(), clouds.kubernetes.things())
    assert groups_per_pool_and_zone(clouds)["postgres", ZONES[0]] == 3, "the fleet's and one of each cell"
    for name, stack in stacks.items():
        assert up(stack) == {}, name
    assert revisions(clouds.aws.things(), clouds.kubernetes.things()) == before
    told = {name: stack.outputs() for name, stack in stacks.items()}
    assert told["ground"]["zones"].value == list(ZONES)
    needs = cell_needs(cell("cell-a"), example_certificate())
    assert told["cell-a"]["api_per_zone"].value == needs.api_per_zone
    assert "image" not in told["cell-a"]["cell_app_values"].value


def test_a_preview_touches_nothing_and_can_be_held_against_the_policies(clouds: Clouds) -> None:
    stack = clouds.engine.stack("ground", document("ground"))
    shown = json.loads(stack.preview(json=True).stdout)
    resources = declared_in(shown)
    assert len(resources) > 40
    assert violations(stack_of(settings("ground")), resources) == []
    assert clouds.aws.things() == clouds.kubernetes.things() == {}


def test_drift_is_seen_and_taken_back(clouds: Clouds) -> None:
    up(clouds.engine.stack("ground", document("ground")))
    stack = clouds.engine.stack("cell-a", document("cell-a"))
    up(stack)
    group = next(one for one in clouds.aws.of(NODE_GROUP) if one.name == "cell-a-app-eu-west-1b")
    clouds.aws.change(group.id, {**group.inputs, "scalingConfig": {"minSize": 0, "desiredSize": 0, "maxSize": 9}})
    assert dict(stack.preview_refresh().change_summary).get("update") == 1
    assert dict(stack.preview(refresh=True).change_summary).get("update") == 1
    stack.refresh()
    assert up(stack) == {"update": 1}
    assert clouds.aws.things()[group.id].inputs == group.inputs
    assert up(stack) == {}


def test_what_somebody_took_away_comes_back(clouds: Clouds) -> None:
    stack = clouds.engine.stack("local-cell-a", document("local-cell-a"))
    up(stack)
    account = next(one for one in clouds.kubernetes.things().values() if one.type.endswith("ServiceAccount"))
    clouds.kubernetes.remove(account.id)
    stack.refresh()
    assert up(stack) == {"create": 1}
    assert account.id in clouds.kubernetes.things()


def test_a_failure_in_the_middle_converges(clouds: Clouds) -> None:
    up(clouds.engine.stack("ground", document("ground")))
    stack = clouds.engine.stack("cell-a", document("cell-a"))
    clouds.aws.failing.add(("create", "cell-a-postgres-eu-west-1c"))
    with pytest.raises(auto.CommandError, match="the cloud fails to create cell-a-postgres-eu-west-1c"):
        stack.up()
    made = groups_per_pool_and_zone(clouds)
    assert ("postgres", "eu-west-1c") not in made
    assert not [one for one in clouds.kubernetes.things().values() if one.type == DATABASE], "it would have no node"
    clouds.aws.failing.clear()
    assert set(up(stack)) == {"create"}
    expected = Counter((pool, zone) for pool in ("app", "postgres") for zone in ZONES)
    system = Counter(("system", zone) for zone in ZONES)
    assert groups_per_pool_and_zone(clouds) == expected + system, "nothing is there twice"
    assert up(stack) == {}


def test_an_update_that_fails_in_the_middle_converges(clouds: Clouds) -> None:
    stack = clouds.engine.stack("local-fleet", document("local-fleet"))
    up(stack)
    newer = {"router": {"image": {"digest": "sha256:" + "9" * 64}}}
    changed = clouds.engine.stack("local-fleet", document("local-fleet", newer))
    clouds.kubernetes.failing.add(("update", "router/router-zone-b"))
    with pytest.raises(auto.CommandError, match="the cloud fails to update router/router-zone-b"):
        changed.up()
    clouds.kubernetes.failing.clear()
    assert "update" in up(changed)
    images = {
        one.inputs["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
        for one in clouds.kubernetes.of(DEPLOYMENT)
        if one.name.startswith("router/")
    }
    assert images == {"9" * 64}
    assert up(changed) == {}


@pytest.mark.parametrize("name", ["ground", "local-fleet", "local-cell-a"])
def test_nothing_is_destroyed_in_passing(clouds: Clouds, name: str) -> None:
    stack = clouds.engine.stack(name, document(name))
    up(stack)
    before = (clouds.aws.things(), clouds.kubernetes.things())
    with pytest.raises(auto.CommandError, match="protect"):
        stack.destroy()
    assert (clouds.aws.things(), clouds.kubernetes.things()) == before


def test_without_its_seal_a_cell_loses_what_does_not_hold_data(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: protection of the data alone refuses too late."""
    monkeypatch.setattr(program, "seal", lambda *_, **__: None)
    stack = clouds.engine.stack("local-cell-a", document("local-cell-a"))
    up(stack)
    before = clouds.kubernetes.things()
    with pytest.raises(auto.CommandError, match="protect"):
        stack.destroy()
    assert clouds.kubernetes.things() != before


def test_deleting_one_cell_touches_no_other(clouds: Clouds) -> None:
    for name in ON_AWS:
        up(clouds.engine.stack(name, document(name)))
    others = [
        {one: thing for one, thing in world.things().items() if "cell-b" not in thing.name}
        for world in (clouds.aws, clouds.kubernetes)
    ]
    retired = clouds.engine.stack("cell-b", document("cell-b", {"is_retired": True}))
    assert up(retired) == {}, "protection is the engine's affair, and no cloud is asked"
    clouds.aws.asked.clear()
    clouds.kubernetes.asked.clear()
    retired.destroy()
    for world, expected in zip((clouds.aws, clouds.kubernetes), others, strict=True):
        assert world.things() == expected
        assert world.asked
        assert {what for what, _, _ in world.asked} == {"delete"}
        assert all("cell-b" in name for _, _, name in world.asked)
    for name in ("ground", "fleet", "cell-a"):
        assert up(clouds.engine.stack(name, document(name))) == {}, name


def test_what_the_control_plane_brings_stays_as_it_is(clouds: Clouds) -> None:
    """Releases are not infra's: an update of the ground that a cell stands on neither sees nor touches them."""
    stack = clouds.engine.stack("local-cell-a", document("local-cell-a"))
    up(stack)
    metadata = {"name": "cell-a-api-zone-a", "namespace": "cell-a"}
    image = "registry.example/cell@sha256:" + "7" * 64
    release = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"image": image}}
    brought = clouds.kubernetes.create(DEPLOYMENT, "cell-a/cell-a-api-zone-a", release)
    larger = clouds.engine.stack("local-cell-a", document("local-cell-a", {"database": {"storage": "1Ti"}}))
    stack.refresh()
    up(larger)
    assert clouds.kubernetes.things()[brought.id] == brought


def test_a_refusal_is_told_and_touches_nothing(clouds: Clouds) -> None:
    wrong = document("local-cell-a", {"database": {"image": {"digest": "18"}}, "zones": ["zone-a"]})
    stack = clouds.engine.stack("local-cell-a", wrong)
    with pytest.raises(auto.CommandError) as refusal:
        stack.up()
    assert "zones must be 3 to 9" in str(refusal.value)
    assert "database.image.digest must be sha256:" in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
    assert clouds.kubernetes.things() == {}


def test_an_unchanged_stack_is_seen_as_unchanged_for_a_reason(clouds: Clouds) -> None:
    """The mutant: were every program "the same" to the stand-in, the tests above would prove nothing."""
    up(clouds.engine.stack("local-cell-a", document("local-cell-a")))
    other = clouds.engine.stack("local-cell-a", document("local-cell-a", {"database": {"storage": "2Ti"}}))
    with_chance = clouds.engine.stack_of("chance", lambda: pulumi.export("nothing", 1))
    assert "update" in up(other) or "replace" in up(other)
    assert up(with_chance) == {"create": 1}, "the stack itself"
