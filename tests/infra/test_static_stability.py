"""The loss of a zone needs nothing to happen: in each zone run as many as headroom says, and those left suffice.

Fleet and cell from the real charts, in three zones of which one has more machines than the others, so that whatever
is left to the scheduler's taste comes out uneven. Every claim has a mutant: a chart without the line that the claim
rests on, for which it does not hold.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes_site import Change, Site, Workload, teach_databases, uids
from placed_pods import DEADLINE_S, LOSSES, cordon, cordoned, drain, eventually, nodes_of, say_unready

from infra.charts import helm_renderer
from infra.cluster.local import ZONES, LocalCluster, local_cluster
from infra.cluster.nodes import ZONE, node
from infra.manifests import Object

pytestmark = [
    pytest.mark.only_a_cloud("that load balancers and DNS stop sending to a zone that is lost"),
    pytest.mark.only_a_cloud("that processes which are Ready carry the rate that their certificate says"),
]

LARGE_ZONE, LOST, DRAINED = ZONES[0], ZONES[2], ZONES[1]
NODES_PER_ZONE = 4
MORE_NODES = 6
"""Of the first zone."""
LEFT_BY_TRAFFIC = "not ready"
"""A zone that is only closed still serves, and leaving it is an order to the routers; the pods of machines that were
deleted are swept up by a controller that takes a minute.
"""
STUCK_S = 8.0
"""A drain that evicts nothing for so long does not go on: a budget of ours allows the next in less than a second."""
NAMES = ("router", "cell", "control-plane")
Find = Callable[[list[str]], dict[str, Path]]


@pytest.fixture(scope="module")
def site(
    control_plane_tools: dict[str, Path], tools_or_skip: Find, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    tools = tools_or_skip(["helm", "kubectl-cnpg"])
    folder = tmp_path_factory.mktemp("stability") / "local"
    with local_cluster(folder, tools=control_plane_tools, nodes_per_zone=NODES_PER_ZONE) as cluster:
        _make_uneven(cluster)
        teach_databases(cluster, tools["kubectl-cnpg"])
        made = Site(cluster.api, helm_renderer(str(tools["helm"])))
        made.install(release=1)
        yield made


def _make_uneven(cluster: LocalCluster) -> None:
    for number in range(NODES_PER_ZONE + 1, NODES_PER_ZONE + MORE_NODES + 1):
        cluster.api.create("/api/v1/nodes", node(LARGE_ZONE, number))


@pytest.fixture
def planted(site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[[Change], Workload]]:
    """A mutant of the cell's processes, for one test."""
    home = f"mutant-{abs(hash(request.node.name)) % 100_000}"
    yield lambda change: site.plant(home, change)
    site.uproot(home)


@pytest.mark.parametrize("name", NAMES)
def test_as_many_are_ready_in_each_zone_as_headroom_says(site: Site, name: str) -> None:
    site.until_complete(site.workloads[name])


def test_without_their_zone_the_same_processes_go_where_there_is_most_room(
    site: Site, planted: Callable[[Change], Workload]
) -> None:
    """The mutant: in this cluster even numbers do not come about by themselves, and without them a zone is too much."""
    workload = planted(_anywhere)
    total = workload.per_zone * len(ZONES)
    eventually(lambda: site.ready(workload).total() == total, "the mutant's pods are not ready")
    assert site.ready(workload) != dict.fromkeys(ZONES, workload.per_zone)
    assert workload.why_not_enough(site.ready(workload), lost=LARGE_ZONE) is not None


def _anywhere(one: Object) -> None:
    if one["kind"] == "Deployment":
        del one["spec"]["template"]["spec"]["affinity"]


def test_one_process_less_is_not_enough(site: Site, planted: Callable[[Change], Workload]) -> None:
    """The mutant: what headroom says is the least that suffices, not a number that happens to."""
    workload = planted(_one_less)
    per_zone = workload.per_zone - 1
    eventually(lambda: site.ready(workload) == dict.fromkeys(ZONES, per_zone), "the mutant's pods are not ready")
    assert workload.why_not_enough(site.ready(workload), lost=LOST) is not None


