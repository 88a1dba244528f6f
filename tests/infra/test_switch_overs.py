"""Switch-overs on a real API server with CloudNativePG's own types, beside what its own plugin does.

Its operator is played: what it makes of an order is not tried here, for no machine there could run PostgreSQL.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")
pytest.importorskip("yaml", reason="the extra `infra` is not installed")

from admin_cell import AdminCell
from fleet_world import cell as fleet_cell
from fleet_world import instance
from platform_keys import PlatformKeys
from releasing.played_databases import PlayedDatabases, serve_databases, told

from control_plane.cell_admin import CellAdmin, admin_client
from control_plane.keys import read_issuer_keys, read_signing_key
from control_plane.releaser.kubernetes_switch_overs import KubernetesSwitchOvers, open_switch_overs
from control_plane.releaser.switch_overs import (
    MustWait,
    SwitchedOver,
    SwitchOrder,
    SwitchOutcome,
    UnderWay,
)
from control_plane.tokens import Tokens
from infra.cluster.local import ZONES, LocalCluster
from infra.cluster.nodes import node_name

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def plugin(cluster: LocalCluster, tools_or_skip: Any) -> Path:
    program: Path = tools_or_skip(["kubectl-cnpg"])["kubectl-cnpg"]
    serve_databases(cluster, program)
    return program


class Site:
    """The databases of one cell in a namespace of its own: an instance in each zone; the first is the primary."""

    def __init__(self, cluster: LocalCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.databases = PlayedDatabases(cluster.api, name)
        self.deployment = f"/apis/apps/v1/namespaces/{name}/deployments/{name}-api"
        """Of the cell's processes."""

    @property
    def status(self) -> dict[str, Any]:
        return self.databases.status

    def make(self) -> None:
        api = self.cluster.api
        api.create("/api/v1/namespaces", {"metadata": {"name": self.name}})
        self.databases.make(ZONES[0])
        api.create(self.deployment.rpartition("/")[0], self._deployment())

    def order(self, **changes: Any) -> SwitchOrder:
        cell = fleet_cell(self.name, "active")
        return SwitchOrder(**{"cell": cell, "zone": ZONES[0], "direction": "away", "fence": 1, **changes})

    def _deployment(self) -> dict[str, Any]:
        mine = {"app.kubernetes.io/part-of": "cellwallet", "cellwallet/cell": self.name}
        containers = [{"name": "cell", "image": "registry.example/cell"}]
        template = {"metadata": {"labels": mine}, "spec": {"containers": containers}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{self.name}-api", "labels": mine},
            "spec": {"replicas": 0, "selector": {"matchLabels": mine}, "template": template},
        }


@pytest.fixture
def site(cluster: LocalCluster, plugin: Path, request: pytest.FixtureRequest) -> Site:
    del plugin
    made = Site(cluster, f"cell-{abs(hash(request.node.name)) % 100_000}")
    made.make()
    return made


@pytest.fixture
def keys(tmp_path: Path) -> PlatformKeys:
    return PlatformKeys(tmp_path)


@pytest.fixture
async def port(cluster: LocalCluster, site: Site, keys: PlatformKeys) -> AsyncIterator[KubernetesSwitchOvers]:
    own = read_signing_key(keys.signing_key_file, key_id="cp-1")
    tokens = Tokens(own=own, issuer=read_issuer_keys(keys.issuer_jwks_file), audience="cellwallet")
    cells = CellAdmin(admin_client(), tokens)
    opened = open_switch_overs(cluster.kubeconfig, namespace="{cell}", cells=cells)
    yield opened
    await opened.close()
    await cells.close()


async def begun(port: KubernetesSwitchOvers, order: SwitchOrder) -> SwitchOutcome:
    """Once the pods are known."""
    deadline = time.monotonic() + DEADLINE_S
    while not isinstance(outcome := await port.switch(order), UnderWay):
        assert time.monotonic() < deadline, outcome
        await asyncio.sleep(0.2)
    return outcome


async def test_the_operator_is_asked_as_its_own_plugin_asks_it(
    cluster: LocalCluster, plugin: Path, site: Site, port: KubernetesSwitchOvers
) -> None:
    other = Site(cluster, f"{site.name}-too")
    other.make()
    told(plugin, cluster, "promote", f"{other.name}-db", f"{other.name}-db-2", "--namespace", other.name)
    await begun(port, site.order())
    ours, theirs = site.status, other.status
    for name in ("targetPrimary", "currentPrimary", "phase", "phaseReason"):
        assert ours[name] == theirs[name].replace(other.name, site.name), name
    assert len(ours["targetPrimaryTimestamp"]) == len("2026-01-01T00:00:00.000000Z")


async def test_it_has_switched_when_the_operator_says_so(
    site: Site, port: KubernetesSwitchOvers, keys: PlatformKeys
) -> None:
    api = await AdminCell(site.name, keys.own_jwks()).start()
    try:
        cell = fleet_cell(site.name, "active", replace(instance(site.name), admin_url=api.admin_url))
        await begun(port, site.order(cell=cell))
        assert isinstance(await port.switch(site.order(cell=cell)), UnderWay)
        site.databases.promote()
        api.promotions = [2]
        there = await port.switch(site.order(cell=cell))
        assert isinstance(there, SwitchedOver)
        assert "timeline 2" in there.detail
        assert site.status["targetPrimary"] == f"{site.name}-db-2"
        elsewhere = await port.switch(site.order(cell=cell, zone=ZONES[2]))
        assert isinstance(elsewhere, SwitchedOver), "it is not there"
    finally:
        await api.stop()


async def test_the_order_stands_at_the_cell_and_starts_no_pod_again(site: Site, port: KubernetesSwitchOvers) -> None:
    before = site.cluster.api.read(site.deployment)
    await begun(port, site.order(fence=7))
    after = site.cluster.api.read(site.deployment)
    noted = f"{site.name}-db-2@{site.status['targetPrimaryTimestamp']}"
    assert after["metadata"]["annotations"]["cellwallet/switch-over"] == noted
    assert after["metadata"]["annotations"]["cellwallet/fence"] == "7"
    assert after["spec"] == before["spec"]


async def test_what_somebody_else_has_ordered_is_not_ours(
    cluster: LocalCluster, plugin: Path, site: Site, port: KubernetesSwitchOvers
) -> None:
    await begun(port, site.order())
    told(plugin, cluster, "promote", f"{site.name}-db", f"{site.name}-db-3", "--namespace", site.name)
    other = await port.switch(site.order())
    assert isinstance(other, MustWait)
    assert "not by our order" in other.detail


async def test_nobody_is_made_the_primary_where_nodes_take_no_pods(site: Site, port: KubernetesSwitchOvers) -> None:
    path = f"/api/v1/nodes/{node_name(ZONES[1], 1)}"
    site.cluster.api.patch(path, {"spec": {"unschedulable": True}})
    try:
        await begun(port, site.order())
    finally:
        site.cluster.api.patch(path, {"spec": {"unschedulable": None}})
    assert site.status["targetPrimary"] == f"{site.name}-db-3"
