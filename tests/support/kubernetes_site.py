"""A fleet with one cell on a local cluster: the real charts with the numbers of the stacks' examples, without Pulumi.

The clock of a roll-out is the tests': `minReadySeconds` is 1 here. Everything else is as the charts write it.
"""

import copy
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from placed_pods import Placed, eventually, placed, ready_per_zone
from stacks import cell, example_certificate, fleet

from cellwallet.headroom.tier import Tier
from contract.values import value
from infra.cluster.api import Api, ApiRefusedError
from infra.cluster.local import ZONES, LocalCluster
from infra.headroom import cell_needs, fleet_needs
from infra.manifests import Object, Render, cell_app_values, in_namespace, namespace
from infra.planning import plan_cell, plan_fleet

FLEET, CELL = "local-fleet", "local-cell-a"
INSTALLER = "tests"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DATABASES = "/apis/postgresql.cnpg.io/v1"
Change = Callable[[Object], None]
"""Of a Deployment or a budget, in place."""


@value
class Workload:
    name: str
    """As `app.kubernetes.io/name` says it."""
    home: str
    per_zone: int
    missing: int
    """Of each zone, that may be missing besides a lost zone."""
    needed_per_zone: int
    """Of each zone that is left, for the whole demand."""

    @property
    def selector(self) -> str:
        return f"app.kubernetes.io/name={self.name}"

    def why_not_enough(self, ready: Counter[str], *, lost: str) -> str | None:
        """None if the zones that are left carry everything."""
        for zone in ZONES:
            working = ready[zone] - self.missing
            if zone != lost and working < self.needed_per_zone:
                return f"{working} of {self.name} work in {zone}, {self.needed_per_zone} are needed without {lost}"
        return None


def workloads() -> dict[str, Workload]:
    """By the settings of the examples; what is needed is reckoned anew from demand and safe rate."""
    fleet_settings, cell_settings = fleet(FLEET), cell(CELL)
    routers = fleet_needs(fleet_settings, example_certificate()).routers
    api = cell_needs(cell_settings, example_certificate()).api
    control_plane = fleet_settings.control_plane.replicas_per_zone
    network = fleet_settings.network
    found = (
        _tier("router", network.router_namespace, routers),
        _tier("cell", cell_settings.id, api),
        Workload(
            name="control-plane",
            home=network.control_plane_namespace,
            per_zone=control_plane,
            missing=0,
            needed_per_zone=1,
        ),
    )
    return {one.name: one for one in found}


def _tier(name: str, home: str, tier: Tier) -> Workload:
    return Workload(
        name=name,
        home=home,
        per_zone=tier.processes_per_zone,
        missing=tier.missing,
        needed_per_zone=replace(tier, missing=0).processes_per_zone,
    )


