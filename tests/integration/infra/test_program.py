"""What the program registers with the engine, resource by resource, and that a refusal comes before the first one.

No engine and no cloud: every registration is recorded as the engine would have got it.
"""

import json
from typing import Any

import pytest
from charts import HELM, KUBE_VERSION, helm_program, needs_helm
from recorded_stack import GROUND, Recording, record, record_refusal
from stacks import CELLS, STACKS, built, cell, document, example_certificate, fleet, ran, read, settings, small_charts

from cellwallet.helm import KUBE_VERSION as RENDERED_FOR
from infra.charts import ChartMustRenderError, helm_renderer
from infra.headroom import cell_needs, fleet_needs
from infra.manifests import Object, cell_app_values
from infra.planning import SKIP_AWAIT, plan_fleet, stack_of
from infra.policies import violations
from infra.program import build, run
from infra.settings import Kubeconfig
from infra.substrates import KUBERNETES_PLUGIN

DEPLOYMENT, DATABASE = "kubernetes:apps/v1:Deployment", "kubernetes:postgresql.cnpg.io/v1:Cluster"
NAMESPACE, SEAL = "kubernetes:core/v1:Namespace", "pulumi:index:Stash"
LOCAL = tuple(name for name in STACKS if name.startswith("local-"))


def recorded(name: str, changes: dict[str, Any] | None = None) -> Recording:
    return record(lambda: built(document(name, changes)), stack=name)


def plain(one: Object) -> Object:
    """Over the wire a number is a float, and a list is a list."""
    found: Object = json.loads(json.dumps(one))
    return found


@pytest.mark.parametrize("name", LOCAL)
def test_a_stack_on_a_kubeconfig_is_its_provider_and_objects_of_that(name: str) -> None:
    recording = recorded(name)
    (provider,) = recording.of("pulumi:providers:kubernetes").values()
    substrate = settings(name).substrate  # type: ignore[union-attr]
    assert isinstance(substrate, Kubeconfig)
    assert provider.inputs == {"context": substrate.context}
    objects = [one for one in recording.resources if one.type.startswith("kubernetes:")]
    assert objects
    assert {one.provider for one in objects} == {f"{provider.urn}::{provider.id}"}
    assert not [one for one in recording.resources if one.type.startswith("aws:")]


@pytest.mark.parametrize("name", LOCAL)
def test_what_was_planned_is_what_is_registered(name: str) -> None:
    recording = recorded(name)
    assert violations(stack_of(settings(name)), recording.declared()) == []
    if "fleet" in name:
        plans = plan_fleet(fleet(name), fleet_needs(fleet(name), example_certificate()), small_charts)
        found = {(one.type, one.name): (one.inputs, one.is_protected) for one in recording.declared()}
        planned = [*plans.control_plane, *plans.routers]
        assert found == {(one.type, one.name): (plain(dict(one.inputs)), one.is_protected) for one in planned}


def test_a_cell_is_in_a_namespace_that_comes_first() -> None:
    recording = recorded("local-cell-a")
    (home,) = recording.of(NAMESPACE).values()
    others = [one for one in recording.resources if one.type.startswith("kubernetes:") and one is not home]
    assert home.name == "cell-a"
    assert home.inputs["metadata"]["labels"]["cellwallet/role"] == "cell"
    assert {one.inputs["metadata"]["namespace"] for one in others} == {"cell-a"}
    assert all(home.urn in one.dependencies for one in others)
    parents = {one.parent for one in (*others, home)}
    assert len(parents) == 1
    assert parents.pop().endswith("cellwallet:index:CellPlatform::cell-a")


def test_data_is_protected_until_the_stack_is_retired() -> None:
    for is_retired in (False, True):
        recording = recorded("local-cell-a", {"is_retired": is_retired})
        held = {one.type for one in recording.resources if one.is_protected}
        assert held == (set() if is_retired else {NAMESPACE, DATABASE, SEAL})


@pytest.mark.parametrize("name", LOCAL)
def test_the_seal_depends_on_everything_so_that_a_destroy_meets_it_first(name: str) -> None:
    recording = recorded(name)
    (seal,) = recording.of(SEAL).values()
    others = {one.urn for one in recording.resources if one.type.startswith("kubernetes:")}
    assert others
    assert others <= set(seal.dependencies)


@pytest.mark.parametrize("name", [name for name in CELLS if name in LOCAL])
def test_a_cell_registers_nothing_that_has_its_version(name: str) -> None:
    recording = recorded(name)
    text = json.dumps([dict(one.inputs) for one in recording.resources])
    assert not recording.of(DEPLOYMENT)
    assert text.count('"imageName"') == 1
    assert '"image"' not in text


def test_whoever_brings_the_version_is_told_how_many_run() -> None:
    outputs = recorded("local-cell-a").outputs
    needs = cell_needs(cell("local-cell-a"), example_certificate())
    assert outputs["api_per_zone"] == needs.api_per_zone
    assert outputs["cell_app_values"] == cell_app_values(cell("local-cell-a"), needs)
    assert "image" not in outputs["cell_app_values"]