def _one_less(one: Object) -> None:
    if one["kind"] == "Deployment":
        one["spec"]["replicas"] -= 1


@pytest.mark.parametrize("way", LOSSES)
def test_a_lost_zone_leaves_enough_without_a_new_pod_and_a_release_begun_then_completes_elsewhere(
    site: Site, way: str
) -> None:
    for workload in site.workloads.values():
        site.until_complete(workload)
    before = {name: site.pods(workload) for name, workload in site.workloads.items()}
    images = {pod.image for pods in before.values() for pod in pods}
    with LOSSES[way](site.api, LOST):
        for name, workload in site.workloads.items():
            _nothing_new_is_needed(site, workload, uids(pod for pod in before[name] if pod.zone != LOST))
            if way == LEFT_BY_TRAFFIC:
                _nobody_is_sent_there(site, workload)
        site.install(release=_next_release(images))
        for workload in site.workloads.values():
            _completes_elsewhere(site, workload)
    for workload in site.workloads.values():
        site.until_complete(workload)


def _nothing_new_is_needed(site: Site, workload: Workload, before: set[str]) -> None:
    """Who was ready in the other zones is ready, that suffices, and nobody else is ready there."""
    pods = [pod for pod in site.pods(workload) if pod.is_ready and pod.zone != LOST]
    assert uids(pods) == before, workload.name
    assert workload.why_not_enough(site.ready(workload), lost=LOST) is None


def _nobody_is_sent_there(site: Site, workload: Workload) -> None:
    """By any Service: its slices name no ready endpoint there, and those of the other zones."""
    others = {zone for zone in ZONES if zone != LOST}

    def is_left() -> bool:
        return {one.get("zone") for one in _endpoints(site, workload) if one["conditions"]["ready"]} == others

    eventually(is_left, lambda: f"{workload.name}: {_endpoints(site, workload)}")


def _endpoints(site: Site, workload: Workload, service: str | None = None) -> list[dict[str, Any]]:
    """Of one Service, or of all; one without a zone is of a machine that is there no more."""
    selector = {} if service is None else {"labelSelector": f"kubernetes.io/service-name={service}"}
    slices = site.api.items(f"/apis/discovery.k8s.io/v1/namespaces/{workload.home}/endpointslices", **selector)
    found = [one for part in slices for one in part["endpoints"] or []]
    pods = {pod.name for pod in site.pods(workload)}
    return [one for one in found if one.get("targetRef", {}).get("name") in pods]


@pytest.mark.parametrize("name", ["router", "cell"])
def test_traffic_is_told_to_stay_in_its_zone(site: Site, name: str) -> None:
    workload = site.workloads[name]
    site.until_complete(workload)
    services = [one for one in _services(site, workload) if "trafficDistribution" in one["spec"]]
    assert services
    for service in services:
        _stays_in_its_zone(site, workload, service["metadata"]["name"])


def test_without_the_word_for_it_traffic_is_told_nothing(site: Site) -> None:
    """The mutant: the same Service, but for that one line."""
    workload = site.workloads["cell"]
    site.until_complete(workload)
    found = next(one for one in _services(site, workload) if "trafficDistribution" in one["spec"])
    silent = {
        "metadata": {"name": "silent"},
        "spec": {"selector": found["spec"]["selector"], "ports": found["spec"]["ports"]},
    }
    path = f"/api/v1/namespaces/{workload.home}/services"
    site.api.create(path, silent)
    try:
        with pytest.raises(AssertionError, match="does not stay"):
            _stays_in_its_zone(site, workload, "silent", seconds=STUCK_S)
        assert _endpoints(site, workload, "silent")
    finally:
        site.api.delete(f"{path}/silent")


def _services(site: Site, workload: Workload) -> list[dict[str, Any]]:
    return site.api.items(f"/api/v1/namespaces/{workload.home}/services")


def _stays_in_its_zone(site: Site, workload: Workload, service: str, *, seconds: float = DEADLINE_S) -> None:
    def does() -> bool:
        found = _endpoints(site, workload, service)
        hints = [[zone["name"] for zone in one.get("hints", {}).get("forZones", [])] for one in found]
        return bool(found) and hints == [[one.get("zone")] for one in found]

    eventually(does, lambda: f"it does not stay: {_endpoints(site, workload, service)}", seconds=seconds)