class Site:
    def __init__(self, api: Api, render: Render) -> None:
        self.api = api
        self.workloads = workloads()
        self._render = render

    @property
    def homes(self) -> list[str]:
        return [one.home for one in self.workloads.values()]

    def install(self, release: int) -> None:
        """Everything, with images of that release; a second time is an upgrade."""
        for one in self._objects(release):
            self.api.apply(_hurried(one), owner=INSTALLER)

    def pods(self, workload: Workload) -> list[Placed]:
        return placed(self.api, workload.home, workload.selector)

    def ready(self, workload: Workload) -> Counter[str]:
        return ready_per_zone(self.pods(workload))

    def counted_by_budgets(self, workload: Workload) -> int:
        """Healthy pods, as the controller of budgets knows them: it lets go by that, a moment after they are."""
        path = f"/apis/policy/v1/namespaces/{workload.home}/poddisruptionbudgets"
        found = self.api.items(path, labelSelector=workload.selector)
        return sum((one.get("status") or {}).get("currentHealthy", 0) for one in found)

    def until_complete(self, workload: Workload) -> None:
        """As many as headroom says in each zone, all of one image."""

        def is_complete() -> bool:
            pods = self.pods(workload)
            return (
                ready_per_zone(pods) == dict.fromkeys(ZONES, workload.per_zone)
                and len(pods) == workload.per_zone * len(ZONES)
                and len({pod.image for pod in pods}) == 1
            )

        def told() -> str:
            return f"{workload.name} is not complete: {self.pods(workload)}"

        eventually(is_complete, told)

    def is_rolled_out(self, home: str, deployment: str) -> bool:
        """By the counts of the generation that was asked for: conditions may be of the one before."""
        found = self.api.read(f"/apis/apps/v1/namespaces/{home}/deployments/{deployment}")
        status, replicas = found["status"], found["spec"]["replicas"]
        counts = (status.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas"))
        is_seen: bool = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        return is_seen and all(count == replicas for count in counts)

    def deployments(self, workload: Workload) -> dict[str, str]:
        """Zone → name."""
        found = self.api.items(f"/apis/apps/v1/namespaces/{workload.home}/deployments", labelSelector=workload.selector)
        return {one["metadata"]["labels"]["cellwallet/zone"]: one["metadata"]["name"] for one in found}

    def plant(self, home: str, change: Change, *, release: int = 1) -> Workload:
        """The cell's processes and budgets once more, in a namespace of their own, each object changed: a mutant."""
        workload = replace(self.workloads["cell"], home=home)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "cell"}}
        kinds = {"Deployment", "PodDisruptionBudget"}
        objects = [one for one in self._cell_app(release, home) if one["kind"] in kinds]
        for one in objects:
            change(one)
        for one in [namespace(home, role="cell"), *in_namespace([account], home), *objects]:
            self.api.apply(_hurried(one), owner=INSTALLER)
        return workload

    def uproot(self, home: str) -> None:
        """It goes by itself, in some ten seconds that nobody waits for: names are not used again."""
        self.api.delete(f"/api/v1/namespaces/{home}")

    def _objects(self, release: int) -> list[Object]:
        image = {"image": {"digest": _digest(release)}}
        fleet_settings = fleet(FLEET, {"router": image, "control_plane": image})
        cell_settings = cell(CELL)
        fleet_plan = plan_fleet(fleet_settings, fleet_needs(fleet_settings, example_certificate()), self._render)
        cell_plan = plan_cell(cell_settings, cell_needs(cell_settings, example_certificate()), self._render)
        planned = [*fleet_plan.control_plane, *fleet_plan.routers, *cell_plan]
        return [*(dict(one.inputs) for one in planned), *self._cell_app(release, cell_settings.id)]

    def _cell_app(self, release: int, home: str) -> list[Object]:
        settings = cell(CELL)
        values = cell_app_values(settings, cell_needs(settings, example_certificate()))
        image = {"repository": "registry.example/cellwallet/cell", "digest": _digest(release)}
        return self._render("cell-app", {**values, "image": image}, home)


def _digest(release: int) -> str:
    return "sha256:" + str(release % 10) * 64


def _hurried(one: Object) -> Object:
    if one["kind"] != "Deployment":
        return one
    changed = copy.deepcopy(one)
    changed["spec"]["minReadySeconds"] = 1
    return changed


def teach_databases(cluster: LocalCluster, kubectl_cnpg: Path) -> None:
    """It knows what a Cluster of CloudNativePG is, by the definitions that the operator's own tool prints."""
    where = ["--kubeconfig", str(cluster.kubeconfig), "--cache-dir", str(cluster.folder / "discovery")]
    words = [kubectl_cnpg, "install", "generate", *where]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    definitions = [one for one in yaml.safe_load_all(told.stdout) if one and _is_definition(one)]
    for one in definitions:
        cluster.api.create(CRDS, one)
    kinds = {one["spec"]["names"]["kind"] for one in definitions}
    eventually(lambda: kinds <= _kinds(cluster.api, DATABASES), "the API does not know databases")


def _is_definition(one: dict[str, Any]) -> bool:
    return bool(one["kind"] == "CustomResourceDefinition")


def _kinds(api: Api, path: str) -> set[str]:
    try:
        return {one["kind"] for one in api.read(path)["resources"]}
    except ApiRefusedError:
        return set()


def uids(pods: Iterable[Placed]) -> set[str]:
    return {pod.uid for pod in pods}
