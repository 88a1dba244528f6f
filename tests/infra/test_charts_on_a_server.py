"""Whatever the charts render is taken by a real API server, field by field; what is misspelt or cannot be meant is not.

By dry runs with strict validation: admission, defaults and the rules of CloudNativePG are the server's own.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from charts import EXAMPLES, Object, example
from kubernetes_site import INSTALLER, teach_databases

from infra.charts import helm_renderer
from infra.cluster.api import Api, ApiRefusedError
from infra.cluster.local import LocalCluster
from infra.manifests import Render, namespace

pytestmark = pytest.mark.only_a_cloud(
    "that the operators of Prometheus, of a Gateway and of backups take their objects"
)

ELSEWHERE = {"monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1"}
"""Kinds of other people's operators that are switched on by a value; their definitions are not here."""
Find = Callable[[list[str]], dict[str, Path]]


@pytest.fixture(scope="module")
def api(cluster: LocalCluster, tools_or_skip: Find) -> Api:
    teach_databases(cluster, tools_or_skip(["kubectl-cnpg"])["kubectl-cnpg"])
    return cluster.api


@pytest.fixture(scope="module")
def render(tools_or_skip: Find) -> Render:
    return helm_renderer(str(tools_or_skip(["helm"])["helm"]))


def home_of(api: Api, chart: str) -> str:
    name = f"dry-{chart}"
    api.apply(namespace(name, role="cell"), owner=INSTALLER)
    return name


def rendered(api: Api, render: Render, chart: str, name: str) -> list[Object]:
    return render(chart, example(chart, name), home_of(api, chart))


@pytest.mark.parametrize(("chart", "name"), EXAMPLES)
def test_every_object_of_every_example_is_taken(api: Api, render: Render, chart: str, name: str) -> None:
    taken = 0
    for one in rendered(api, render, chart, name):
        if one["apiVersion"] not in ELSEWHERE:
            api.apply(one, owner=INSTALLER, is_dry=True)
            taken += 1
    assert taken > 3


def a(kind: str, objects: list[Object]) -> Object:
    return copy.deepcopy(next(one for one in objects if one["kind"] == kind))


def test_a_field_that_the_server_does_not_know_is_refused(api: Api, render: Render) -> None:
    """The mutant: a server that took everything would prove nothing."""
    misspelt = a("Deployment", rendered(api, render, "cell-app", "three-zones"))
    misspelt["spec"]["replicass"] = misspelt["spec"].pop("replicas")
    with pytest.raises(ApiRefusedError, match="replicass"):
        api.apply(misspelt, owner=INSTALLER, is_dry=True)


@pytest.mark.parametrize(
    ("chart", "name", "kind", "field", "wrong", "complaint"),
    [
        ("cell-app", "three-zones", "Deployment", "replicas", -1, "greater than or equal to 0"),
        ("cell-app", "three-zones", "PodDisruptionBudget", "minAvailable", 1, "cannot be both set"),
        ("cell-platform", "small", "Cluster", "instances", 0, "instances"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    api: Api, render: Render, chart: str, name: str, kind: str, field: str, wrong: int, complaint: str
) -> None:
    """The mutant: its rules are the server's, beyond names of fields."""
    one = a(kind, rendered(api, render, chart, name))
    one["spec"][field] = wrong
    with pytest.raises(ApiRefusedError, match=complaint):
        api.apply(one, owner=INSTALLER, is_dry=True)


def test_a_field_has_one_owner_and_the_second_is_told_of_the_first(api: Api, render: Render) -> None:
    (one, *_) = [it for it in rendered(api, render, "cell-app", "three-zones") if it["kind"] == "PodDisruptionBudget"]
    api.apply(one, owner="first")
    other = copy.deepcopy(one)
    other["spec"]["maxUnavailable"] = 2
    with pytest.raises(ApiRefusedError, match='conflict with "first"') as refusal:
        api.apply(other, owner="second")
    assert refusal.value.status == 409
    api.apply(one, owner="second")
