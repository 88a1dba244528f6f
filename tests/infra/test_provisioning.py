"""Fleet and cells on a real API server with simulated nodes, brought there by Pulumi's engine from the real charts."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stacks import cell, document, example_certificate, fleet

pytest.importorskip("pulumi", reason="the package pulumi is not installed: pip install 'cellwallet[infra]'")

from applying_provider import ApplyingProvider
from engine_stacks import LEAVES_LOOPS, Engine, engine, nothing_left, up
from kubernetes_site import teach_databases
from placed_pods import eventually
from pulumi import automation as auto
from stand_in_provider import serving

from infra.charts import helm_renderer
from infra.cluster.api import ApiRefusedError
from infra.cluster.local import ZONES, LocalCluster
from infra.cluster.nodes import ZONE
from infra.headroom import cell_needs, fleet_needs
from infra.manifests import cell_platform_values

pytestmark = [
    *LEAVES_LOOPS,
    pytest.mark.only_a_cloud("that the official provider of Kubernetes does what the one that stands in does"),
]
__all__ = ["nothing_left"]

LOCAL = ("local-fleet", "local-cell-a", "local-cell-b")
Find = Callable[[list[str]], dict[str, Path]]


@pytest.fixture(scope="module")
def tools(tools_or_skip: Find) -> dict[str, Path]:
    return tools_or_skip(["pulumi", "helm", "kubectl-cnpg"])


@pytest.fixture(scope="module")
def with_databases(cluster: LocalCluster, tools: dict[str, Path]) -> LocalCluster:
    """It knows what a Cluster of CloudNativePG is; nobody acts on one."""
    teach_databases(cluster, tools["kubectl-cnpg"])
    return cluster


@pytest.fixture(scope="module")
def platform(
    with_databases: LocalCluster, tools: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Platform"]:
    folder = tmp_path_factory.mktemp("engine") / "engine"
    folder.mkdir()
    provider = ApplyingProvider(folder / "discovery.json")
    with serving(provider) as port, engine(tools["pulumi"], folder, {"kubernetes": port}) as running:
        made = Platform(with_databases, running, helm_renderer(str(tools["helm"])))
        for name in LOCAL:
            assert set(up(made.stack(name))) == {"create"}, name
        yield made


class Platform:
    def __init__(self, cluster: LocalCluster, running: Engine, render: Any) -> None:
        self.api = cluster.api
        self._kubeconfig = str(cluster.kubeconfig)
        self._engine = running
        self._render = render

    def stack(self, name: str, changes: dict[str, Any] | None = None) -> auto.Stack:
        asked = document(name, changes)
        asked["substrate"] = {"kind": "kubeconfig", "context": "local", "file": self._kubeconfig}
        return self._engine.stack(name, asked, render=self._render)

    def versions(self, home: str) -> dict[str, str]:
        """Of everything in a namespace that we brought there."""
        kinds = (
            *("/api/v1/{}/serviceaccounts", "/api/v1/{}/resourcequotas", "/api/v1/{}/limitranges"),
            *("/apis/networking.k8s.io/v1/{}/networkpolicies", "/apis/rbac.authorization.k8s.io/v1/{}/roles"),
            *("/apis/rbac.authorization.k8s.io/v1/{}/rolebindings", "/apis/postgresql.cnpg.io/v1/{}/clusters"),
        )
        return {
            f"{kind} {one['metadata']['name']}": one["metadata"]["resourceVersion"]
            for kind in kinds
            for one in self.api.items(kind.format(f"namespaces/{home}"))
        }


def ready_per_zone(platform: Platform, home: str, name: str) -> Counter[str]:
    zone_of = {one["metadata"]["name"]: one["metadata"]["labels"][ZONE] for one in platform.api.items("/api/v1/nodes")}
    return Counter(
        zone_of[pod["spec"]["nodeName"]]
        for pod in platform.api.items(f"/api/v1/namespaces/{home}/pods", labelSelector=f"app.kubernetes.io/name={name}")
        if any(it["type"] == "Ready" and it["status"] == "True" for it in pod["status"].get("conditions", []))
    )


def test_as_many_routers_are_ready_in_each_zone_as_headroom_says(platform: Platform) -> None:
    expected = fleet_needs(fleet("local-fleet"), example_certificate()).routers_per_zone

    def is_there() -> bool:
        return ready_per_zone(platform, "router", "router") == dict.fromkeys(ZONES, expected)

    eventually(is_there, "routers are not ready in each zone")


def test_a_second_time_changes_nothing(platform: Platform) -> None:
    before = {home: platform.versions(home) for home in ("cell-a", "cell-b")}
    for name in LOCAL:
        assert up(platform.stack(name)) == {}, name
    assert {home: platform.versions(home) for home in before} == before
    assert all(before.values())


def test_drift_is_seen_and_another_owner_is_told_of_and_not_overruled(platform: Platform) -> None:
    path = "/apis/apps/v1/namespaces/router/deployments/router-zone-b"
    expected = platform.api.read(path)["spec"]["replicas"]
    platform.api.patch(path, {"spec": {"replicas": expected + 3}})
    stack = platform.stack("local-fleet")
    assert dict(stack.preview_refresh().change_summary).get("update") == 1
    stack.refresh()
    with pytest.raises(auto.CommandError, match="conflict"):
        up(stack)
    platform.api.patch(path, {"spec": {"replicas": expected}})
    stack.refresh()
    assert up(stack) == {}


def test_an_update_that_the_server_refuses_in_the_middle_converges(platform: Platform) -> None:
    """Of the server's own making: a policy of admission lets one Deployment of three not be changed."""
    newer = {"router": {"image": {"digest": "sha256:" + "9" * 64}}}
    before = router_images(platform)
    with out_of_order(platform, "router-zone-b"):
        with pytest.raises(auto.CommandError, match="router-zone-b is out of order"):
            platform.stack("local-fleet", newer).up()
        assert router_images(platform)["router-zone-b"] == before["router-zone-b"]
    assert "update" in up(platform.stack("local-fleet", newer))
    assert {image[-64:] for image in router_images(platform).values()} == {"9" * 64}
    assert up(platform.stack("local-fleet", newer)) == {}
    up(platform.stack("local-fleet"))
    assert router_images(platform) == before


