"""What must hold of the resources of a stack, whoever wrote the program that declares them: pure.

Each rule looks at resources as the engine sees them (type, inputs, protection) and says what must hold instead. The
program asks before it registers an object of Kubernetes; `infra.checking` asks of a preview and of a stack's state,
where the cloud's resources are too. References are followed as far as ids are known; a first preview knows none.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from contract.values import value
from infra.manifests import DATABASE_POOL, POOL, RESTRICTED, Object

ZONE_TAG = "cellwallet/zone"
PINNED = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob"}
ANYWHERE = "0.0.0.0/0"
NAT, SUBNET, ROUTE = "aws:ec2/natGateway:NatGateway", "aws:ec2/subnet:Subnet", "aws:ec2/route:Route"
ROUTE_TABLE, ASSOCIATION = "aws:ec2/routeTable:RouteTable", "aws:ec2/routeTableAssociation:RouteTableAssociation"
NODE_GROUP, EKS_CLUSTER, VPC = "aws:eks/nodeGroup:NodeGroup", "aws:eks/cluster:Cluster", "aws:ec2/vpc:Vpc"


class PolicyMustHoldError(Exception):
    """Resources that the policies forbid; the message names each and what must hold."""


@value
class Declared:
    type: str
    name: str
    inputs: Mapping[str, Any]
    id: str = ""
    """Empty = not known yet."""
    is_protected: bool = False


@value
class Stack:
    """What the rules must know of the stack that the resources are of."""

    kind: str
    zones: tuple[str, ...]
    is_retired: bool = False


Rule = Callable[[Stack, Sequence[Declared]], Iterator[str]]


def violations(stack: Stack, resources: Sequence[Declared]) -> list[str]:
    return [f"{rule.__name__}: {told}" for rule in RULES for told in rule(stack, resources)]


def must_hold(stack: Stack, resources: Sequence[Declared]) -> None:
    """Refuse all at once.

    Raises:
        PolicyMustHoldError: a rule is broken.

    """
    if found := violations(stack, resources):
        raise PolicyMustHoldError("\n".join(found))


def type_of(one: Object) -> str:
    """The token under which the official provider of Kubernetes knows an object."""
    version = one["apiVersion"]
    return f"kubernetes:{version if '/' in version else f'core/{version}'}:{one['kind']}"


def is_data(one: Object) -> bool:
    return bool(one["kind"] == "Cluster" and one["apiVersion"].startswith("postgresql.cnpg.io/"))


def images_are_named_by_their_digest(_: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    for one in _of_kubernetes(resources):
        for image in _images(one.inputs):
            if not PINNED.fullmatch(image):
                yield f"{one.name} must name {image!r} by its digest"


def a_cell_has_no_version_here(stack: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    """The control plane owns what runs: a second owner would take its releases back."""
    for one in _of_kubernetes(resources) if stack.kind == "cell" else ():
        if one.inputs.get("kind") in WORKLOADS:
            yield f"{one.name} must not be in a cell's stack: {one.inputs['kind']}s of a cell are the control plane's"


def data_is_protected(stack: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    """Databases, the namespaces and nodes that they are in, the cluster and network under all of it."""
    databases = [one for one in _of_kubernetes(resources) if is_data(dict(one.inputs))]
    homes = {one.inputs["metadata"].get("namespace") for one in databases}
    held = {NODE_GROUP: _is_of_databases, EKS_CLUSTER: _always, VPC: _always}
    for one in () if stack.is_retired else resources:
        is_home = one.inputs.get("kind") == "Namespace" and one.inputs["metadata"]["name"] in homes
        if (one in databases or is_home or held.get(one.type, _never)(one)) and not one.is_protected:
            yield f"{one.name} must be protected until the stack is retired (is_retired: true)"


def namespaces_are_restricted(_: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    for one in _of_kubernetes(resources):
        labels = one.inputs.get("metadata", {}).get("labels", {})
        if one.inputs.get("kind") == "Namespace" and labels.get(RESTRICTED) != "restricted":
            yield f"{one.name} must have the label {RESTRICTED}: restricted"


def a_cell_is_reached_by_routers_only(stack: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    for one in _of_kubernetes(resources) if stack.kind == "cell" else ():
        kind = one.inputs.get("spec", {}).get("type") if one.inputs.get("kind") == "Service" else None
        if kind in {"LoadBalancer", "NodePort"}:
            yield f"{one.name} must not be a {kind}"


def every_zone_has_its_own_way_out(stack: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    """A NAT gateway in each zone, and no route that leads through another zone's."""
    if stack.kind != "ground":
        return
    yield from _once_per_zone(stack, [_zone(one) for one in _of(resources, NAT)], "NAT gateway")
    tables = [one for one in _of(resources, ROUTE_TABLE) if _zone(one)]
    yield from _once_per_zone(stack, [_zone(one) for one in tables], "private route table")
    zone_of = {one.id: _zone(one) for one in resources if one.id and _zone(one)}
    pairs = {NAT: ("subnetId",), ROUTE: ("routeTableId", "natGatewayId"), ASSOCIATION: ("subnetId", "routeTableId")}
    for one in resources:
        named = [zone_of.get(str(one.inputs.get(field))) for field in pairs.get(one.type, ())]
        zones = {zone for zone in (*named, _zone(one)) if zone}
        if len(zones) > 1:
            yield f"{one.name} must stay in one zone, and not lead from one of {', '.join(sorted(zones))} to another"
    for one in _of(resources, SUBNET):
        if one.inputs.get("availabilityZone") != _zone(one):
            yield f"{one.name} must be in the zone that its tag names"


