"""Who can reach whom by the NetworkPolicies that the charts render: a small evaluator, because no cluster of the tests
enforces them.

As Kubernetes has it: a pod that no policy of a direction selects is open in that direction; one that is selected may do
what any of its policies names; a connection needs both ends.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from charts import Object, of_kind

from contract.values import value

Labels = Mapping[str, str]


@value
class Namespace:
    name: str
    labels: Labels
    policies: tuple[Object, ...]


@value
class Pod:
    name: str
    namespace: Namespace
    labels: Labels


@value
class Outside:
    """An address that is no pod's."""

    address: str


def namespace(name: str, *renders: Sequence[Object], labels: Labels | None = None) -> Namespace:
    policies = tuple(one for objects in renders for one in of_kind(list(objects), "NetworkPolicy"))
    return Namespace(name=name, labels={"kubernetes.io/metadata.name": name, **(labels or {})}, policies=policies)


def can_reach(source: Pod | Outside, target: Pod | Outside, port: int, *, protocol: str = "TCP") -> bool:
    leaves = isinstance(source, Outside) or _is_allowed(source, target, port, protocol, direction="Egress")
    arrives = isinstance(target, Outside) or _is_allowed(target, source, port, protocol, direction="Ingress")
    return leaves and arrives


def _is_allowed(own: Pod, other: Pod | Outside, port: int, protocol: str, *, direction: str) -> bool:
    about = [
        policy["spec"]
        for policy in own.namespace.policies
        if direction in policy["spec"]["policyTypes"] and _matches(policy["spec"]["podSelector"], own.labels)
    ]
    if not about:
        return True
    rules, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return any(
        _names_port(rule, port, protocol) and _names_peer(rule.get(peers), own, other)
        for spec in about
        for rule in spec.get(rules, ())
    )


def _names_port(rule: Object, port: int, protocol: str) -> bool:
    return "ports" not in rule or any(
        (one["port"], one.get("protocol", "TCP")) == (port, protocol) for one in rule["ports"]
    )


def _names_peer(peers: list[Object] | None, own: Pod, other: Pod | Outside) -> bool:
    return peers is None or any(_is_peer(peer, own, other) for peer in peers)


def _is_peer(peer: Object, own: Pod, other: Pod | Outside) -> bool:
    if "ipBlock" in peer:
        return isinstance(other, Outside) and _is_in(peer["ipBlock"], other.address)
    if isinstance(other, Outside):
        return False
    if "namespaceSelector" in peer:
        if not _matches(peer["namespaceSelector"], other.namespace.labels):
            return False
    elif other.namespace.name != own.namespace.name:
        return False
    return "podSelector" not in peer or _matches(peer["podSelector"], other.labels)


def _is_in(block: Object, address: str) -> bool:
    one = ipaddress.ip_address(address)
    without: Iterable[str] = block.get("except", ())
    return one in ipaddress.ip_network(block["cidr"]) and not any(one in ipaddress.ip_network(net) for net in without)


def _matches(selector: dict[str, Any], labels: Labels) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}, selector
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()
