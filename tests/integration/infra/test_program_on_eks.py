"""The program on AWS: each zone has its subnet, its way out and its nodes; what takes one away is found."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from recorded_stack import GROUND, Recorded, Recording, record, record_refusal
from stacks import built, cell, document, example_certificate, fleet, ground, ran, settings

pytest.importorskip("pulumi_aws", reason="the package pulumi-aws is not installed: pip install 'cellwallet[infra]'")

import pulumi_aws as aws

from infra.components import zone_node_groups
from infra.components.network import Network
from infra.headroom import cell_needs, fleet_needs
from infra.planning import stack_of
from infra.policies import (
    ASSOCIATION,
    EKS_CLUSTER,
    NAT,
    NODE_GROUP,
    ROUTE,
    ROUTE_TABLE,
    SUBNET,
    VPC,
    ZONE_TAG,
    violations,
)
from infra.substrates.eks import kubeconfig_text

ADDON, ROLE, POLICY = "aws:eks/addon:Addon", "aws:iam/role:Role", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
EIP, GATEWAY = "aws:ec2/eip:Eip", "aws:ec2/internetGateway:InternetGateway"
ON_AWS = ("ground", "fleet", "cell-a", "cell-b")
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")


def recorded(name: str, changes: dict[str, Any] | None = None) -> Recording:
    return record(lambda: built(document(name, changes)), stack=name)


def by_id(recording: Recording) -> dict[str, Recorded]:
    return {f"{one.type} {one.id}": one for one in recording.resources}


@pytest.mark.parametrize("name", ON_AWS)
def test_what_is_registered_keeps_the_policies(name: str) -> None:
    assert violations(stack_of(settings(name)), recorded(name).declared()) == []


@pytest.mark.parametrize("count", [3, 4])
def test_every_zone_has_a_way_out_of_its_own(count: int) -> None:
    """Followed from the private subnet to the address, by ids and not by names."""
    zones = [f"eu-west-1{letter}" for letter in "abcd"[:count]]
    recording = recorded("ground", {"zones": zones})
    found = by_id(recording)
    gateways, addresses = set(), set()
    for zone in zones:
        subnet = found[f"{SUBNET} {recording.outputs['private_subnets'][zone]}"]
        assert subnet.inputs["availabilityZone"] == zone
        (table,) = {
            one.inputs["routeTableId"]
            for one in recording.of(ASSOCIATION).values()
            if one.inputs["subnetId"] == subnet.id
        }
        (route,) = [one for one in recording.of(ROUTE).values() if one.inputs["routeTableId"] == table]
        assert route.inputs["destinationCidrBlock"] == "0.0.0.0/0"
        gateway = found[f"{NAT} {route.inputs['natGatewayId']}"]
        public = found[f"{SUBNET} {gateway.inputs['subnetId']}"]
        assert public.inputs["availabilityZone"] == zone
        gateways.add(gateway.id)
        addresses.add(gateway.inputs["allocationId"])
    assert len(gateways) == len(addresses) == count
    assert len(recording.of(NAT)) == len(recording.of(EIP)) == count


def test_public_subnets_lead_to_the_gateway_of_the_internet_and_private_ones_do_not() -> None:
    recording = recorded("ground")
    (gateway,) = recording.of(GATEWAY).values()
    (route,) = [one for one in recording.of(ROUTE).values() if "gatewayId" in one.inputs]
    assert route.inputs["gatewayId"] == gateway.id
    public = {one.id for name, one in recording.of(SUBNET).items() if "public" in name}
    led = {
        one.inputs["subnetId"]
        for one in recording.of(ASSOCIATION).values()
        if one.inputs["routeTableId"] == route.inputs["routeTableId"]
    }
    assert led == public
    assert len(public) == 3


def test_the_network_is_counted() -> None:
    recording = recorded("ground")
    counted = {kind: len(recording.of(kind)) for kind in (VPC, SUBNET, NAT, EIP, ROUTE_TABLE, ROUTE, ASSOCIATION)}
    assert counted == {VPC: 1, SUBNET: 6, NAT: 3, EIP: 3, ROUTE_TABLE: 4, ROUTE: 4, ASSOCIATION: 6}


def test_the_cluster_is_of_all_zones_and_open_to_operators_only() -> None:
    recording = recorded("ground")
    (cluster,) = recording.of(EKS_CLUSTER).values()
    assert cluster.inputs["vpcConfig"] == {
        "subnetIds": list(recording.outputs["private_subnets"].values()),
        "endpointPrivateAccess": True,
        "endpointPublicAccess": True,
        "publicAccessCidrs": list(ground().operator_cidrs),
    }
    assert cluster.inputs["zonalShiftConfig"] == {"enabled": True}
    assert cluster.inputs["accessConfig"]["authenticationMode"] == "API"
    assert cluster.is_protected
    (closed,) = recorded("ground", {"operator_cidrs": []}).of(EKS_CLUSTER).values()
    assert closed.inputs["vpcConfig"]["endpointPublicAccess"] is False


def test_roles_are_for_whom_they_are_and_may_what_they_need() -> None:
    recording = recorded("ground")
    trusted = {
        name: json.loads(one.inputs["assumeRolePolicy"])["Statement"][0]["Principal"]["Service"]
        for name, one in recording.of(ROLE).items()
    }
    assert trusted == {
        "wallets-cluster": "eks.amazonaws.com",
        "wallets-node": "ec2.amazonaws.com",
        "wallets-storage": "pods.eks.amazonaws.com",
    }
    granted = sorted(one.inputs["policyArn"].rpartition("/")[2] for one in recording.of(POLICY).values())
    assert granted == [
        "AmazonEBSCSIDriverPolicy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonEKSClusterPolicy",
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
    ]


def test_whoever_has_a_role_comes_after_its_rights_and_goes_before_them() -> None:
    """A cluster that lost its rights first leaves interfaces in the network, which then cannot be taken away."""
    recording = recorded("ground")
    rights = {name.removeprefix("wallets-"): one.urn for name, one in recording.of(POLICY).items()}
    (cluster,) = recording.of(EKS_CLUSTER).values()
    assert rights["cluster-AmazonEKSClusterPolicy"] in cluster.dependencies
    of_nodes = {urn for name, urn in rights.items() if name.startswith("node-")}
    assert len(of_nodes) == 3
    for group in recording.of(NODE_GROUP).values():
        assert of_nodes <= set(group.dependencies)
    (volumes,) = [one for one in recording.of(ADDON).values() if one.inputs["addonName"] == "aws-ebs-csi-driver"]
    assert rights["storage-AmazonEBSCSIDriverPolicy"] in volumes.dependencies


def test_ways_out_come_after_the_gateway_of_the_internet_and_go_before_it() -> None:
    recording = recorded("ground")
    (gateway,) = recording.of(GATEWAY).values()
    for one in (*recording.of(NAT).values(), *recording.of(EIP).values()):
        assert gateway.urn in one.dependencies


def test_policies_of_the_network_are_enforced_and_names_come_after_nodes() -> None:
    addons = {one.inputs["addonName"]: one for one in recorded("ground").of(ADDON).values()}
    assert json.loads(addons["vpc-cni"].inputs["configurationValues"]) == {"enableNetworkPolicy": "true"}
    waiting = {name for name, one in addons.items() if any(NODE_GROUP in urn for urn in one.dependencies)}
    assert waiting == {"coredns", "aws-ebs-csi-driver"}
    assert addons.keys() - waiting == {"vpc-cni", "kube-proxy", "eks-pod-identity-agent"}


@pytest.mark.parametrize("name", ["cell-a", "cell-b"])
def test_a_cell_brings_its_nodes_a_group_for_each_zone_and_pool(name: str) -> None:
    recording = recorded(name)
    needs = cell_needs(cell(name), example_certificate())
    assert needs.nodes is not None
    groups = recording.of(NODE_GROUP)
    assert groups.keys() == {f"{name}-{pool}-{zone}" for pool in ("app", "postgres") for zone in ZONES}
    for group in groups.values():
        pool, zone = group.inputs["labels"]["cellwallet/pool"], group.inputs["tags"][ZONE_TAG]
        count = {"app": needs.nodes.app, "postgres": needs.nodes.database}[pool]
        assert group.inputs["scalingConfig"] == {"minSize": count, "desiredSize": count, "maxSize": count}
        assert group.inputs["subnetIds"] == [GROUND["private_subnets"][zone]]
        assert group.inputs["clusterName"] == GROUND["cluster_name"]
        assert group.is_protected == (pool == "postgres")
        taints = [{"key": "cellwallet/pool", "value": "postgres", "effect": "NO_SCHEDULE"}]
        assert group.inputs.get("taints") == (taints if pool == "postgres" else None)
        assert not [label for label in group.inputs["labels"] if "kubernetes.io/" in label], "refused by AWS"


def test_the_cluster_s_own_nodes_survive_the_loss_of_one_in_each_zone() -> None:
    groups = recorded("ground").of(NODE_GROUP)
    assert groups.keys() == {f"wallets-system-{zone}" for zone in ZONES}
    assert {group.inputs["scalingConfig"]["desiredSize"] for group in groups.values()} == {2}


def test_nodes_are_the_number_that_headroom_says() -> None:
    needs = fleet_needs(fleet(), example_certificate())
    assert needs.nodes is not None
    told = recorded("fleet").outputs["nodes_per_zone"]
    assert told == {"app": needs.nodes.app, "postgres": needs.nodes.database}


def test_objects_wait_for_the_nodes_that_they_go_to() -> None:
    recording = recorded("cell-a")
    (home,) = recording.of("kubernetes:core/v1:Namespace").values()
    assert {one.urn for one in recording.of(NODE_GROUP).values()} <= set(home.dependencies)


def test_the_provider_is_led_to_the_ground_s_cluster() -> None:
    (provider,) = recorded("cell-a").of("pulumi:providers:kubernetes").values()
    found = json.loads(provider.inputs["kubeconfig"])
    assert found == json.loads(kubeconfig_text("wallets", "https://wallets.eks.example", "Q0E=", "eu-west-1"))
    (cluster,) = found["clusters"]
    assert cluster["cluster"]["server"] == GROUND["endpoint"]


def test_a_zone_that_the_ground_does_not_have_is_refused() -> None:
    zones = ["eu-west-1a", "eu-west-1b", "eu-west-1d"]
    with pytest.raises(Exception, match="zones must be of the ground's"):
        record(lambda: built(document("cell-a", {"zones": zones})))


@pytest.mark.parametrize("name", ON_AWS)
def test_the_seal_depends_on_everything_so_that_a_destroy_meets_it_first(name: str) -> None:
    recording = recorded(name)
    (seal,) = recording.of("pulumi:index:Stash").values()
    others = {one.urn for one in recording.resources if one.type.startswith(("kubernetes:", "aws:"))}
    assert others
    assert others <= set(seal.dependencies)


def test_retiring_lifts_every_protection() -> None:
    for name in ON_AWS:
        assert [one for one in recorded(name).resources if one.is_protected], name
        assert not [one for one in recorded(name, {"is_retired": True}).resources if one.is_protected], name


def one_nat_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As examples of cells on AWS do it: `single_nat_gateway = true`."""
    made: list[Any] = []
    original = aws.ec2.NatGateway

    def once(name: str, **given: Any) -> Any:
        made.append(made[0] if made else original(name, **given))
        return made[0]

    monkeypatch.setattr(aws.ec2, "NatGateway", once)


