"""Clusters of CloudNativePG as JSON: where a cell's primary is, and the patch that asks for another one.

A planned switch-over is what `kubectl cnpg promote` asks for: another name in the status of the Cluster, by
compare-and-set. The operator does it, and has done it when the present primary is the one that was asked for.

Whose promotion it is, is told by its stamp, `status.targetPrimaryTimestamp`, which is noted at the cell before the
operator is asked. In CloudNativePG (1.25 to 1.30) whoever names another primary writes a stamp of his own: its failover
and its way off a node that takes no pods (`setPrimaryInstance` in internal/controller/cluster_status.go), its way back
from a target that is gone (`updateResourceStatus`, there), its plugin (internal/cmd/plugin/promote). The instance that
becomes the primary writes `currentPrimary` alone (internal/management/controller), so that ours stays when it is done.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from contract.ids import CellId
from contract.values import value
from control_plane.releaser.manifests import fence_of, switch_over_of
from control_plane.releaser.switch_overs import MustWait, NotAvailable, SwitchedOver, SwitchOrder, UnderWay

GROUP, VERSION, CLUSTERS = "postgresql.cnpg.io", "v1", "clusters"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
SWITCHING: Final = "Switchover in progress"
"""The phase that the operator knows."""
FENCED: Final = "cnpg.io/fencedInstances"
ON_ITS_WAY: Final = timedelta(minutes=1)
"""For so long an API server works on a request that its client has given up, unless it is told otherwise."""
STAMP: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
"""As the operator writes it, in UTC."""

Document = Mapping[str, Any]


@value
class Instance:
    """One PostgreSQL of a cell."""

    name: str
    zone: str | None
    """None = its node does not say."""
    may_be_primary: bool
    """It is healthy, and the operator will not send a primary away from its node at once."""


@value
class CellDatabases:
    cluster: Document
    instances: Sequence[Instance]
    deployments: Sequence[Document]
    """Of the cell's processes, by name: what was ordered is noted there."""

    @property
    def primary(self) -> str:
        name: str = _status(self.cluster).get("currentPrimary", "")
        return name

    @property
    def target(self) -> str:
        name: str = _status(self.cluster).get("targetPrimary", "")
        return name

    @property
    def is_ours(self) -> bool:
        """The last promotion, done or under way, was ordered here, and by nobody else."""
        stamp = _status(self.cluster).get("targetPrimaryTimestamp", "")
        return any(switch_over_of(one) == switch_over(self.target, stamp) for one in self.deployments)

    @property
    def newest_fence(self) -> int:
        return max((fence_of(one) for one in self.deployments), default=0)

    def zone_of(self, name: str) -> str | None:
        return next((one.zone for one in self.instances if one.name == name), None)


@value
class Promote:
    """Nobody is switching, and this instance is where the primary is wanted."""

    instance: Instance


def cluster_of(cell: CellId) -> str:
    """As the chart cell-platform names it."""
    return f"{cell}-db"


def selector_of(cell: CellId) -> str:
    return f"cnpg.io/cluster={cluster_of(cell)},cnpg.io/podRole=instance"


def switch_over(instance: str, stamp: str) -> str:
    """As it is noted."""
    return f"{instance}@{stamp}"


def databases_seen(
    cluster: Document, pods: Sequence[Document], nodes: Sequence[Document], deployments: Sequence[Document]
) -> CellDatabases:
    known = {node["metadata"]["name"]: node for node in nodes}
    healthy = set((_status(cluster).get("instancesStatus") or {}).get("healthy") or [])
    return CellDatabases(
        cluster=cluster,
        instances=tuple(
            _instance(pod, known.get(pod["spec"].get("nodeName", "")), healthy=healthy)
            for pod in sorted(pods, key=_name)
        ),
        deployments=sorted(deployments, key=_name),
    )


def step_of(
    order: SwitchOrder, databases: CellDatabases
) -> SwitchedOver | UnderWay | MustWait | NotAvailable | Promote:
    """A ladder: whatever is under way ends first; who is where he is wanted stays; else somebody healthy there."""
    primary, target = databases.primary, databases.target
    if not primary or primary != target or _status(databases.cluster).get("phase") == SWITCHING:
        detail = f"the operator makes {target or 'somebody'} the primary"
        return UnderWay(detail=detail) if databases.is_ours else MustWait(detail=f"{detail}, not by our order")
    zone = databases.zone_of(primary)
    if zone is None:
        return MustWait(detail=f"nobody tells in which zone {primary} is, which is the primary")
    if _is_as_wanted(order, zone):
        return SwitchedOver(detail=f"its primary {primary} is in zone {zone}")
    if (databases.cluster["metadata"].get("annotations") or {}).get(FENCED, "[]") not in {"", "[]"}:
        return MustWait(detail="somebody has fenced instances of it")
    others = [one for one in databases.instances if one.zone is not None and _is_as_wanted(order, one.zone)]
    if not others:
        return MustWait(detail=f"its primary is in zone {zone}, and no instance is where it is wanted")
    fit = sorted(
        (one for one in others if one.may_be_primary), key=lambda one: (one.zone != order.cell.home_zone, one.name)
    )
    if not fit:
        return MustWait(detail=f"{', '.join(one.name for one in others)} must be healthy, on a node that takes pods")
    return Promote(instance=fit[0])


def stamp_of(databases: CellDatabases, instance: Instance, now: datetime) -> str | MustWait:
    """Of an order that is to be given now.

    One that was given moments ago, and is not to be seen yet, may still arrive: it is given again as it was, and until
    then no other one takes its place at the cell.
    """
    for one in databases.deployments:
        name, _, stamp = switch_over_of(one).partition("@")
        if stamp == _status(databases.cluster).get("targetPrimaryTimestamp") or not _is_recent(stamp, now):
            continue
        if name != instance.name:
            return MustWait(detail=f"what was ordered a moment ago, {name}, may still be on its way")
        return stamp
    return now.strftime(STAMP)


def promotion_patch(databases: CellDatabases, instance: Instance, stamp: str) -> list[dict[str, Any]]:
    """Applies only to the very object that was looked at."""
    version = databases.cluster["metadata"]["resourceVersion"]
    wanted = {
        "targetPrimary": instance.name,
        "targetPrimaryTimestamp": stamp,
        "phase": SWITCHING,
        "phaseReason": f"Switching over to {instance.name}",
    }
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        *({"op": "add", "path": f"/status/{name}", "value": text} for name, text in wanted.items()),
    ]


def _is_as_wanted(order: SwitchOrder, zone: str) -> bool:
    return zone != order.zone if order.direction == "away" else zone == order.zone


def _instance(pod: Document, node: Document | None, *, healthy: set[str]) -> Instance:
    """A recent Kubernetes writes the zone onto the pod as well."""
    name = pod["metadata"]["name"]
    labels = (pod["metadata"].get("labels") or {}) | ((node or {}).get("metadata", {}).get("labels") or {})
    is_leaving = "deletionTimestamp" in pod["metadata"] or bool((node or {}).get("spec", {}).get("unschedulable"))
    return Instance(name=name, zone=labels.get(ZONE_LABEL), may_be_primary=name in healthy and not is_leaving)


def _is_recent(stamp: str, now: datetime) -> bool:
    try:
        return abs(now - datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)) < ON_ITS_WAY
    except ValueError:
        return False


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _status(cluster: Document) -> Document:
    found: Document = cluster.get("status") or {}
    return found