def nodes_are_fixed_in_each_zone(stack: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    """A group per pool and zone, of one subnet and one size: nothing has to scale while a zone is lost."""
    pools: dict[str, list[str]] = {}
    zone_of = {one.id: _zone(one) for one in _of(resources, SUBNET) if one.id}
    for one in _of(resources, NODE_GROUP):
        pools.setdefault(str(one.inputs.get("labels", {}).get(POOL)), []).append(_zone(one))
        subnets = one.inputs.get("subnetIds")
        if not isinstance(subnets, list) or len(subnets) != 1:
            yield f"{one.name} must have one subnet, of one zone, and not {subnets}"
        elif zone_of.get(str(subnets[0]), _zone(one)) != _zone(one):
            yield f"{one.name} must have a subnet of its own zone {_zone(one)}"
        sizes = {one.inputs.get("scalingConfig", {}).get(name) for name in ("minSize", "desiredSize", "maxSize")}
        if len(sizes) != 1 or None in sizes:
            yield f"{one.name} must have one size, least, wanted and most alike"
    for pool, zones in pools.items():
        yield from _once_per_zone(stack, zones, f"group of nodes of the pool {pool}")


def the_kubernetes_api_is_not_open(_: Stack, resources: Sequence[Declared]) -> Iterator[str]:
    """Unsaid, AWS lets the whole internet ask."""
    for one in _of(resources, EKS_CLUSTER):
        network = one.inputs.get("vpcConfig", {})
        is_public = network.get("endpointPublicAccess", True)
        if is_public and ANYWHERE in (network.get("publicAccessCidrs") or [ANYWHERE]):
            yield f"{one.name} must name who may reach the Kubernetes API from outside, and not all"


RULES: tuple[Rule, ...] = (
    images_are_named_by_their_digest,
    a_cell_has_no_version_here,
    data_is_protected,
    namespaces_are_restricted,
    a_cell_is_reached_by_routers_only,
    every_zone_has_its_own_way_out,
    nodes_are_fixed_in_each_zone,
    the_kubernetes_api_is_not_open,
)


def _once_per_zone(stack: Stack, found: Sequence[str], what: str) -> Iterator[str]:
    for zone in stack.zones:
        if found.count(zone) != 1:
            yield f"there must be one {what} in zone {zone}, and not {found.count(zone)}"
    for stranger in sorted(set(found) - set(stack.zones)):
        yield f"a {what} must be in one of the zones {', '.join(stack.zones)}, and not in {stranger or 'none'}"


def _of(resources: Sequence[Declared], kind: str) -> list[Declared]:
    return [one for one in resources if one.type == kind]


def _of_kubernetes(resources: Sequence[Declared]) -> list[Declared]:
    return [one for one in resources if one.type.startswith("kubernetes:")]


def _zone(one: Declared) -> str:
    return str(one.inputs.get("tags", {}).get(ZONE_TAG, ""))


def _images(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, below in node.items():
            if name in {"image", "imageName"} and isinstance(below, str):
                yield below
            else:
                yield from _images(below)
    elif isinstance(node, list | tuple):
        for below in node:
            yield from _images(below)


def _is_of_databases(one: Declared) -> bool:
    return bool(one.inputs.get("labels", {}).get(POOL) == DATABASE_POOL)


def _always(_: Declared) -> bool:
    return True


def _never(_: Declared) -> bool:
    return False