def _next_release(images: set[str]) -> int:
    return max(int(image[-1]) for image in images) + 1


def _completes_elsewhere(site: Site, workload: Workload) -> None:
    """And takes nothing away meanwhile."""
    deployments = site.deployments(workload)
    others = [zone for zone in ZONES if zone != LOST]

    def is_done() -> bool:
        ready = site.ready(workload)
        assert all(ready[zone] >= workload.per_zone for zone in others), f"{workload.name}: {ready}"
        return all(site.is_rolled_out(workload.home, deployments[zone]) for zone in others)

    eventually(is_done, lambda: f"{workload.name} is not rolled out: {site.pods(workload)}")


def test_one_deployment_spread_over_zones_does_not_complete_while_a_zone_is_closed(
    site: Site, planted: Callable[[Change], Workload]
) -> None:
    """The mutant: the usual constraint leaves a release waiting exactly when a zone is away."""
    workload = planted(_spread_over_zones)
    deployment = site.deployments(workload)[LARGE_ZONE]
    total = workload.per_zone * len(ZONES)
    eventually(lambda: site.ready(workload).total() == total, "the mutant's pods are not ready")
    with cordoned(site.api, LOST):
        site.plant(workload.home, _spread_over_zones, release=2)
        eventually(lambda: _has_one_waiting(site, workload), "nothing waits for a place")
        with pytest.raises(AssertionError, match="it does not"):
            eventually(lambda: site.is_rolled_out(workload.home, deployment), "it does not", seconds=STUCK_S)
        assert _has_one_waiting(site, workload)


def _has_one_waiting(site: Site, workload: Workload) -> bool:
    return any(pod.node is None for pod in site.pods(workload))


def _spread_over_zones(one: Object) -> None:
    """The Deployment of the first zone becomes that of all, the others are of none."""
    if one["kind"] != "Deployment":
        return
    spec = one["spec"]
    spec["replicas"] *= len(ZONES) if one["metadata"]["labels"]["cellwallet/zone"] == LARGE_ZONE else 0
    pod = spec["template"]["spec"]
    del pod["affinity"]
    pod["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": ZONE,
            "whenUnsatisfiable": "DoNotSchedule",
            "matchLabelKeys": ["pod-template-hash"],
            "labelSelector": spec["selector"],
        }
    ]


def test_a_release_that_finds_no_place_takes_nothing_away(site: Site, planted: Callable[[Change], Workload]) -> None:
    workload = planted(_unchanged)
    site.until_complete(workload)
    with cordoned(site.api, LOST):
        site.plant(workload.home, _unchanged, release=2)
        eventually(lambda: _has_one_waiting(site, workload), "nothing waits for a place")
        assert site.ready(workload)[LOST] == workload.per_zone


def test_a_strategy_that_ends_before_it_begins_takes_all_of_the_zone_away(
    site: Site, planted: Callable[[Change], Workload]
) -> None:
    """The mutant: with another strategy the same release leaves nothing in the closed zone."""
    workload = planted(_ends_first)
    site.until_complete(workload)
    with cordoned(site.api, LOST):
        site.plant(workload.home, _ends_first, release=2)
        eventually(lambda: site.ready(workload)[LOST] == 0, "it takes nothing away")


def _unchanged(_one: Object) -> None:
    """The chart as it is."""


def _ends_first(one: Object) -> None:
    if one["kind"] == "Deployment":
        one["spec"]["strategy"] = {"type": "Recreate"}


@pytest.mark.parametrize("name", NAMES)
def test_the_nodes_of_a_zone_are_drained_one_after_the_other_and_one_process_is_missing_at_most(
    site: Site, name: str
) -> None:
    workload = site.workloads[name]
    site.until_complete(workload)
    lowest = workload.per_zone

    def watch() -> None:
        nonlocal lowest
        lowest = min(lowest, site.ready(workload)[DRAINED])

    for machine in _machines(site):
        with _drained(site, machine, [workload.home], watch) as left:
            assert left == []
        site.until_complete(workload)
    assert lowest >= workload.per_zone - 1


