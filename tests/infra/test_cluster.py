"""A local cluster is a real one where placement is concerned, keeps to this machine, and leaves nothing running."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from placed_pods import eventually, nodes_of, silenced

from cellwallet.local.processes import processes_in
from infra.cluster.api import ApiRefusedError
from infra.cluster.local import ZONES, LocalCluster, local_cluster
from infra.cluster.nodes import ZONE
from infra.cluster.processes import ProgramMustRunError
from infra.tools.cache import MODULES
from infra.tools.pins import FAMILIES
from infra.tools.planning import version_of

pytestmark = pytest.mark.only_a_cloud("how long a cloud takes to see that a machine is gone, and to evict its pods")

LISTENING = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6's clothes, and ::1, as the kernel writes them on a little-endian machine."""


def deployment(name: str, *, replicas: int, is_spread: bool) -> dict[str, Any]:
    """Drawn to one zone by two preferences, which outweigh what the scheduler spreads by itself."""
    labels = {"app": name}
    to_first_zone = {"key": ZONE, "operator": "In", "values": [ZONES[0]]}
    alike = {"labelSelector": {"matchLabels": labels}, "topologyKey": ZONE}
    affinity = {
        "nodeAffinity": _preferred("preference", {"matchExpressions": [to_first_zone]}),
        "podAffinity": _preferred("podAffinityTerm", alike),
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{"name": "app", "image": "example.org/app:1"}],
                    "affinity": affinity,
                    "topologySpreadConstraints": [spread] if is_spread else [],
                },
            },
        },
    }


def _preferred(term: str, wish: dict[str, Any]) -> dict[str, Any]:
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, term: wish}]}


def namespace(cluster: LocalCluster, name: str, **labels: str) -> str:
    """With its default account, without which pods are refused."""
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def has_account() -> bool:
        accounts = cluster.api.items(f"/api/v1/namespaces/{name}/serviceaccounts")
        return any(account["metadata"]["name"] == "default" for account in accounts)

    eventually(has_account, f"namespace {name} has no account")
    return name


def deploy(cluster: LocalCluster, space: str, wanted: dict[str, Any]) -> None:
    path = f"/apis/apps/v1/namespaces/{space}/deployments"
    cluster.api.create(path, wanted)
    name, replicas = wanted["metadata"]["name"], wanted["spec"]["replicas"]

    def is_ready() -> bool:
        return bool(cluster.api.read(f"{path}/{name}")["status"].get("readyReplicas") == replicas)

    eventually(is_ready, f"{name} did not become ready")


def ready_per_zone(cluster: LocalCluster, space: str) -> Counter[str]:
    zone_of = {
        node["metadata"]["name"]: node["metadata"]["labels"][ZONE] for node in cluster.api.items("/api/v1/nodes")
    }
    return Counter(
        zone_of[pod["spec"]["nodeName"]]
        for pod in cluster.api.items(f"/api/v1/namespaces/{space}/pods")
        if "deletionTimestamp" not in pod["metadata"]
        and any(it["type"] == "Ready" and it["status"] == "True" for it in pod["status"].get("conditions", []))
    )


def test_the_server_is_of_the_pinned_version(cluster: LocalCluster) -> None:
    kubernetes = next(family for family in FAMILIES if family.folder == "kubernetes")
    pinned = version_of(kubernetes, (MODULES / "kubernetes" / "go.mod").read_text())
    assert cluster.api.read("/version")["gitVersion"] == pinned


def test_a_spread_deployment_is_ready_evenly_over_three_zones(cluster: LocalCluster) -> None:
    space = namespace(cluster, "spread")
    deploy(cluster, space, deployment("front", replicas=6, is_spread=True))
    assert ready_per_zone(cluster, space) == dict.fromkeys(ZONES, 2)


