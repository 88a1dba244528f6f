"""The simulated machines of a local cluster: pure, the same number in each zone."""

from collections.abc import Sequence
from typing import Any

from infra.cluster.programs import MANAGED_BY

ZONE = "topology.kubernetes.io/zone"
REGION = "local"
SIZE = {"cpu": "8", "memory": "32Gi", "pods": "110"}


def node_name(zone: str, number: int) -> str:
    return f"{zone}-{number}"


def nodes(zones: Sequence[str], *, per_zone: int) -> list[dict[str, Any]]:
    return [node(zone, number) for zone in zones for number in range(1, per_zone + 1)]


def node(zone: str, number: int) -> dict[str, Any]:
    name = node_name(zone, number)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                MANAGED_BY: "fake",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": REGION,
                ZONE: zone,
            },
        },
        "status": {"allocatable": SIZE, "capacity": SIZE},
    }
