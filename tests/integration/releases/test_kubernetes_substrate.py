"""The real Kubernetes client against a small API server: what goes over the wire, lost races, and a server's faults."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

from releasing.small_api_server import SmallApiServer, kubeconfig_of, small_api_server

from contract.ids import CellId
from control_plane.fleet.model import Unreachable
from control_plane.releaser import cluster_calls, kubernetes_substrate
from control_plane.releaser.cluster_calls import THREADS
from control_plane.releaser.kubernetes_substrate import KubernetesSubstrate, open_kubernetes
from control_plane.releaser.manifests import CORDONED
from control_plane.releaser.substrate import CALL_TIMEOUT_S, ImageOrder, NotTaken, Taken
from control_plane.rollouts.model import CellSeen

CELL = CellId("cell-1")
OLD, NEW = (f"registry.example/cell@sha256:{digit * 64}" for digit in "01")
LABELS = {"app.kubernetes.io/part-of": "cellwallet", "cellwallet/cell": "cell-1"}


def deployment(zone: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"cell-1-api-{zone}",
            "labels": {**LABELS, "cellwallet/zone": zone},
            "resourceVersion": "7",
            "generation": 1,
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {**LABELS, "cellwallet/zone": zone}},
                "spec": {
                    "initContainers": [{"name": "schema", "image": OLD}],
                    "containers": [{"name": "cell", "image": OLD}],
                },
            },
        },
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    }


def migration() -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": OLD}]}
    return {
        "metadata": {"name": "cell-1-migrate-chart", "labels": LABELS},
        "spec": {"backoffLimit": 3, "template": {"metadata": {"labels": LABELS}, "spec": pod}},
        "status": {"succeeded": 1},
    }


@pytest.fixture
def server() -> Iterator[SmallApiServer]:
    with small_api_server() as served:
        served.objects["deployments"] = [deployment("a"), deployment("b")]
        served.objects["jobs"] = [migration()]
        yield served


@pytest.fixture
async def substrate(server: SmallApiServer, tmp_path: Path) -> AsyncIterator[KubernetesSubstrate]:
    kubeconfig = kubeconfig_of(server.url, tmp_path)
    opened = open_kubernetes(kubeconfig, namespace="{cell}")
    yield opened
    await opened.close()


def order(**changes: Any) -> ImageOrder:
    return ImageOrder(**{"cell": CELL, "zone": "a", "expected": OLD, "image": NEW, "fence": 3, **changes})


async def test_a_cell_is_seen_and_changed_by_one_guarded_patch(
    server: SmallApiServer, substrate: KubernetesSubstrate
) -> None:
    seen = await substrate.look(CELL, NEW)
    assert isinstance(seen, CellSeen)
    assert [(zone.zone, zone.image, zone.fence) for zone in seen.zones] == [("a", OLD, 0), ("b", OLD, 0)]
    assert (seen.preparation, seen.is_surging) == ("absent", True)
    assert isinstance(await substrate.put_image(order()), Taken)
    patches = [one for one in server.requests if one[0] == "PATCH"]
    path = "/apis/apps/v1/namespaces/cell-1/deployments/cell-1-api-a"
    assert patches == [("PATCH", path, "application/json-patch+json")]
    after = await substrate.look(CELL, NEW)
    assert isinstance(after, CellSeen)
    assert [(zone.image, zone.fence) for zone in after.zones] == [(NEW, 3), (OLD, 0)]


async def test_a_fence_alone_changes_no_pod(server: SmallApiServer, substrate: KubernetesSubstrate) -> None:
    template = copy.deepcopy(server.objects["deployments"][0]["spec"])
    assert isinstance(await substrate.put_image(order(image=OLD)), Taken)
    assert server.objects["deployments"][0]["spec"] == template
    late = await substrate.put_image(order(fence=2))
    assert isinstance(late, NotTaken)
    assert "fence 2" in late.detail


async def test_who_loses_a_race_overwrites_nothing(server: SmallApiServer, substrate: KubernetesSubstrate) -> None:
    def somebody_sets_an_image() -> None:
        pod = server.objects["deployments"][0]["spec"]["template"]["spec"]
        pod["containers"][0]["image"] = "somebody's"

    server.before_patch = [somebody_sets_an_image]
    lost = await substrate.put_image(order())
    assert isinstance(lost, NotTaken)
    assert "somebody else" in lost.detail
    assert server.objects["deployments"][0]["spec"]["template"]["spec"]["containers"][0]["image"] == "somebody's"
    foreign = await substrate.put_image(order())
    assert isinstance(foreign, NotTaken)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_passing_faults_are_tried_again(
    server: SmallApiServer, substrate: KubernetesSubstrate, status: int
) -> None:
    server.faults = [(status, {"Retry-After": "0"} if status == 429 else {})] * 2
    assert isinstance(await substrate.look(CELL, NEW), CellSeen)


async def test_a_server_that_wants_to_be_left_alone_for_hours_is_told_as_busy_within_seconds(
    server: SmallApiServer, substrate: KubernetesSubstrate
) -> None:
    server.faults = [(429, {"Retry-After": "3600"})] * 10
    began = time.monotonic()
    found = await substrate.look(CELL, NEW)
    assert isinstance(found, Unreachable)
    assert "429" in found.detail, "the server was waited for as long as it wished"
    assert time.monotonic() - began < CALL_TIMEOUT_S


@pytest.mark.parametrize(("status", "outcome"), [(403, NotTaken), (404, Unreachable), (410, Unreachable)])
async def test_lasting_faults_are_told_in_words(
    server: SmallApiServer, substrate: KubernetesSubstrate, status: int, outcome: type
) -> None:
    server.faults = [(status, {})] * 10
    found = await substrate.put_image(order())
    assert isinstance(found, outcome)
    assert str(status) in found.detail


async def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with small_api_server() as gone:
        kubeconfig = kubeconfig_of(gone.url, tmp_path)
    opened = open_kubernetes(kubeconfig, namespace="{cell}")
    assert isinstance(await opened.look(CELL, NEW), Unreachable)
    await opened.close()


async def test_the_migration_of_the_chart_is_applied_for_the_other_image(
    server: SmallApiServer, substrate: KubernetesSubstrate
) -> None:
    for _ in range(2):
        assert isinstance(await substrate.prepare(CELL, NEW), Taken)
    made = server.objects["jobs"][1:]
    assert [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in made] == [NEW]
    applied = [kind for method, _, kind in server.requests if method == "PATCH"]
    assert set(applied) == {"application/apply-patch+yaml"}
    seen = await substrate.look(CELL, NEW)
    assert isinstance(seen, CellSeen)
    assert seen.preparation == "running"


async def test_a_cordon_opens_only_what_it_closed(server: SmallApiServer, substrate: KubernetesSubstrate) -> None:
    labels = {"topology.kubernetes.io/zone": "a"}
    server.objects["nodes"] = [
        {"metadata": {"name": "one", "labels": labels}, "spec": {}},
        {"metadata": {"name": "two", "labels": labels}, "spec": {"unschedulable": True}},
        {"metadata": {"name": "far", "labels": {"topology.kubernetes.io/zone": "b"}}, "spec": {}},
    ]

    def closed() -> list[str]:
        return [one["metadata"]["name"] for one in server.objects["nodes"] if one["spec"].get("unschedulable")]

    assert isinstance(await substrate.cordon("a", is_closed=True), Taken)
    assert closed() == ["one", "two"]
    assert isinstance(await substrate.cordon("a", is_closed=False), Taken)
    assert closed() == ["two"]
    assert CORDONED not in server.objects["nodes"][0]["metadata"].get("annotations", {})
    assert isinstance(await substrate.cordon("z", is_closed=True), NotTaken)


async def test_a_migration_that_failed_is_tried_again_by_another_job(
    server: SmallApiServer, substrate: KubernetesSubstrate
) -> None:
    """A Job that has failed is over; applied again it stays so."""
    await substrate.prepare(CELL, NEW)
    server.objects["jobs"][1]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    failed = await substrate.look(CELL, NEW)
    assert isinstance(failed, CellSeen)
    assert failed.preparation == "failed"
    for _ in range(2):
        assert isinstance(await substrate.prepare(CELL, NEW), Taken)
    assert len({one["metadata"]["name"] for one in server.objects["jobs"]}) == len(server.objects["jobs"]) == 3
    again = await substrate.look(CELL, NEW)
    assert isinstance(again, CellSeen)
    assert again.preparation == "running"


@pytest.mark.parametrize("what", ["image", "cordon"])
async def test_what_nobody_waits_for_any_more_is_not_changed(
    server: SmallApiServer, substrate: KubernetesSubstrate, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Whoever gave it up has decided again, and nobody would look after what is changed then."""
    server.objects["nodes"] = [
        {"metadata": {"name": "one", "labels": {kubernetes_substrate.ZONE_LABEL: "a"}}, "spec": {}}
    ]
    monkeypatch.setattr(cluster_calls, "CALL_TIMEOUT_S", 0.2)
    server.may_answer.clear()
    change = substrate.put_image(order()) if what == "image" else substrate.cordon("a", is_closed=True)
    assert isinstance(await change, Unreachable)
    server.may_answer.set()
    await asyncio.to_thread(substrate._calls._threads.shutdown)
    assert [method for method, _, _ in server.requests if method == "PATCH"] == []


async def test_a_cluster_that_hangs_takes_no_thread_of_the_process(
    server: SmallApiServer, substrate: KubernetesSubstrate
) -> None:
    """Names are looked up in those: whoever asks cells, or the database, would hang too."""
    server.may_answer.clear()
    looks = [asyncio.create_task(substrate.look(CELL, NEW)) for _ in range(4 * THREADS)]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            await asyncio.to_thread(lambda: None)
    finally:
        server.may_answer.set()
        await asyncio.gather(*looks)


async def test_a_node_that_changes_meanwhile_is_tried_again(
    server: SmallApiServer, substrate: KubernetesSubstrate
) -> None:
    labels = {kubernetes_substrate.ZONE_LABEL: "a"}
    server.objects["nodes"] = [{"metadata": {"name": name, "labels": labels}, "spec": {}} for name in ("one", "two")]
    server.before_patch = [lambda: None, lambda: 409]
    assert isinstance(await substrate.cordon("a", is_closed=True), Unreachable), "and not: it cannot be done"
    assert isinstance(await substrate.cordon("a", is_closed=True), Taken)
    assert all(one["spec"]["unschedulable"] for one in server.objects["nodes"])