def test_without_its_constraint_the_same_deployment_is_not_spread(cluster: LocalCluster) -> None:
    """The mutant: were it even here, the test above would prove nothing."""
    space = namespace(cluster, "drawn")
    deploy(cluster, space, deployment("front", replicas=6, is_spread=False))
    found = ready_per_zone(cluster, space)
    assert found.total() == 6
    assert found[ZONES[0]] > 2


def test_admission_is_real(cluster: LocalCluster) -> None:
    space = namespace(cluster, "strict", **{"pod-security.kubernetes.io/enforce": "restricted"})
    pod = {"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "app", "image": "example.org/app:1"}]}}
    with pytest.raises(ApiRefusedError, match="violates PodSecurity") as refusal:
        cluster.api.create(f"/api/v1/namespaces/{space}/pods", pod)
    assert refusal.value.status == 403


def test_a_zone_that_falls_silent_is_seen_its_pods_are_replaced_and_it_comes_back(
    control_plane_tools: dict[str, Path], tmp_path: Path
) -> None:
    with local_cluster(tmp_path / "local", tools=control_plane_tools) as cluster:
        space = namespace(cluster, "silence")
        deploy(cluster, space, deployment("front", replicas=6, is_spread=False))
        assert ready_per_zone(cluster, space)[ZONES[0]] > 2
        with silenced(cluster.api, ZONES[0]):
            told = [
                (it["status"], it["reason"])
                for node in nodes_of(cluster.api, ZONES[0])
                for it in node["status"]["conditions"]
                if it["type"] == "Ready"
            ]
            assert told == [("Unknown", "NodeStatusUnknown")] * 2, "it is the node controller that says so"

            def is_served_elsewhere() -> bool:
                found = ready_per_zone(cluster, space)
                return found[ZONES[0]] == 0 and found.total() == 6

            eventually(is_served_elsewhere, "nothing replaced what the silent zone had")
        pods = f"/api/v1/namespaces/{space}/pods"
        eventually(lambda: len(cluster.api.items(pods)) == 6, "what the zone had was not ended when it came back")


def test_a_release_with_a_fault_never_becomes_ready(cluster: LocalCluster) -> None:
    """Nor does anything here become ready by chance: the digest says which images are broken."""
    space = namespace(cluster, "broken")
    wanted = deployment("front", replicas=1, is_spread=False)
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "example.org/app@sha256:bad" + "0" * 61
    cluster.api.create(f"/apis/apps/v1/namespaces/{space}/deployments", wanted)

    def has_started() -> bool:
        pods = cluster.api.items(f"/api/v1/namespaces/{space}/pods")
        return any(pod["status"].get("phase") == "Running" for pod in pods)

    eventually(has_started, "it did not start")
    assert ready_per_zone(cluster, space).total() == 0


def test_it_listens_on_this_machine_only_and_leaves_no_process(
    control_plane_tools: dict[str, Path], tmp_path: Path
) -> None:
    with local_cluster(tmp_path / "local", tools=control_plane_tools, zones=("only",), nodes_per_zone=1) as cluster:
        pids = [program.pid for program in cluster.programs.values()]
        addresses = {address for pid in pids for address in listening_addresses(pid)}
        assert addresses
        assert addresses <= LOOPBACK
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def listening_addresses(pid: int) -> set[str]:
    links = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = {str(link)[len("socket:[") : -1] for link in links if str(link).startswith("socket:[")}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == LISTENING and row[9] in sockets}


def test_a_program_that_cannot_start_is_told_with_its_last_words_and_the_others_are_ended(
    control_plane_tools: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "kube-scheduler"
    broken.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n")
    broken.chmod(0o755)
    tools = {**control_plane_tools, "kube-scheduler": broken}
    folder = tmp_path / "local"
    with (
        pytest.raises(ProgramMustRunError, match=r"kube-scheduler ended before it was ready:\nno such flag"),
        local_cluster(folder, tools=tools),
    ):
        pytest.fail("it started")
    assert (folder / "kube-controller-manager.log").stat().st_size > 0, "the others had been started"
    assert processes_in(folder) == []