def neighbours_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every NAT gateway is there, and one zone's route leads through another's."""
    original = aws.ec2.Route
    gateways: list[Any] = []

    def crossed(name: str, **given: Any) -> Any:
        if "nat_gateway_id" in given:
            gateways.append(given["nat_gateway_id"])
            given["nat_gateway_id"] = gateways[0]
        return original(name, **given)

    monkeypatch.setattr(aws.ec2, "Route", crossed)


def one_group_over_all_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    original = aws.eks.NodeGroup

    def spread(name: str, **given: Any) -> Any:
        return original(name, **{**given, "subnet_ids": [*given["subnet_ids"], "subnet-of-another-zone"]})

    monkeypatch.setattr(zone_node_groups.aws.eks, "NodeGroup", spread)


def groups_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    original = aws.eks.NodeGroupScalingConfigArgs

    def growing(**given: Any) -> Any:
        return original(**{**given, "max_size": given["max_size"] + 3})

    monkeypatch.setattr(aws.eks, "NodeGroupScalingConfigArgs", growing)


def subnets_in_one_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Network._subnet

    def elsewhere(self: Network, kind: str, zone: str, cidr: str, *, role: str) -> Any:
        return original(self, kind, ZONES[0], cidr, role=f"{role}-{zone}")

    monkeypatch.setattr(Network, "_subnet", elsewhere)


def protection_off(monkeypatch: pytest.MonkeyPatch) -> None:
    original = aws.eks.Cluster

    def bare(label: str, **given: Any) -> Any:
        given["opts"].protect = False
        return original(label, **given)

    monkeypatch.setattr(aws.eks, "Cluster", bare)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (one_nat_for_all, "every_zone_has_its_own_way_out"),
        (neighbours_way_out, "every_zone_has_its_own_way_out"),
        (one_group_over_all_zones, "nodes_are_fixed_in_each_zone"),
        (groups_that_grow, "nodes_are_fixed_in_each_zone"),
        (subnets_in_one_zone, "every_zone_has_its_own_way_out"),
        (protection_off, "data_is_protected"),
    ],
)
def test_a_program_that_was_spoilt_is_found_out(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None], rule: str
) -> None:
    spoil(monkeypatch)
    found = violations(stack_of(settings("ground")), recorded("ground").declared())
    assert any(told.startswith(rule) for told in found), found


def test_a_ground_of_one_zone_is_refused_before_the_first_resource() -> None:
    said, registered = record_refusal(lambda: ran(document("ground", {"zones": ["eu-west-1a"]})))
    assert "zones must be 3 to 9" in said
    assert registered == []
