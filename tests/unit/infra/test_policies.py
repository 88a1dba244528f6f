"""Every policy holds of what is right, and is broken by the one change that it is there for."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from stacks import INFRA, cell, example_certificate, fleet, small_charts
from typer.testing import CliRunner

from infra import checking
from infra.headroom import cell_needs, fleet_needs
from infra.manifests import namespace
from infra.planning import plan_cell, plan_fleet, stack_of
from infra.policies import (
    ASSOCIATION,
    EKS_CLUSTER,
    NAT,
    NODE_GROUP,
    ROUTE,
    ROUTE_TABLE,
    RULES,
    SUBNET,
    VPC,
    ZONE_TAG,
    Declared,
    PolicyMustHoldError,
    Stack,
    must_hold,
    type_of,
    violations,
)
from infra.stack_state import StateMustBeKnownError, declared_in

ZONES = ("a", "b", "c")
GROUND = Stack(kind="ground", zones=ZONES)
CELL = Stack(kind="cell", zones=ZONES)
PINNED = "registry.example/postgresql@sha256:" + "3" * 64


def network() -> list[Declared]:
    """As it should be; the shared way in of the public subnets belongs to no zone."""
    found = [
        Declared(type=VPC, name="wallets", inputs={"cidrBlock": "10.0.0.0/16"}, id="vpc", is_protected=True),
        Declared(type=ROUTE_TABLE, name="public", inputs={"tags": {"Name": "public"}}, id="table-public"),
        Declared(type=ROUTE, name="public", inputs={"routeTableId": "table-public", "gatewayId": "igw"}),
    ]
    for zone in ZONES:
        tags = {"tags": {ZONE_TAG: zone}}
        found += [
            Declared(
                type=SUBNET, name=f"public-{zone}", inputs={"availabilityZone": zone, **tags}, id=f"public-{zone}"
            ),
            Declared(
                type=SUBNET, name=f"private-{zone}", inputs={"availabilityZone": zone, **tags}, id=f"private-{zone}"
            ),
            Declared(type=NAT, name=f"nat-{zone}", inputs={"subnetId": f"public-{zone}", **tags}, id=f"nat-{zone}"),
            Declared(type=ROUTE_TABLE, name=f"private-{zone}", inputs=tags, id=f"table-{zone}"),
            Declared(
                type=ROUTE, name=f"out-{zone}", inputs={"routeTableId": f"table-{zone}", "natGatewayId": f"nat-{zone}"}
            ),
            Declared(
                type=ASSOCIATION, name=zone, inputs={"subnetId": f"private-{zone}", "routeTableId": f"table-{zone}"}
            ),
            node_group(zone),
        ]
    cluster = {"vpcConfig": {"endpointPublicAccess": True, "publicAccessCidrs": ["198.51.100.0/24"]}}
    return [*found, Declared(type=EKS_CLUSTER, name="wallets", inputs=cluster, id="wallets", is_protected=True)]


def node_group(zone: str, *, pool: str = "system", is_protected: bool = False) -> Declared:
    inputs = {
        "subnetIds": [f"private-{zone}"],
        "scalingConfig": {"minSize": 2, "desiredSize": 2, "maxSize": 2},
        "labels": {"cellwallet/pool": pool},
        "tags": {ZONE_TAG: zone},
    }
    return Declared(type=NODE_GROUP, name=f"{pool}-{zone}", inputs=inputs, is_protected=is_protected)


def kubernetes(one: dict[str, Any], *, is_protected: bool = False) -> Declared:
    return Declared(type=type_of(one), name=one["metadata"]["name"], inputs=one, is_protected=is_protected)


def cell_objects() -> list[Declared]:
    database = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "cell-a-db", "namespace": "cell-a"},
        "spec": {"imageName": PINNED},
    }
    return [
        kubernetes(namespace("cell-a", role="cell"), is_protected=True),
        kubernetes(database, is_protected=True),
        *(node_group(zone, pool="postgres", is_protected=True) for zone in ZONES),
    ]


def of_kind(resources: list[Declared], kind: str) -> Declared:
    return next(one for one in resources if kind in (one.type, one.inputs.get("kind")))


def changed(resources: list[Declared], kind: str, change: Callable[[dict[str, Any]], object]) -> list[Declared]:
    """With the first of a kind changed."""
    one = of_kind(resources, kind)
    inputs = copy.deepcopy(dict(one.inputs))
    change(inputs)
    new = Declared(type=one.type, name=one.name, inputs=inputs, id=one.id, is_protected=one.is_protected)
    return [new if other is one else other for other in resources]


def unprotected(resources: list[Declared], kind: str) -> list[Declared]:
    one = of_kind(resources, kind)
    return [
        Declared(type=one.type, name=one.name, inputs=one.inputs, id=one.id) if other is one else other
        for other in resources
    ]


def without(resources: list[Declared], kind: str) -> list[Declared]:
    one = of_kind(resources, kind)
    return [other for other in resources if other is not one]


def service(kind: str) -> Declared:
    metadata = {"name": "in", "namespace": "cell-a"}
    return kubernetes({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"type": kind}})


def deployment() -> Declared:
    metadata = {"name": "api", "namespace": "cell-a"}
    return kubernetes({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}})


def test_what_is_right_breaks_nothing() -> None:
    assert violations(GROUND, network()) == []
    assert violations(CELL, cell_objects()) == []


MUTANTS: tuple[tuple[str, Stack, list[Declared], str], ...] = (
    (
        "images_are_named_by_their_digest",
        CELL,
        changed(cell_objects(), "Cluster", lambda one: one["spec"].update(imageName="registry.example/postgresql:18")),
        "cell-a-db must name 'registry.example/postgresql:18' by its digest",
    ),
    (
        "images_are_named_by_their_digest",
        Stack(kind="fleet", zones=ZONES),
        [
            kubernetes(
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": "router"},
                    "spec": {"template": {"spec": {"initContainers": [{"image": "registry.example/router"}]}}},
                }
            )
        ],
        "router must name 'registry.example/router' by its digest",
    ),
    ("a_cell_has_no_version_here", CELL, [*cell_objects(), deployment()], "api must not be in a cell's stack"),
    ("data_is_protected", CELL, unprotected(cell_objects(), "Cluster"), "cell-a-db must be protected"),
    ("data_is_protected", CELL, unprotected(cell_objects(), "Namespace"), "cell-a must be protected"),
    ("data_is_protected", CELL, unprotected(cell_objects(), NODE_GROUP), "postgres-a must be protected"),
    ("data_is_protected", GROUND, unprotected(network(), EKS_CLUSTER), "wallets must be protected"),
    ("data_is_protected", GROUND, unprotected(network(), VPC), "wallets must be protected"),
    (
        "namespaces_are_restricted",
        CELL,
        changed(cell_objects(), "Namespace", lambda one: one["metadata"]["labels"].clear()),
        "cell-a must have the label",
    ),
    (
        "a_cell_is_reached_by_routers_only",
        CELL,
        [*cell_objects(), service("LoadBalancer")],
        "must not be a LoadBalancer",
    ),
    ("a_cell_is_reached_by_routers_only", CELL, [*cell_objects(), service("NodePort")], "must not be a NodePort"),
    ("every_zone_has_its_own_way_out", GROUND, without(network(), NAT), "must be one NAT gateway in zone a, and not 0"),
    (
        "every_zone_has_its_own_way_out",
        GROUND,
        changed(network(), NAT, lambda one: one["tags"].update({ZONE_TAG: "b"})),
        "must be one NAT gateway in zone a, and not 0",
    ),
    (
        "every_zone_has_its_own_way_out",
        GROUND,
        changed(network(), NAT, lambda one: one.update(subnetId="public-b")),
        "nat-a must stay in one zone, and not lead from one of a, b to another",
    ),
    (
        "every_zone_has_its_own_way_out",
        GROUND,
        changed(network()[3:], ROUTE, lambda one: one.update(natGatewayId="nat-c")),
        "out-a must stay in one zone, and not lead from one of a, c to another",
    ),
    (
        "every_zone_has_its_own_way_out",
        GROUND,
        changed(network(), ASSOCIATION, lambda one: one.update(routeTableId="table-b")),
        "a must stay in one zone",
    ),
    (
        "every_zone_has_its_own_way_out",
        GROUND,
        changed(network(), SUBNET, lambda one: one.update(availabilityZone="c")),
        "public-a must be in the zone that its tag names",
    ),
    (
        "nodes_are_fixed_in_each_zone",
        GROUND,
        changed(network(), NODE_GROUP, lambda one: one["subnetIds"].append("private-b")),
        "system-a must have one subnet",
    ),
    (
        "nodes_are_fixed_in_each_zone",
        GROUND,
        changed(network(), NODE_GROUP, lambda one: one.update(subnetIds=["private-c"])),
        "system-a must have a subnet of its own zone a",
    ),
    (
        "nodes_are_fixed_in_each_zone",
        GROUND,
        changed(network(), NODE_GROUP, lambda one: one["scalingConfig"].update(maxSize=5)),
        "system-a must have one size",
    ),
    (
        "nodes_are_fixed_in_each_zone",
        GROUND,
        changed(network(), NODE_GROUP, lambda one: one.pop("scalingConfig")),
        "system-a must have one size",
    ),
    ("nodes_are_fixed_in_each_zone", GROUND, without(network(), NODE_GROUP), "of the pool system in zone a, and not 0"),
    (
        "the_kubernetes_api_is_not_open",
        GROUND,
        changed(network(), EKS_CLUSTER, lambda one: one["vpcConfig"].update(publicAccessCidrs=["0.0.0.0/0"])),
        "must name who may reach the Kubernetes API",
    ),
    (
        "the_kubernetes_api_is_not_open",
        GROUND,
        changed(network(), EKS_CLUSTER, lambda one: one["vpcConfig"].clear()),
        "must name who may reach the Kubernetes API",
    ),
)


@pytest.mark.parametrize(
    ("rule", "stack", "resources", "told"), MUTANTS, ids=[f"{one[0]}-{number}" for number, one in enumerate(MUTANTS)]
)
def test_each_change_for_the_worse_is_found(rule: str, stack: Stack, resources: list[Declared], told: str) -> None:
    found = violations(stack, resources)
    assert any(one.startswith(f"{rule}: ") and told in one for one in found), found
    with pytest.raises(PolicyMustHoldError, match=rule):
        must_hold(stack, resources)


def test_every_rule_has_a_change_that_breaks_it() -> None:
    assert {one[0] for one in MUTANTS} == {rule.__name__ for rule in RULES}


def test_a_retired_stack_may_be_unprotected() -> None:
    bare = [Declared(type=one.type, name=one.name, inputs=one.inputs, id=one.id) for one in cell_objects()]
    assert violations(Stack(kind="cell", zones=ZONES, is_retired=True), bare) == []
    assert len(violations(CELL, bare)) == 5


def test_references_that_are_not_known_yet_are_not_held_against_anybody() -> None:
    """In a first preview ids are one and the same placeholder."""
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    references = ("subnetId", "routeTableId", "natGatewayId")
    found = [
        Declared(
            type=one.type,
            name=one.name,
            inputs={name: unknown if name in references else below for name, below in one.inputs.items()},
            is_protected=one.is_protected,
        )
        for one in network()
    ]
    assert violations(GROUND, found) == []


def test_plans_of_cells_and_fleets_keep_the_policies() -> None:
    settings = cell()
    plan = plan_cell(settings, cell_needs(settings, example_certificate()), small_charts)
    assert violations(stack_of(settings), plan) == []
    assert {one.inputs["kind"] for one in plan if one.is_protected} == {"Namespace", "Cluster"}
    whole = fleet()
    plans = plan_fleet(whole, fleet_needs(whole, example_certificate()), small_charts)
    assert violations(stack_of(whole), [*plans.control_plane, *plans.routers]) == []
    assert not [one for one in plans.routers if one.is_protected], "routers hold no data"


def test_a_chart_that_brings_a_version_into_a_cell_is_refused_before_anything_is_made() -> None:
    settings = cell()
    needs = cell_needs(settings, example_certificate())

    def with_a_deployment(chart: str, values: Any, home: str) -> list[dict[str, Any]]:
        pod = {"spec": {"containers": [{"image": PINNED}]}}
        extra = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "api", "namespace": home},
            "spec": {"template": pod},
        }
        return [*small_charts(chart, values, home), extra]

    with pytest.raises(PolicyMustHoldError, match="Deployments of a cell are the control plane's"):
        plan_cell(settings, needs, with_a_deployment)


def test_types_are_those_of_the_official_provider() -> None:
    assert type_of(namespace("n")) == "kubernetes:core/v1:Namespace"
    assert type_of({"apiVersion": "apps/v1", "kind": "Deployment"}) == "kubernetes:apps/v1:Deployment"
    database = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster"}
    assert type_of(database) == "kubernetes:postgresql.cnpg.io/v1:Cluster"


def state(one: Declared, **more: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:ground::cellwallet::{one.type}::{one.name}"
    base = {"urn": urn, "custom": True, "type": one.type, "inputs": dict(one.inputs), "protect": one.is_protected}
    return base | ({"id": one.id} if one.id else {}) | more


def test_a_preview_and_an_export_are_read_alike() -> None:
    resources = network()
    stack = {"urn": "urn:pulumi:s::p::pulumi:pulumi:Stack::s-p", "custom": False, "type": "pulumi:pulumi:Stack"}
    provider = {"urn": "urn:pulumi:s::p::pulumi:providers:aws::aws", "custom": True, "type": "pulumi:providers:aws"}
    states = [stack, provider, *map(state, resources)]
    going = {"op": "delete", "urn": "x", "newState": state(deployment())}
    preview = {"steps": [*({"op": "create", "urn": one["urn"], "newState": one} for one in states), going]}
    leaving = state(deployment(), delete=True)
    assert declared_in(preview) == resources
    assert declared_in({"version": 3, "deployment": {"resources": [*states, leaving]}}) == resources


@pytest.mark.parametrize("document", [{}, {"deployment": {}}, {"resources": []}])
def test_another_document_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(StateMustBeKnownError, match="pulumi preview"):
        declared_in(document)


def run_check(file: str, document: object) -> tuple[int, str]:
    result = CliRunner().invoke(checking.app, ["policies", file], input=json.dumps(document))
    return result.exit_code, result.stderr


def test_the_command_tells_what_is_broken(tmp_path: Any) -> None:
    file = tmp_path / "Pulumi.ground.yaml"
    file.write_text(
        "config: {'cellwallet:stack': {kind: ground, name: w, region: eu-west-1, kubernetes: '1.35',"
        " zones: [eu-west-1a, eu-west-1b, eu-west-1c],"
        " system_nodes: {instance_type: m7i.large, cores: 1, memory_gib: 2}}}"
    )
    code, told = run_check(str(file), {"deployment": {"resources": [state(one) for one in network()]}})
    assert (code, "must be one NAT gateway in zone eu-west-1a, and not 0" in told) == (1, True), told
    assert run_check(str(file), {})[0] == 1


def test_the_command_tells_what_a_stack_needs() -> None:
    file = str(INFRA / "Pulumi.cell-a.yaml")
    result = CliRunner().invoke(checking.app, ["needs", file])
    assert result.exit_code == 0, result.stderr
    expected = cell_needs(cell(), example_certificate())
    assert json.loads(result.stdout)["api_per_zone"] == expected.api_per_zone


def test_the_command_refuses_in_clear_words(tmp_path: Any) -> None:
    file = tmp_path / "Pulumi.cell.yaml"
    file.write_text("config: {'cellwallet:stack': {kind: cell, zones: [a]}}")
    result = CliRunner().invoke(checking.app, ["needs", str(file)])
    assert (result.exit_code, "zones must be 3 to 9" in result.stderr) == (1, True), result.stderr