def test_routers_per_zone_are_headroom_s_number() -> None:
    recording = recorded("local-fleet")
    expected = fleet_needs(fleet("local-fleet"), example_certificate()).routers_per_zone
    routers = [one for one in recording.of(DEPLOYMENT).values() if one.name.startswith("router/")]
    assert len(routers) == 3
    assert {one.inputs["spec"]["replicas"] for one in routers} == {expected}
    assert recording.outputs["routers_per_zone"] == expected


def test_routers_and_control_plane_do_not_wait_for_one_another() -> None:
    recording = recorded("local-fleet")
    urns = {one.urn for one in recording.resources if one.name.startswith("control-plane")}
    routers = [one for one in recording.resources if one.name.startswith("router")]
    assert urns
    assert routers
    assert not [one for one in routers if urns & set(one.dependencies)]


def test_nothing_waits_for_a_process_to_run() -> None:
    for one in recorded("local-fleet").of(DEPLOYMENT).values():
        assert one.inputs["metadata"]["annotations"][SKIP_AWAIT] == "true"


REFUSED: tuple[tuple[Any, str], ...] = (
    (document("cell-a", {"zones": ["eu-west-1a"]}), "zones must be 3 to 9"),
    (document("cell-a", {"databse": {}}), "databse is no setting; is database meant?"),
    (document("cell-a", {"capacity": {"missing": -1}}), "capacity.missing must be greater than or equal to 1"),
    (document("cell-a", {"database": {"image": {"digest": None}}}), "database.image.digest must be given"),
    (document("cell-a", {"database": {"size": "small"}}), "database.size must be medium"),
    (document("cell-a", {"capacity": {"certificate": "no/such.json"}}), "No such file or directory"),
    (document("cell-a", {"capacity": {"certificate": "Pulumi.yaml"}}), "no capacity certificate"),
    (document("fleet", {"router": {"image": {"digest": "latest"}}}), "router.image.digest must be sha256:"),
    ("cell", "kind must be one of"),
    (None, "kind must be one of"),
)


@pytest.mark.parametrize(("stack", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_a_refusal_comes_before_the_first_resource(stack: Any, told: str) -> None:
    said, registered = record_refusal(lambda: ran(stack))
    assert told in said
    assert registered == []


def test_a_chart_that_refuses_comes_before_the_first_resource() -> None:
    def refuse(chart: str, values: Any, home: str) -> list[Object]:
        raise ChartMustRenderError(f"{chart}: additional properties 'sise' not allowed")

    def program() -> dict[str, Any]:
        run(document("local-cell-a"), render=refuse, read=read)
        return {}

    said, registered = record_refusal(program)
    assert said == "cell-platform: additional properties 'sise' not allowed"
    assert registered == []


def test_without_helm_the_word_is_clear() -> None:
    with pytest.raises(ChartMustRenderError, match="no-such-helm must be installed and on the PATH"):
        helm_renderer("no-such-helm")("router", {}, "router")


def test_charts_are_rendered_for_what_they_are_tested_with() -> None:
    assert RENDERED_FOR == KUBE_VERSION
    assert KUBERNETES_PLUGIN.startswith("4.")


@needs_helm
@pytest.mark.parametrize("name", LOCAL)
def test_the_real_charts_keep_the_policies(name: str) -> None:
    render = helm_renderer(str(helm_program()))
    recording = record(lambda: build(document(name), render=render, read=read), stack=name)
    assert violations(stack_of(settings(name)), recording.declared()) == []
    names = [(one.type, one.name) for one in recording.resources]
    assert len(set(names)) == len(names)
    placed = [one for one in recording.declared() if one.type not in {NAMESPACE, *OF_THE_CLUSTER}]
    assert all(one.inputs["metadata"].get("namespace") for one in placed)


OF_THE_CLUSTER = {
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
    "kubernetes:scheduling.k8s.io/v1:PriorityClass",
}


@needs_helm
def test_helm_s_refusal_is_told() -> None:
    render = helm_renderer(str(helm_program()), charts=HELM)
    with pytest.raises(ChartMustRenderError, match="cell-platform") as refusal:
        render("cell-platform", {"sise": "small"}, "cell-a")
    assert "sise" in str(refusal.value)


def test_the_ground_s_outputs_are_what_others_ask_for() -> None:
    """The recorder plays the ground for cells; it must not promise more than the real one gives."""
    pytest.importorskip("pulumi_aws", reason="the package pulumi-aws is not installed: pip install 'cellwallet[infra]'")
    outputs = recorded("ground").outputs
    assert GROUND.keys() <= outputs.keys()
    for name, told in GROUND.items():
        assert type(outputs[name]) is type(told), name
    assert outputs["private_subnets"].keys() == set(outputs["zones"])