def router_images(platform: Platform) -> dict[str, str]:
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["image"]
        for one in platform.api.items("/apis/apps/v1/namespaces/router/deployments")
    }


@contextmanager
def out_of_order(platform: Platform, deployment: str) -> Iterator[None]:
    """Nobody may change it; its controllers may still say how it is."""
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    refusal = {
        "expression": f"object.metadata.name != '{deployment}'",
        "message": f"{deployment} is out of order",
    }
    specs = {
        "ValidatingAdmissionPolicy": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [refusal],
        },
        "ValidatingAdmissionPolicyBinding": {"policyName": deployment, "validationActions": ["Deny"]},
    }
    made = [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": deployment}, "spec": spec}
        for kind, spec in specs.items()
    ]
    path = f"/apis/apps/v1/namespaces/router/deployments/{deployment}"
    for one in made:
        platform.api.apply(one, owner="tests")
    try:
        eventually(lambda: not may_be_changed(platform, path), "the policy is not in force")
        yield
    finally:
        for one in made:
            platform.api.delete(f"{platform.api.path_of(one)}/{deployment}")
        eventually(lambda: may_be_changed(platform, path), "the policy is still in force")


def may_be_changed(platform: Platform, path: str) -> bool:
    """By a change that changes nothing, which is asked about all the same."""
    try:
        platform.api.patch(path, {"metadata": {"annotations": {"cellwallet/nothing": None}}})
    except ApiRefusedError:
        return False
    return True


def test_a_cell_s_quota_is_what_headroom_reckons_with(platform: Platform) -> None:
    settings = cell("local-cell-a")
    asked = cell_platform_values(settings, cell_needs(settings, example_certificate()))["quota"]
    hard = platform.api.read("/api/v1/namespaces/cell-a/resourcequotas/cell")["spec"]["hard"]
    assert (hard["pods"], hard["limits.cpu"]) == (str(asked["pods"]), asked["cpu"])


def test_what_the_control_plane_brings_stays_as_it_is(platform: Platform) -> None:
    labels = {"app.kubernetes.io/name": "cell"}
    security = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    security["seccompProfile"] = {"type": "RuntimeDefault"}
    container = {"name": "cell", "image": "registry.example/cell@sha256:" + "7" * 64, "securityContext": security}
    release = {
        "metadata": {"name": "cell-a-api-zone-a"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    path = "/apis/apps/v1/namespaces/cell-a/deployments"
    platform.api.create(path, release)
    before = platform.api.read(f"{path}/cell-a-api-zone-a")["spec"]
    up(platform.stack("local-cell-a", {"network": {"webhooks": False}}))
    assert platform.api.read(f"{path}/cell-a-api-zone-a")["spec"] == before
    assert up(platform.stack("local-cell-a")) == {"update": 1}
    platform.api.delete(f"{path}/cell-a-api-zone-a")


def test_the_server_refuses_what_the_schema_of_databases_forbids(platform: Platform) -> None:
    """The mutant: an API server that took everything would prove nothing."""
    wrong = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "wrong"}}
    path = "/apis/postgresql.cnpg.io/v1/namespaces/cell-a/clusters"
    with pytest.raises(ApiRefusedError) as refusal:
        platform.api.create(path, {**wrong, "spec": {"instances": 0}})
    assert refusal.value.status in {400, 422}


def test_deleting_one_cell_touches_no_other(platform: Platform) -> None:
    before = {home: platform.versions(home) for home in ("cell-a", "router", "control-plane")}
    with pytest.raises(auto.CommandError, match="protect"):
        platform.stack("local-cell-b").destroy()
    retired = platform.stack("local-cell-b", {"is_retired": True})
    assert up(retired) == {}
    retired.destroy()
    homes = {one["metadata"]["name"] for one in platform.api.items("/api/v1/namespaces")}
    assert "cell-b" not in homes
    assert {home: platform.versions(home) for home in before} == before
    assert set(up(platform.stack("local-cell-b"))) == {"create"}, "and it can be made again"


def test_versions_are_of_something(platform: Platform) -> None:
    counted = functools.reduce(lambda total, home: total + len(platform.versions(home)), ("cell-a", "router"), 0)
    assert counted > 10
