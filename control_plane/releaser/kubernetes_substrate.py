"""Cells on Kubernetes, as the chart cell-app installs them: one Deployment per zone, found by its labels.

A change is a JSON patch that first tests what it was decided on: the object's version and the image that it runs. Who
lost the race is told so and overwrites nothing. How a cluster is called: cluster_calls.py.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from contract.ids import CellId
from control_plane.fleet.model import Unreachable
from control_plane.installations.model import Installation
from control_plane.releaser.applying import Applying
from control_plane.releaser.cluster_calls import (
    APPLY,
    MANAGER,
    REQUEST_TIMEOUT_S,
    ClusterCalls,
    cluster_client,
    must_be_waited_for,
)
from control_plane.releaser.manifests import (
    CORDONED,
    CORDONED_BY_US,
    CellObjects,
    cell_seen,
    failed_migrations,
    fence_of,
    image_of,
    image_patch,
    migration_job,
    selector_of_processes,
)
from control_plane.releaser.substrate import CALL_TIMEOUT_S, ImageOrder, InstallOutcome, NotTaken, Outcome, Taken
from control_plane.rollouts.model import CellSeen

INSTALL_TIMEOUT_S: Final = 60.0
"""Of some twenty objects, each read, tried and applied."""
ZONE_LABEL: Final = "topology.kubernetes.io/zone"


class KubernetesSubstrate:
    pause_s = 2.0
    cordon_moves_primaries = True
    """CloudNativePG does, as soon as their node takes no pods."""

    def __init__(self, api: client.ApiClient, *, namespace: str) -> None:
        """`namespace` of a cell, with `{cell}` for its id."""
        self._calls = ClusterCalls(api)
        self._namespace = namespace
        self._apps = client.AppsV1Api(api)
        self._core = client.CoreV1Api(api)
        self._batch = client.BatchV1Api(api)
        self._applying = Applying(api)

    async def look(self, cell: CellId, image: str) -> CellSeen | Unreachable:
        found = await self._calls.call(lambda _: self._objects(cell))
        if isinstance(found, CellObjects):
            return cell_seen(found, image)
        return Unreachable(detail=found.detail)

    async def prepare(self, cell: CellId, image: str) -> Outcome:
        return await self._calls.call(lambda until_s: self._prepare(cell, image, until_s))

    async def put_image(self, order: ImageOrder) -> Outcome:
        return await self._calls.call(lambda until_s: self._put_image(order, until_s))

    async def cordon(self, zone: str, *, is_closed: bool) -> Outcome:
        return await self._calls.call(lambda until_s: self._cordon(zone, until_s, is_closed=is_closed))

    async def install(self, installation: Installation, *, is_dry_run: bool) -> InstallOutcome:
        """What is begun in the last moments may still answer in time."""
        namespace = self._namespace.format(cell=installation.cell)
        return await self._calls.call(
            lambda until_s: self._applying.install(
                installation, namespace=namespace, is_dry_run=is_dry_run, ends_s=until_s - CALL_TIMEOUT_S
            ),
            timeout_s=INSTALL_TIMEOUT_S + CALL_TIMEOUT_S,
        )

    async def close(self) -> None:
        await self._calls.close()

    # In a thread.

    def _objects(self, cell: CellId) -> CellObjects:
        named: dict[str, Any] = {
            "namespace": self._namespace.format(cell=cell),
            "label_selector": selector_of_processes(cell),
            "_request_timeout": REQUEST_TIMEOUT_S,
        }
        plain = self._calls.plain
        return CellObjects(
            deployments=plain(self._apps.list_namespaced_deployment(**named)),
            pods=plain(self._core.list_namespaced_pod(**named)),
            jobs=plain(self._batch.list_namespaced_job(**named)),
        )

    def _put_image(self, order: ImageOrder, until_s: float) -> Outcome:
        found = next((one for one in self._objects(order.cell).deployments_of_cells if one.zone == order.zone), None)
        if found is None:
            return NotTaken(detail=f"{order.cell} has no Deployment in zone {order.zone}")
        if fence_of(found.document) > order.fence:
            newest = fence_of(found.document)
            return NotTaken(detail=f"fence {order.fence} is older than {newest}, which came after it")
        if image_of(found.document) != order.expected:
            return NotTaken(detail=f"zone {order.zone} of {order.cell} is told to run {image_of(found.document)}")
        must_be_waited_for(until_s)
        self._apps.patch_namespaced_deployment(
            name=found.document["metadata"]["name"],
            namespace=self._namespace.format(cell=order.cell),
            body=image_patch(found.document, image=order.image, fence=order.fence),
            field_manager=MANAGER,
            _request_timeout=REQUEST_TIMEOUT_S,
        )
        return Taken()

    def _prepare(self, cell: CellId, image: str, until_s: float) -> Outcome:
        jobs = self._objects(cell).jobs
        failed = failed_migrations(jobs, image)
        name = f"{cell}-migrate-{hashlib.sha256(image.encode()).hexdigest()[:10]}{f'-{failed}' if failed else ''}"
        job = migration_job(jobs, name=name, image=image)
        if job is None:
            return NotTaken(detail=f"{cell} has no migration Job of its chart that could be made for another image")
        must_be_waited_for(until_s)
        self._batch.patch_namespaced_job(
            name=name,
            namespace=self._namespace.format(cell=cell),
            body=job,
            field_manager=MANAGER,
            _content_type=APPLY,
            _request_timeout=REQUEST_TIMEOUT_S,
        )
        return Taken()

    def _cordon(self, zone: str, until_s: float, *, is_closed: bool) -> Outcome:
        """What somebody else has cordoned stays so. As many nodes as there is time for: the next call goes on."""
        selector = f"{ZONE_LABEL}={zone}"
        listed = self._core.list_node(label_selector=selector, _request_timeout=REQUEST_TIMEOUT_S)
        nodes = self._calls.plain(listed)
        if not nodes:
            return NotTaken(detail=f"no node is in zone {zone}")
        for node in nodes:
            is_ours = CORDONED in (node["metadata"].get("annotations") or {})
            is_cordoned = bool(node["spec"].get("unschedulable"))
            if is_closed == is_cordoned or (not is_closed and not is_ours):
                continue
            body = {
                "metadata": {"annotations": {CORDONED: CORDONED_BY_US if is_closed else None}},
                "spec": {"unschedulable": is_closed or None},
            }
            must_be_waited_for(until_s)
            try:
                self._core.patch_node(node["metadata"]["name"], body, _request_timeout=REQUEST_TIMEOUT_S)
            except ApiException as error:
                if error.status == 409:
                    return Unreachable(detail=f"node {node['metadata']['name']} changed meanwhile")
                raise
        return Taken()


def open_kubernetes(kubeconfig: Path | None, *, namespace: str) -> KubernetesSubstrate:
    """Raises kubernetes.config.ConfigException: see `cluster_client`."""
    return KubernetesSubstrate(cluster_client(kubeconfig), namespace=namespace)
