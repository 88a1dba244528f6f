"""Cells on a real API server, as the charts install them, and control planes that bring releases to them with no more
rights than the charts give. The nodes are simulated; stand_in_cells.py tells what the processes would tell.
"""

import asyncio
import itertools
import json
import os
import shutil
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from control_plane_process import ControlPlaneProcess, control_plane_process, free_port
from platform_keys import PlatformKeys, bearer
from running_platform import registration, until
from stacks import cell, example_certificate, fleet

from contract.values import value
from infra.cluster.api import Api, ApiRefusedError
from infra.cluster.local import ZONES, LocalCluster
from infra.cluster.nodes import ZONE
from infra.cluster.processes import Program
from infra.headroom import cell_needs
from infra.manifests import Object, Render, cell_app_values, cell_platform_values, control_plane_values, namespace
from releasing.played_databases import PlayedDatabases
from releasing.release_world import MUTATED, SIGNS_OF_LIFE_S
from releasing.stand_in_cells import StandInCells

OLD, NEW, BAD = (f"registry.example/cellwallet/cell@sha256:{digit * 64}" for digit in "01b")
CONTROL_PLANE = "control-plane"
REPLICAS = 2
"""In each zone: the least that the chart takes."""
MIN_READY_S = 1
"""The chart says 15: a test need not wait for that long at each process."""
JUDGED_BY = {"window_s": 5.0, "windows_good": 1, "windows_bad_max": 1, "requests_min": 20, "settle_max_s": 60.0}
READY_TIMEOUT_S = 60.0
OPERATOR_LOOKS_S = 0.5
PATHS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "LimitRange": "/api/v1/namespaces/{}/limitranges",
    "Namespace": "/api/v1/namespaces",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
}
OF_THE_CONTROL_PLANE = {"ServiceAccount", "PriorityClass", "ClusterRole", "ClusterRoleBinding"}
"""Of its chart: it runs as a process here and not as a pod. Databases are not the charts': played_databases.py."""

_numbers = itertools.count(1)


def path_of(one: Object) -> str:
    return PATHS[one["kind"]].format(one["metadata"].get("namespace"))


def install(api: Api, objects: Iterator[Object] | list[Object]) -> None:
    for one in objects:
        if one["kind"] in PATHS:
            api.create(path_of(one), one)


@value
class Ground:
    """What all worlds of one cluster stand on."""

    cluster: LocalCluster
    render: Render
    kubeconfig: Path
    """Of the control plane's own account."""
    stand_ins: StandInCells
    prometheus_url: str


def control_plane_account(cluster: LocalCluster, render: Render, folder: Path) -> Path:
    """Install what the chart gives the control plane, and write a kubeconfig with a token of its account."""
    api, values = cluster.api, control_plane_values(fleet("local-fleet"))
    install(api, [namespace(CONTROL_PLANE)])
    install(api, [one for one in render(CONTROL_PLANE, values, CONTROL_PLANE) if one["kind"] in OF_THE_CONTROL_PLANE])
    account = f"/api/v1/namespaces/{CONTROL_PLANE}/serviceaccounts/{CONTROL_PLANE}"
    token = api.create(f"{account}/token", {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    authority = str(cluster.folder / "keys" / "authority.crt")
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": api.url, "certificate-authority": authority}}],
        "users": [{"name": CONTROL_PLANE, "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": CONTROL_PLANE}}],
        "current-context": "local",
    }
    file = folder / "control-plane.kubeconfig"
    file.write_text(json.dumps(document))
    return file


