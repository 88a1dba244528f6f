"""What the charts are told for a stack, and the objects around them: pure, as plain mappings.

Versions: of PostgreSQL, router and control plane by digest, from the stack's settings. Of a cell none, ever.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.headroom import CellNeeds, FleetNeeds
from infra.settings import CellSettings, Database, FleetSettings, Image, Network
from infra.sizes import API_POD, DATABASES, INSTANCES, SURGE

Object = dict[str, Any]
Values = dict[str, Any]
Render = Callable[[str, Mapping[str, Any], str], list[Object]]
"""Of a chart, with values, for a namespace."""

CLUSTER_SCOPED = {"Namespace", "PriorityClass", "StorageClass", "ClusterRole", "ClusterRoleBinding"}
JOBS = 10
"""Pods that come and go: migrations, and the jobs of the database's operator."""
JOBS_CORES, JOBS_GIB = 4, 4
RESTRICTED = "pod-security.kubernetes.io/enforce"
POOL = "cellwallet/pool"
DATABASE_POOL = "postgres"
STORAGE_CLASS = "zonal"


def namespace(name: str, *, role: str | None = None) -> Object:
    """By `role: cell` others find the cells; what wants more than "restricted" is refused there."""
    labels = {"app.kubernetes.io/part-of": "cellwallet", RESTRICTED: "restricted"}
    if role is not None:
        labels["cellwallet/role"] = role
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def storage_class() -> Object:
    """Volumes stay in their zone, are made where their pod is, and outlive whoever deletes the claim."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "labels": {"app.kubernetes.io/part-of": "cellwallet"}},
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3", "encrypted": "true"},
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        "reclaimPolicy": "Retain",
    }


def in_namespace(objects: Sequence[Object], name: str) -> list[Object]:
    """As `kubectl apply --namespace` does it: charts leave the namespace to whoever installs them."""
    return [_placed(one, name) for one in objects]


def _placed(one: Object, name: str) -> Object:
    if one["kind"] in CLUSTER_SCOPED:
        return one
    return {**one, "metadata": {**one["metadata"], "namespace": one["metadata"].get("namespace", name)}}


def cell_platform_values(settings: CellSettings, needs: CellNeeds) -> Values:
    network = settings.network
    return {
        "cell": {"id": settings.id},
        "zones": list(settings.zones),
        "size": settings.database.size,
        "database": _database(settings.database),
        "quota": _quota(settings, needs),
        "network": {
            **_network(network),
            "routerNamespace": network.router_namespace,
            "controlPlaneNamespace": network.control_plane_namespace,
            "webhooks": network.webhooks,
            "brokerCidrs": list(network.broker_cidrs),
        },
        "operator": {"serviceAccount": settings.operator_account},
        "podMonitor": settings.pod_monitors,
    }


def cell_app_values(settings: CellSettings, needs: CellNeeds) -> Values:
    """For whoever brings the version: everything but the image, which is not ours to name."""
    return {
        "cell": {"id": settings.id, "homeZone": settings.home_zone},
        "zones": list(settings.zones),
        "replicasPerZone": needs.api_per_zone,
        "identitySecret": f"{settings.id}-identity",
        "controlPlaneUrl": control_plane_url(settings.network),
        "routerUrl": f"http://router.{settings.network.router_namespace}.svc",
        "resources": {"cpu": f"{API_POD.cores:g}", "memory": _gib(API_POD.memory_gib)},
        "podMonitor": settings.pod_monitors,
    }


def router_values(settings: FleetSettings, needs: FleetNeeds) -> Values:
    router, network = settings.router, settings.network
    return {
        "zones": list(settings.zones),
        "replicasPerZone": needs.routers_per_zone,
        "image": _image(router.image),
        "identitySecret": router.identity_secret,
        "controlPlaneUrl": control_plane_url(network),
        "entrance": {
            "type": router.entrance.type,
            "annotations": [
                {"name": name, "value": text} for name, text in sorted(router.entrance.annotations.items())
            ],
        },
        "network": {
            "controlPlaneNamespace": network.control_plane_namespace,
            "monitoringNamespace": network.monitoring_namespace,
        },
        "settings": dict(router.settings),
        "podMonitor": settings.monitoring.pod_monitors,
    }


def control_plane_values(settings: FleetSettings) -> Values:
    control_plane, network = settings.control_plane, settings.network
    return {
        "zones": list(settings.zones),
        "replicasPerZone": control_plane.replicas_per_zone,
        "firstCells": control_plane.first_cells,
        "image": _image(control_plane.image),
        "identitySecret": control_plane.identity_secret,
        "database": _database(control_plane.database),
        "releases": {"by": control_plane.releases.by, "cordon": control_plane.releases.cordon},
        "network": {
            **_network(network),
            "routerNamespace": network.router_namespace,
            "operatorCidrs": list(network.operator_cidrs),
        },
        "settings": dict(control_plane.settings),
        "monitoring": {
            "podMonitor": settings.monitoring.pod_monitors,
            "rules": settings.monitoring.rules,
            "dashboards": settings.monitoring.dashboards,
        },
    }


def control_plane_url(network: Network) -> str:
    return f"http://control-plane.{network.control_plane_namespace}.svc:8090"


def _database(database: Database) -> Values:
    return {
        "image": _image(database.image),
        "storageClass": database.storage_class,
        "storage": database.storage,
        "walStorage": database.wal_storage,
        "dedicatedNodes": database.dedicated_nodes,
    }


def _network(network: Network) -> Values:
    return {
        "monitoringNamespace": network.monitoring_namespace,
        "operatorNamespace": network.operator_namespace,
        "apiServerCidrs": list(network.api_server_cidrs),
        "apiServerPort": network.api_server_port,
        "backupCidrs": list(network.backup_cidrs),
    }


def _quota(settings: CellSettings, needs: CellNeeds) -> Mapping[str, Any]:
    """What headroom wants, a roll-out and some jobs, so that a cell that runs wild takes nothing from others.

    Pods on their way out count too: a roll-out may wait for them, and goes on.
    """
    processes = len(settings.zones) * (needs.api_per_zone + SURGE)
    instance = DATABASES[settings.database.size]
    cores = INSTANCES * instance.cores + processes * API_POD.cores + JOBS_CORES
    memory_gib = INSTANCES * instance.memory_gib + processes * API_POD.memory_gib + JOBS_GIB
    return {
        "pods": INSTANCES + processes + JOBS,
        "cpu": str(math.ceil(cores)),
        "memory": _gib(math.ceil(memory_gib)),
    }


def _image(image: Image) -> Values:
    return {"repository": image.repository, "digest": image.digest}


def _gib(memory_gib: float) -> str:
    return f"{memory_gib:g}Gi"
