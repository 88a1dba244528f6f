"""A real API server that is overloaded, broken, restarted or gone, as whoever brings releases to a cell meets it.

Between the two is a proxy that answers 429, 500, 503 and 410, cuts connections before and after the server did what was
asked, or says nothing at all. A release is brought once, or not at all and told so.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_site import INSTALLER, Site
from placed_pods import eventually
from urllib3.util import Retry

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

from faulty_proxy import CUT, LOST, SILENT, Fault, FaultyProxy, answers, faulty_proxy

from contract.values import value
from control_plane.fleet.model import Unreachable
from control_plane.releaser import cluster_calls
from control_plane.releaser.kubernetes_substrate import KubernetesSubstrate, open_kubernetes
from control_plane.releaser.substrate import ImageOrder, NotTaken, Taken
from control_plane.rollouts.model import CellSeen
from infra.charts import helm_renderer
from infra.cluster.local import ZONES, LocalCluster

CELL = "cell-a"
"""As the example's charts name it."""
OLD, NEW = (f"registry.example/cellwallet/cell@sha256:{digit * 64}" for digit in "12")
STUMBLES = {
    "too many requests": answers(429, Retry_After="1"),
    "internal error": answers(500),
    "no server ready": answers(503),
    "connection cut": CUT,
}
PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "cellwallet-api"},
    "value": 1,
}
"""Otherwise the chart of the control plane brings it."""
Find = Callable[[list[str]], dict[str, Path]]


@value
class Day:
    proxy: FaultyProxy
    substrate: KubernetesSubstrate
    site: Site
    home: str

    @property
    def order(self) -> ImageOrder:
        return ImageOrder(cell=CELL, zone=ZONES[0], expected=OLD, image=NEW, fence=1)

    def deployment(self) -> dict[str, Any]:
        """As it really is, past the proxy."""
        return self.site.api.read(f"/apis/apps/v1/namespaces/{self.home}/deployments/{CELL}-api-{ZONES[0]}")

    def image(self) -> str:
        found: str = self.deployment()["spec"]["template"]["spec"]["containers"][0]["image"]
        return found


@pytest.fixture(scope="module")
def site(cluster: LocalCluster, tools_or_skip: Find) -> Site:
    cluster.api.apply(PRIORITY, owner=INSTALLER)
    return Site(cluster.api, helm_renderer(str(tools_or_skip(["helm"])["helm"])))


@pytest.fixture
def home(site: Site, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"bad-day-{abs(hash(request.node.name)) % 100_000}"
    workload = site.plant(name, lambda _one: None)
    deployments = site.deployments(workload).values()
    eventually(lambda: all(site.is_rolled_out(name, one) for one in deployments), "it is not rolled out")
    yield name
    site.uproot(name)


@pytest.fixture
async def day(site: Site, home: str, tmp_path: Path) -> AsyncIterator[Day]:
    with faulty_proxy(site.api, tmp_path) as (proxy, kubeconfig):
        substrate = open_kubernetes(kubeconfig, namespace=home)
        yield Day(proxy=proxy, substrate=substrate, site=site, home=home)
        proxy.forget()
        proxy.end()
        await substrate.close()


@pytest.mark.parametrize("stumble", STUMBLES.values(), ids=STUMBLES)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_cluster_that_stumbles_is_asked_again_and_the_change_is_made_once(
    day: Day, stumble: Fault, method: str
) -> None:
    before = day.deployment()["metadata"]["generation"]
    day.proxy.fail(method, stumble, stumble)
    assert await day.substrate.put_image(day.order) == Taken()
    assert day.proxy.met == 2
    assert day.image() == NEW
    assert day.deployment()["metadata"]["generation"] == before + 1


async def test_without_asking_again_a_stumble_is_the_end(
    home: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: it is the client's patience that the test above shows."""
    monkeypatch.setattr(cluster_calls, "RETRIES", Retry(total=0))
    with faulty_proxy(site.api, tmp_path) as (proxy, kubeconfig):
        day = Day(proxy=proxy, substrate=open_kubernetes(kubeconfig, namespace=home), site=site, home=home)
        proxy.fail("PATCH", answers(500))
        assert isinstance(await day.substrate.put_image(day.order), Unreachable)
        assert day.image() == OLD
        await day.substrate.close()


async def test_a_change_whose_answer_was_lost_is_not_made_twice_and_is_seen(day: Day) -> None:
    before = day.deployment()["metadata"]["generation"]
    day.proxy.fail("PATCH", LOST)
    outcome = await day.substrate.put_image(day.order)
    assert isinstance(outcome, NotTaken), "whoever asks again finds that somebody was quicker: itself"
    assert day.deployment()["metadata"]["generation"] == before + 1
    seen = await day.substrate.look(CELL, NEW)
    assert isinstance(seen, CellSeen)
    (zone,) = [one for one in seen.zones if one.zone == ZONES[0]]
    assert zone.image == NEW


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_what_is_gone_is_told_nothing_is_changed_and_the_next_time_goes_on(day: Day, method: str) -> None:
    day.proxy.fail(method, answers(410))
    told = await day.substrate.put_image(day.order)
    assert isinstance(told, Unreachable)
    assert "410" in told.detail
    assert day.image() == OLD
    assert await day.substrate.put_image(day.order) == Taken()
    assert day.image() == NEW


@pytest.mark.parametrize("fault", [SILENT, answers(500)], ids=["silent", "internal error"])
async def test_a_cluster_that_never_answers_well_is_told_as_out_of_reach_and_nothing_is_changed(
    day: Day, fault: Fault
) -> None:
    day.proxy.fail("GET", *[fault] * 20)
    look, put = await day.substrate.look(CELL, NEW), await day.substrate.put_image(day.order)
    assert isinstance(look, Unreachable)
    assert isinstance(put, Unreachable)
    assert day.image() == OLD


async def test_two_owners_of_one_field_are_told_of_each_other(day: Day) -> None:
    """Whoever installs the chart once more with the former image overrules nothing in passing."""
    assert await day.substrate.put_image(day.order) == Taken()
    installed = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{CELL}-api-{ZONES[0]}", "namespace": day.home},
        "spec": {"template": {"spec": {"containers": [{"name": "cell", "image": OLD}]}}},
    }
    with pytest.raises(Exception, match=cluster_calls.MANAGER) as refusal:
        day.site.api.apply(installed, owner=INSTALLER)
    assert getattr(refusal.value, "status", None) == 409
    assert day.image() == NEW
