"""Databases of cells on a real API server, as CloudNativePG would have them: its own types, an instance in each zone.

Its operator is played: whoever is asked for becomes the primary, and the stamp of the order stays. What the real one
makes of an order is not known here, for no machine there could run PostgreSQL.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from infra.cluster.api import Api, ApiRefusedError
from infra.cluster.local import ZONES, LocalCluster
from infra.cluster.nodes import ZONE, node_name

CLUSTERS = "clusters.postgresql.cnpg.io"
CLUSTER_TYPE = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CLUSTERS}"
HEALTHY = "Cluster in healthy state"
DEADLINE_S = 60.0


def told(program: Path, cluster: LocalCluster, *arguments: str) -> str:
    """What `kubectl cnpg` says."""
    return subprocess.run(
        [str(program), *arguments, "--kubeconfig", str(cluster.kubeconfig)],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    ).stdout


def serve_databases(cluster: LocalCluster, program: Path) -> None:
    """`kubectl cnpg` brings the types of its version along; the server knows them afterwards."""
    manifests = told(program, cluster, "install", "generate")
    wanted = next(one for one in yaml.safe_load_all(manifests) if one and one["metadata"]["name"] == CLUSTERS)
    cluster.api.create(CLUSTER_TYPE.rpartition("/")[0], wanted)
    deadline = time.monotonic() + DEADLINE_S
    while not _is_established(cluster.api):
        assert time.monotonic() < deadline, "the server does not serve Clusters"
        time.sleep(0.2)


class PlayedDatabases:
    """Of one cell, in a namespace that is there."""

    def __init__(self, api: Api, cell: str) -> None:
        self.api = api
        self.cell = cell
        self.path = f"/apis/postgresql.cnpg.io/v1/namespaces/{cell}/clusters/{cell}-db"
        self.instances = {zone: f"{cell}-db-{number}" for number, zone in enumerate(ZONES, 1)}

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.read(self.path)["status"]
        return found

    def make(self, primary_zone: str) -> None:
        self.api.create(
            self.path.rpartition("/")[0],
            {
                "apiVersion": "postgresql.cnpg.io/v1",
                "kind": "Cluster",
                "metadata": {"name": f"{self.cell}-db"},
                "spec": {"instances": len(self.instances), "storage": {"size": "1Gi"}},
            },
        )
        primary = self.instances[primary_zone]
        status = {
            "currentPrimary": primary,
            "targetPrimary": primary,
            "phase": HEALTHY,
            "instancesStatus": {"healthy": list(self.instances.values())},
        }
        self.api.patch(f"{self.path}/status", {"status": status})
        self._wait_for_account()
        for zone, name in self.instances.items():
            self.api.create(f"/api/v1/namespaces/{self.cell}/pods", self._pod(name, zone))

    def promote(self) -> None:
        status = {"currentPrimary": self.status["targetPrimary"], "phase": HEALTHY}
        self.api.patch(f"{self.path}/status", {"status": status})

    def promote_if_asked(self) -> None:
        now = self.status
        if now["targetPrimary"] != now["currentPrimary"]:
            self.promote()

    def _wait_for_account(self) -> None:
        """No pod is taken before."""
        deadline = time.monotonic() + DEADLINE_S
        path = f"/api/v1/namespaces/{self.cell}/serviceaccounts"
        while all(one["metadata"]["name"] != "default" for one in self.api.items(path)):
            assert time.monotonic() < deadline, "the namespace has no account"
            time.sleep(0.1)

    def _pod(self, name: str, zone: str) -> dict[str, Any]:
        """As a namespace of cells takes it, and with the zone that a recent server writes onto what it has placed."""
        size = {"cpu": "10m", "memory": "16Mi"}
        container = {
            "name": "postgres",
            "image": "registry.example/postgresql",
            "resources": {"requests": size, "limits": size},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {
            "nodeName": node_name(zone, 1),
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }
        labels = {"cnpg.io/cluster": f"{self.cell}-db", "cnpg.io/podRole": "instance", ZONE: zone}
        return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def _is_established(api: Api) -> bool:
    conditions = api.read(CLUSTER_TYPE)["status"]["conditions"] or []
    if not any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
        return False
    try:
        api.items("/apis/postgresql.cnpg.io/v1/clusters")
    except (ApiRefusedError, json.JSONDecodeError):
        return False
    return True
