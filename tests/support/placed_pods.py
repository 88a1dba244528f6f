"""What runs where in a local cluster, as its API tells it; zones to lose, and their return; drains by eviction."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from contract.values import value
from infra.cluster.api import Api, ApiRefusedError
from infra.cluster.nodes import ZONE
from infra.cluster.programs import MANAGED_BY

DEADLINE_S = 120.0
"""Far beyond what anything here takes, on a machine that does other work too."""
POLL_S = 0.1
NODES = "/api/v1/nodes"
TOO_MANY_REQUESTS, NOT_FOUND = 429, 404


def eventually(is_so: Callable[[], bool], what: str | Callable[[], str], *, seconds: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(what if isinstance(what, str) else what())
        time.sleep(POLL_S)


@value
class Placed:
    """A pod that is not on its way out."""

    uid: str
    name: str
    node: str | None
    zone: str | None
    """Of its node; None while it has none, and when the node is there no more."""
    is_ready: bool
    image: str


def placed(api: Api, home: str, selector: str) -> list[Placed]:
    zone_of = {one["metadata"]["name"]: one["metadata"]["labels"][ZONE] for one in api.items(NODES)}
    return [
        _placed(pod, zone_of)
        for pod in api.items(f"/api/v1/namespaces/{home}/pods", labelSelector=selector)
        if "deletionTimestamp" not in pod["metadata"]
    ]


def _placed(pod: dict[str, Any], zone_of: dict[str, str]) -> Placed:
    node = pod["spec"].get("nodeName")
    return Placed(
        uid=pod["metadata"]["uid"],
        name=pod["metadata"]["name"],
        node=node,
        zone=zone_of.get(node),
        is_ready=node in zone_of and is_true(pod, "Ready"),
        image=pod["spec"]["containers"][0]["image"],
    )


def ready_per_zone(pods: Iterable[Placed]) -> Counter[str]:
    return Counter(pod.zone for pod in pods if pod.is_ready and pod.zone is not None)


def is_true(thing: dict[str, Any], condition: str) -> bool:
    return any(it["type"] == condition and it["status"] == "True" for it in thing["status"].get("conditions", []))


def nodes_of(api: Api, zone: str) -> list[dict[str, Any]]:
    return api.items(NODES, labelSelector=f"{ZONE}={zone}")


def cordon(api: Api, node: str, *, is_closed: bool) -> None:
    api.patch(f"{NODES}/{node}", {"spec": {"unschedulable": is_closed or None}})


@contextmanager
def cordoned(api: Api, zone: str) -> Iterator[None]:
    """Nothing new is placed there; what runs there runs on. What a shift away from a zone does to its nodes."""
    names = [one["metadata"]["name"] for one in nodes_of(api, zone)]
    for name in names:
        cordon(api, name, is_closed=True)
    try:
        yield
    finally:
        for name in names:
            cordon(api, name, is_closed=False)


@contextmanager
def silenced(api: Api, zone: str) -> Iterator[None]:
    """Its machines renew no lease: what loss of power or of the network is to everybody else."""
    names = [one["metadata"]["name"] for one in nodes_of(api, zone)]
    _keep_alive(api, names, None)
    try:
        eventually(lambda: not any(is_true(one, "Ready") for one in nodes_of(api, zone)), f"{zone} is still ready")
        yield
    finally:
        _keep_alive(api, names, "fake")
        _until_usable(api, zone, len(names))


def _keep_alive(api: Api, names: Iterable[str], by: str | None) -> None:
    for name in names:
        api.patch(f"{NODES}/{name}", {"metadata": {"labels": {MANAGED_BY: by}}})


@contextmanager
def deleted(api: Api, zone: str) -> Iterator[None]:
    """The cloud has taken its machines away: for the scheduler the zone is there no more."""
    gone = nodes_of(api, zone)
    for one in gone:
        api.delete(f"{NODES}/{one['metadata']['name']}")
    try:
        yield
    finally:
        for one in gone:
            api.create(NODES, _anew(one))
        _until_usable(api, zone, len(gone))


def _anew(node: dict[str, Any]) -> dict[str, Any]:
    """As a new machine of the same name announces itself."""
    told = node["status"]
    return {
        "metadata": {"name": node["metadata"]["name"], "labels": node["metadata"]["labels"]},
        "status": {"allocatable": told["allocatable"], "capacity": told["capacity"]},
    }


def _until_usable(api: Api, zone: str, count: int) -> None:
    def is_usable() -> bool:
        nodes = nodes_of(api, zone)
        return len(nodes) == count and all(is_true(one, "Ready") and not one["spec"].get("taints") for one in nodes)

    eventually(is_usable, f"{zone} did not come back")


LOSSES = {"cordoned": cordoned, "not ready": silenced, "deleted": deleted}
"""The ways to lose a zone, from mild to hard."""


def drain(api: Api, node: str, homes: Iterable[str], *, patience_s: float, watch: Callable[[], None]) -> list[str]:
    """As `kubectl drain` does it: close the node, then evict until nothing is left; what is left after the patience.

    `watch` is called between any two tries.
    """
    cordon(api, node, is_closed=True)
    deadline = time.monotonic() + patience_s
    while left := _pods_on(api, node, homes):
        for home, pod in left:
            if _evict(api, home, pod):
                deadline = time.monotonic() + patience_s
            watch()
        if time.monotonic() > deadline:
            return [pod for _, pod in left]
        time.sleep(POLL_S)
    return []


def _pods_on(api: Api, node: str, homes: Iterable[str]) -> list[tuple[str, str]]:
    """Those of Jobs have ended, and stay as a record."""
    on_node = f"spec.nodeName={node},status.phase!=Succeeded"
    return [
        (home, pod["metadata"]["name"])
        for home in homes
        for pod in api.items(f"/api/v1/namespaces/{home}/pods", fieldSelector=on_node)
        if "deletionTimestamp" not in pod["metadata"]
    ]


def _evict(api: Api, home: str, pod: str) -> bool:
    wish = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": home}}
    try:
        api.create(f"/api/v1/namespaces/{home}/pods/{pod}/eviction", wish)
    except ApiRefusedError as error:
        if error.status not in {TOO_MANY_REQUESTS, NOT_FOUND}:
            raise
        return False
    return True


def say_unready(api: Api, home: str, pod: str) -> None:
    """What its kubelet says of a pod whose probe fails."""
    path = f"/api/v1/namespaces/{home}/pods/{pod}"
    told = api.read(path)["status"]["conditions"]
    failing = {"status": "False", "reason": "ContainersNotReady", "message": "the readiness probe fails"}
    conditions = [{**it, **failing} if it["type"] in {"Ready", "ContainersReady"} else it for it in told]
    api.patch(f"{path}/status", {"status": {"conditions": conditions}})