@contextmanager
def running_prometheus(folder: Path, target: str) -> Iterator[str]:
    """The real one, that scrapes `target` (host and port) each second."""
    found = shutil.which("prometheus")
    if found is None:
        absent = pytest.fail if os.environ.get("CELLWALLET_INFRA") == "required" else pytest.skip
        absent("the program prometheus is not installed: apt-get install prometheus")
    scrape = {
        "job_name": "cell",
        "honor_labels": True,
        "static_configs": [{"targets": [target], "labels": {"job": "cell"}}],
    }
    folder.mkdir()
    file = folder / "prometheus.yml"
    file.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    port = free_port()
    words = [
        found,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    program = Program("prometheus", words, log=folder / "prometheus.log")
    program.start({})
    try:
        program.wait_until(
            lambda: _answers(f"{url}/-/ready"), deadline=time.monotonic() + READY_TIMEOUT_S, what="ready"
        )
        yield url
    finally:
        program.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False


class ClusterWorld:
    """Two cells of their own in the cluster, whose primaries live in two zones, and a database of a control plane."""

    def __init__(self, ground: Ground, folder: Path, keys: PlatformKeys, database_url: str) -> None:
        number = next(_numbers)
        self.ground = ground
        self.api = ground.cluster.api
        self.keys = keys
        self.folder = folder
        self.homes = {f"cell-{number}-a": ZONES[0], f"cell-{number}-b": ZONES[1]}
        self.databases = {cell_id: PlayedDatabases(self.api, cell_id) for cell_id in self.homes}
        """Each with its primary at home, until another one is asked for."""
        self.crash_file = folder / "crash"
        self._database_url = database_url

    @property
    def cells(self) -> list[str]:
        return list(self.homes)

    def values(self, cell_id: str) -> dict[str, Any]:
        """As infra hands them over to whoever brings the version, with fewer processes."""
        settings = cell("local-cell-a", {"id": cell_id, "home_zone": self.homes[cell_id]})
        needs = cell_needs(settings, example_certificate())
        return {**cell_app_values(settings, needs), "replicasPerZone": REPLICAS}

    def install_ground(self, cell_id: str) -> None:
        """What infra makes of a cell."""
        settings = cell("local-cell-a", {"id": cell_id, "home_zone": self.homes[cell_id]})
        values = cell_platform_values(settings, cell_needs(settings, example_certificate()))
        install(self.api, [namespace(cell_id, role="cell"), *self.ground.render("cell-platform", values, cell_id)])

    def install_app(self, cell_id: str, image: str = OLD) -> None:
        repository, _, digest = image.partition("@")
        values = {**self.values(cell_id), "image": {"repository": repository, "digest": digest}}
        objects = self.ground.render("cell-app", values, cell_id)
        for one in objects:
            if one["kind"] == "Deployment":
                one["spec"]["minReadySeconds"] = MIN_READY_S
        install(self.api, objects)

    def deployments(self) -> dict[tuple[str, str], Object]:
        return {
            (cell_id, one["metadata"]["labels"]["cellwallet/zone"]): one
            for cell_id in self.cells
            for one in self.api.items(f"/apis/apps/v1/namespaces/{cell_id}/deployments")
        }

    def told(self) -> dict[tuple[str, str], str]:
        """What each zone of each cell is told to run."""
        return {key: _image(one) for key, one in self.deployments().items()}

    def running(self) -> dict[tuple[str, str], set[str]]:
        """What the ready processes really run."""
        found: dict[tuple[str, str], set[str]] = {}
        for cell_id in self.cells:
            for one in self.ground.stand_ins.processes(cell_id):
                found.setdefault((cell_id, one.zone), set()).add(one.image)
        return found

    def everywhere(self, image: str) -> dict[tuple[str, str], str]:
        return {(cell_id, zone): image for cell_id in self.cells for zone in ZONES}

    def generations(self) -> dict[tuple[str, str], int]:
        """How often what is to run was changed; 1 = as it was installed."""
        return {key: one["metadata"]["generation"] for key, one in self.deployments().items()}

    def nodes(self, zone: str) -> set[str]:
        found = self.api.items("/api/v1/nodes", labelSelector=f"{ZONE}={zone}")
        return {one["metadata"]["name"] for one in found}

    def closed_nodes(self) -> set[str]:
        nodes = self.api.items("/api/v1/nodes")
        return {one["metadata"]["name"] for one in nodes if one["spec"].get("unschedulable")}

    def primary_zones(self) -> dict[str, str]:
        return {
            cell_id: next(zone for zone, name in one.instances.items() if name == one.status["currentPrimary"])
            for cell_id, one in self.databases.items()
        }

    @asynccontextmanager
    async def control_plane(
        self, *, dies_at: str | None = None, mutant: str | None = None, is_born: bool = True
    ) -> AsyncIterator[ControlPlaneProcess]:
        """`is_born`: whether to wait for the directory of the fleet."""
        if dies_at is not None:
            self.crash_file.write_text(dies_at)
        async with control_plane_process(
            self._database_url,
            self.keys,
            self.folder / "control_plane.log",
            first_cells=len(self.cells),
            releases_by="kubernetes",
            kubernetes_config=self.ground.kubeconfig,
            prometheus_url=self.ground.prometheus_url,
            release_lease_s=1,
            crash_file=self.crash_file,
            variables={} if mutant is None else {"RELEASE_MUTANT": mutant, "PYTHONPATH": str(MUTATED)},
        ) as running:
            alive = [
                asyncio.create_task(self._show_signs_of_life(running)),
                asyncio.create_task(self._play_the_operator()),
            ]
            try:
                if is_born:
                    await until(running.directory)
                yield running
            finally:
                for one in alive:
                    one.cancel()
                await asyncio.gather(*alive, return_exceptions=True)

    async def order(self, platform: ControlPlaneProcess, image: str, **changes: Any) -> Any:
        body = {
            "release": {"label": "2.0", "image": image},
            "judged_by": JUDGED_BY,
            "canary": self.cells[0],
            "rollout_id": str(uuid.uuid4()),
            **changes,
        }
        return await platform.client.post("/v1/rollouts", json=body, headers=bearer(self.keys.operator()))

    async def __aenter__(self) -> Self:
        for cell_id in self.cells:
            self.install_ground(cell_id)
            self.install_app(cell_id)
            self.databases[cell_id].make(self.homes[cell_id])
        self.ground.stand_ins.cells = self.cells

        async def is_there() -> bool:
            processes = [one for cell_id in self.cells for one in self.ground.stand_ins.processes(cell_id)]
            return len(processes) == len(self.cells) * len(ZONES) * REPLICAS

        await until(is_there, deadline_s=READY_TIMEOUT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ground.stand_ins.cells = []
        for cell_id in self.cells:
            self.api.delete(f"/api/v1/namespaces/{cell_id}")

    async def _play_the_operator(self) -> None:
        """While the server may be silent, too."""
        while True:
            for database in self.databases.values():
                with suppress(ApiRefusedError, httpx.HTTPError):
                    await asyncio.to_thread(database.promote_if_asked)
            await asyncio.sleep(OPERATOR_LOOKS_S)

    async def _show_signs_of_life(self, platform: ControlPlaneProcess) -> None:
        while True:
            for cell_id, home in self.homes.items():
                for zone in ZONES:
                    instance = {"url": f"http://127.0.0.1:1/{cell_id}/{zone}", "zone": zone}
                    admin_url = self.ground.stand_ins.admin_url(cell_id)
                    body = registration(cell_id, admin_url, home_zone=home, instance=instance)
                    await platform.client.post("/v1/cells", json=body, headers=bearer(self.keys.join(cell_id)))
            await asyncio.sleep(SIGNS_OF_LIFE_S)


def may(kubeconfig: Path, asked: Mapping[str, str]) -> bool:
    """Whether the account of a kubeconfig may do something, by the server's own answer."""
    document = json.loads(kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    answer = httpx.post(
        f"{cluster['server']}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        json={"spec": {"resourceAttributes": dict(asked)}},
        headers=bearer(document["users"][0]["user"]["token"]),
        verify=_context(cluster["certificate-authority"]),
        trust_env=False,
    )
    if answer.status_code != 201:
        raise ApiRefusedError(answer.status_code, "", answer.text)
    return bool(answer.json()["status"]["allowed"])


def _context(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority)


def _image(deployment: Object) -> str:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    image: str = container["image"]
    return image