def test_a_zone_that_is_drained_as_a_whole_loses_one_process_and_keeps_the_others(
    site: Site, planted: Callable[[Change], Workload]
) -> None:
    workload = planted(_unchanged)
    site.until_complete(workload)
    with _drained_as_a_whole(site, workload) as left:
        assert len(left) == workload.per_zone - 1
        assert site.ready(workload)[DRAINED] == workload.per_zone - 1


def test_without_a_budget_it_loses_all_of_them(site: Site, planted: Callable[[Change], Workload]) -> None:
    """The mutant: nothing else holds a drain back."""

    def lax(one: Object) -> None:
        if one["kind"] == "PodDisruptionBudget":
            one["spec"]["maxUnavailable"] = "100%"

    workload = planted(lax)
    site.until_complete(workload)
    with _drained_as_a_whole(site, workload) as left:
        assert left == []
        assert site.ready(workload)[DRAINED] == 0


def test_processes_that_never_become_ready_do_not_hold_up_a_drain(
    site: Site, planted: Callable[[Change], Workload]
) -> None:
    workload = planted(_unchanged)
    assert _left_of_a_broken_zone(site, workload) == []


def test_with_the_usual_policy_they_do(site: Site, planted: Callable[[Change], Workload]) -> None:
    """The mutant: a budget that lets only healthy pods go."""

    def usual(one: Object) -> None:
        if one["kind"] == "PodDisruptionBudget":
            one["spec"]["unhealthyPodEvictionPolicy"] = "IfHealthyBudget"

    assert _left_of_a_broken_zone(site, planted(usual)) != []


def test_a_budget_that_wants_all_of_them_holds_up_every_drain(
    site: Site, planted: Callable[[Change], Workload]
) -> None:
    """The mutant: as many as there are, the commonest budget of all."""

    def strict(one: Object) -> None:
        if one["kind"] == "PodDisruptionBudget":
            del one["spec"]["maxUnavailable"]
            one["spec"]["minAvailable"] = site.workloads["cell"].per_zone

    workload = planted(strict)
    site.until_complete(workload)
    left: list[str] = []
    for machine in _machines(site):
        with _drained(site, machine, [workload.home]) as held:
            left += held
    assert len(left) == workload.per_zone


def _left_of_a_broken_zone(site: Site, workload: Workload) -> list[str]:
    """Two of the zone's processes have failed; what is left on their nodes after these were drained."""
    site.until_complete(workload)
    broken = [pod for pod in site.pods(workload) if pod.zone == DRAINED][:2]
    for pod in broken:
        say_unready(site.api, workload.home, pod.name)
    eventually(lambda: site.ready(workload)[DRAINED] == workload.per_zone - 2, "they are still ready")
    healthy = len(ZONES) * workload.per_zone - 2
    eventually(lambda: site.counted_by_budgets(workload) == healthy, "budgets do not know that they have failed")
    left: list[str] = []
    for machine in sorted({str(pod.node) for pod in broken}):
        with _drained(site, machine, [workload.home]) as held:
            left += held
    return left


def _look_on() -> None:
    """Nobody counts."""


@contextmanager
def _drained(site: Site, machine: str, homes: list[str], watch: Callable[[], None] = _look_on) -> Iterator[list[str]]:
    """And open again afterwards; what could not be evicted."""
    try:
        yield drain(site.api, machine, homes, patience_s=STUCK_S, watch=watch)
    finally:
        cordon(site.api, machine, is_closed=False)


@contextmanager
def _drained_as_a_whole(site: Site, workload: Workload) -> Iterator[list[str]]:
    """All machines are closed before the first pod is asked to go, so none finds another place in the zone."""
    with cordoned(site.api, DRAINED):
        left = (drain(site.api, one, [workload.home], patience_s=STUCK_S, watch=_look_on) for one in _machines(site))
        yield [pod for of_machine in left for pod in of_machine]


def _machines(site: Site) -> list[str]:
    return [one["metadata"]["name"] for one in nodes_of(site.api, DRAINED)]
