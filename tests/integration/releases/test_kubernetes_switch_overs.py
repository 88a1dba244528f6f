"""Switch-overs by CloudNativePG: what is asked of a cluster, and that a cell goes on with a promotion of ours alone.

The operator is played: it makes whoever was asked for the primary.
"""

import copy
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

from admin_cell import AdminCell
from fleet_world import cell, instance
from platform_keys import PlatformKeys
from releasing.small_api_server import SmallApiServer, small_api_server

from contract.quarantine import QuarantineNow
from control_plane.cell_admin import CellAdmin, admin_client
from control_plane.fleet.model import Cell, Unreachable
from control_plane.keys import read_issuer_keys, read_signing_key
from control_plane.releaser.kubernetes_switch_overs import KubernetesSwitchOvers, open_switch_overs
from control_plane.releaser.switch_overs import (
    MustWait,
    NotAvailable,
    SwitchedOver,
    SwitchFailed,
    SwitchOrder,
    UnderWay,
)
from control_plane.tokens import Tokens

ZONE = "topology.kubernetes.io/zone"
LABELS = {"app.kubernetes.io/part-of": "cellwallet", "cellwallet/cell": "cell-1"}
INSTANCES = {"cell-1-db-1": "a", "cell-1-db-2": "b", "cell-1-db-3": "c"}


def cluster() -> dict[str, Any]:
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "cell-1-db", "resourceVersion": "7"},
        "status": {
            "currentPrimary": "cell-1-db-1",
            "targetPrimary": "cell-1-db-1",
            "targetPrimaryTimestamp": "2026-01-01T00:00:00.000000Z",
            "phase": "Cluster in healthy state",
            "instancesStatus": {"healthy": list(INSTANCES)},
        },
    }


def pod(name: str) -> dict[str, Any]:
    labels = {"cnpg.io/cluster": "cell-1-db", "cnpg.io/podRole": "instance"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": f"node-{INSTANCES[name]}", "containers": []},
    }


def node(zone: str) -> dict[str, Any]:
    return {"metadata": {"name": f"node-{zone}", "labels": {ZONE: zone}}, "spec": {}}


def deployment() -> dict[str, Any]:
    container = {"name": "cell", "image": "registry.example/cell@sha256:0"}
    return {
        "metadata": {
            "name": "cell-1-api-a",
            "labels": {**LABELS, "cellwallet/zone": "a"},
            "annotations": {"cellwallet/fence": "3"},
            "resourceVersion": "4",
        },
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}},
        },
    }


@pytest.fixture
def server() -> Iterator[SmallApiServer]:
    with small_api_server() as served:
        served.objects["clusters"] = [cluster()]
        served.objects["pods"] = [pod(name) for name in INSTANCES]
        served.objects["nodes"] = [node(zone) for zone in "abc"]
        served.objects["deployments"] = [deployment()]
        yield served


@pytest.fixture
def keys(tmp_path: Path) -> PlatformKeys:
    return PlatformKeys(tmp_path)


@pytest.fixture
async def api(keys: PlatformKeys) -> AsyncIterator[AdminCell]:
    started = await AdminCell("cell-1", keys.own_jwks()).start()
    yield started
    await started.stop()


@pytest.fixture
async def port(server: SmallApiServer, keys: PlatformKeys, tmp_path: Path) -> AsyncIterator[KubernetesSwitchOvers]:
    kubeconfig = tmp_path / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "one", "cluster": {"server": server.url}}],
        "users": [{"name": "one", "user": {}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "current-context": "one",
    }
    kubeconfig.write_text(json.dumps(document))
    own = read_signing_key(keys.signing_key_file, key_id="cp-1")
    tokens = Tokens(own=own, issuer=read_issuer_keys(keys.issuer_jwks_file), audience="cellwallet")
    cells = CellAdmin(admin_client(), tokens)
    opened = open_switch_overs(kubeconfig, namespace="{cell}", cells=cells)
    yield opened
    await opened.close()
    await cells.close()


def known(api: AdminCell, *, processes: int = 1) -> Cell:
    served = [replace(instance("cell-1"), admin_url=api.admin_url) for _ in range(processes)]
    return replace(cell("cell-1", "active", *served), home_zone="a")


def order(api: AdminCell, direction: Any = "away", zone: str = "a", **changes: Any) -> SwitchOrder:
    return SwitchOrder(**{"cell": known(api), "zone": zone, "direction": direction, "fence": 5, **changes})


def status(server: SmallApiServer) -> dict[str, Any]:
    found: dict[str, Any] = server.objects["clusters"][0]["status"]
    return found


def operator_promotes(server: SmallApiServer) -> None:
    """It leaves the stamp of the order as it is."""
    now = status(server)
    now |= {"currentPrimary": now["targetPrimary"], "phase": "Cluster in healthy state", "phaseReason": ""}


def somebody_orders(server: SmallApiServer, name: str) -> None:
    """The operator by itself, or a person with its plugin: each with a stamp of his own."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    status(server).update(targetPrimary=name, targetPrimaryTimestamp=stamp)
    metadata = server.objects["clusters"][0]["metadata"]
    metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)


def annotations(server: SmallApiServer) -> dict[str, str]:
    found: dict[str, str] = server.objects["deployments"][0]["metadata"]["annotations"]
    return found


CLOSED = QuarantineNow(cell="cell-1", is_quarantined=True, cause="timeline_must_be_recorded")


def patches(server: SmallApiServer) -> list[str]:
    return [path for method, path, _ in server.requests if method == "PATCH"]


async def test_a_primary_leaves_its_zone_and_its_cell_goes_on(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    api.promotions = ["nobody here remembers", 2]
    assert isinstance(await port.switch(order(api)), UnderWay)
    assert (status(server)["currentPrimary"], status(server)["targetPrimary"]) == ("cell-1-db-1", "cell-1-db-2")
    assert status(server)["phase"] == "Switchover in progress"
    assert patches(server)[-1] == "/apis/postgresql.cnpg.io/v1/namespaces/cell-1/clusters/cell-1-db/status"
    count = len(patches(server))
    assert isinstance(await port.switch(order(api, is_begun=True)), UnderWay), "the operator is at it"
    operator_promotes(server)
    there = await port.switch(order(api, is_begun=True, cell=known(api, processes=2)))
    assert isinstance(there, SwitchedOver)
    assert "zone b" in there.detail
    assert "timeline 2" in there.detail
    assert api.promotions == [], "the second process remembered"
    assert len(patches(server)) == count
    api.promotions = [2]
    assert isinstance(await port.switch(order(api, is_begun=True)), SwitchedOver)
    assert len(patches(server)) == count, "it never is a toggle"


async def test_home_is_where_it_comes_back_to(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    status(server).update(currentPrimary="cell-1-db-3", targetPrimary="cell-1-db-3")
    assert isinstance(await port.switch(order(api, "back")), UnderWay)
    assert status(server)["targetPrimary"] == "cell-1-db-1"


async def test_who_leaves_another_zone_goes_home(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    status(server).update(currentPrimary="cell-1-db-3", targetPrimary="cell-1-db-3")
    assert isinstance(await port.switch(order(api, zone="c")), UnderWay)
    assert status(server)["targetPrimary"] == "cell-1-db-1"


async def test_a_promotion_of_somebody_else_is_for_people(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    """Nobody asks a process to vouch for what was not ordered here."""
    status(server).update(currentPrimary="cell-1-db-2", targetPrimary="cell-1-db-2")
    assert isinstance(await port.switch(order(api)), SwitchedOver)
    api.quarantine = CLOSED
    closed = await port.switch(order(api))
    assert isinstance(closed, SwitchFailed)
    assert "timeline_must_be_recorded" in closed.detail


async def test_a_failover_that_is_under_way_does_not_become_ours_by_an_order(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    """A zone dies, and an operator orders to leave it while CloudNativePG does so by itself."""
    somebody_orders(server, "cell-1-db-2")
    assert isinstance(await port.switch(order(api)), MustWait), "nothing was begun here"
    assert patches(server) == []
    operator_promotes(server)
    api.quarantine, api.promotions = CLOSED, [2]
    for is_begun in (False, True):
        closed = await port.switch(order(api, is_begun=is_begun))
        assert isinstance(closed, SwitchFailed)
        assert "a person must look" in closed.detail
    assert api.promotions == [2], "nobody was asked to vouch"


async def test_a_failover_that_overtakes_a_switch_over_of_ours_is_for_people(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    await port.switch(order(api))
    somebody_orders(server, "cell-1-db-3")
    assert isinstance(await port.switch(order(api, is_begun=True)), MustWait)
    operator_promotes(server)
    api.quarantine, api.promotions = CLOSED, [2]
    assert isinstance(await port.switch(order(api, is_begun=True)), SwitchFailed)
    somebody_orders(server, "cell-1-db-2")
    operator_promotes(server)
    assert isinstance(await port.switch(order(api, is_begun=True)), SwitchFailed), "where we wanted it, but not by us"
    assert api.promotions == [2]


@pytest.mark.parametrize("looks_in_between", [0, 1])
async def test_an_order_whose_record_is_lost_is_ours_all_the_same(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell, looks_in_between: int
) -> None:
    """Its worker dies, or loses its lease, between the patch and the note that it is under way."""
    assert isinstance(await port.switch(order(api)), UnderWay)
    for _ in range(looks_in_between):
        assert isinstance(await port.switch(order(api, fence=6)), UnderWay)
    operator_promotes(server)
    api.quarantine, api.promotions = CLOSED, [2]
    there = await port.switch(order(api, fence=6))
    assert isinstance(there, SwitchedOver)
    assert "timeline 2" in there.detail


async def test_an_order_that_was_carried_out_although_its_answer_was_lost_is_ours(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    """The client tries again, and its own first try refuses the second."""

    def carried_out() -> int:
        noted, _, stamp = annotations(server)["cellwallet/switch-over"].partition("@")
        status(server).update(targetPrimary=noted, targetPrimaryTimestamp=stamp, phase="Switchover in progress")
        return 422

    server.before_patch = [lambda: None, carried_out]
    assert isinstance(await port.switch(order(api)), MustWait)
    assert isinstance(await port.switch(order(api)), UnderWay)
    operator_promotes(server)
    api.promotions = [2]
    there = await port.switch(order(api))
    assert isinstance(there, SwitchedOver)
    assert "timeline 2" in there.detail


async def test_an_order_that_arrives_while_it_is_given_again_is_ours(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    """The API server is slow: what was given up may be done between the second look and its patch."""
    server.before_patch = [lambda: None, lambda: 500, lambda: 500, lambda: 500]
    assert isinstance(await port.switch(order(api)), Unreachable)
    first = annotations(server)["cellwallet/switch-over"].partition("@")[2]

    def first_one_arrives() -> int:
        status(server).update(targetPrimary="cell-1-db-2", targetPrimaryTimestamp=first)
        return 422

    server.before_patch = [lambda: None, first_one_arrives]
    assert isinstance(await port.switch(order(api)), MustWait)
    assert isinstance(await port.switch(order(api)), UnderWay)


async def test_no_other_order_takes_the_place_of_one_that_may_still_arrive(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    server.before_patch = [lambda: None, lambda: 500, lambda: 500, lambda: 500]
    assert isinstance(await port.switch(order(api)), Unreachable)
    status(server)["instancesStatus"] = {"healthy": ["cell-1-db-1", "cell-1-db-3"]}
    waiting = await port.switch(order(api))
    assert isinstance(waiting, MustWait)
    assert "cell-1-db-2, may still be on its way" in waiting.detail
    annotations(server)["cellwallet/switch-over"] = "cell-1-db-2@2026-01-01T00:00:01.000000Z"
    assert isinstance(await port.switch(order(api)), UnderWay), "not any more"
    assert status(server)["targetPrimary"] == "cell-1-db-3"


async def test_an_order_is_noted_without_a_word_about_pods(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    """Also where the fence is this worker's already."""
    annotations(server)["cellwallet/fence"] = "5"
    before = copy.deepcopy(server.objects["deployments"][0]["spec"])
    assert isinstance(await port.switch(order(api)), UnderWay)
    stamp = status(server)["targetPrimaryTimestamp"]
    assert annotations(server) == {"cellwallet/fence": "5", "cellwallet/switch-over": f"cell-1-db-2@{stamp}"}
    assert server.objects["deployments"][0]["spec"] == before


async def test_without_a_place_to_note_it_nothing_is_ordered(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    server.objects["deployments"] = []
    assert isinstance(await port.switch(order(api)), NotAvailable)
    assert status(server)["targetPrimary"] == "cell-1-db-1"


async def test_who_may_begin_nothing_follows_what_is_under_way(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    """The evacuation has ended meanwhile."""
    left = await port.switch(order(api, may_begin=False))
    assert isinstance(left, MustWait)
    assert patches(server) == []
    await port.switch(order(api))
    assert isinstance(await port.switch(order(api, may_begin=False)), UnderWay)
    operator_promotes(server)
    api.quarantine, api.promotions = CLOSED, [2]
    there = await port.switch(order(api, may_begin=False))
    assert isinstance(there, SwitchedOver)
    assert "timeline 2" in there.detail


async def test_a_cell_that_cannot_vouch_is_told_as_closed(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    await port.switch(order(api))
    operator_promotes(server)
    api.promotions = ["the database has counted to 9, and 10 was seen"]
    refused = await port.switch(order(api, is_begun=True))
    assert isinstance(refused, SwitchFailed)
    assert "until a person opens it" in refused.detail
    await api.stop()
    assert isinstance(await port.switch(order(api, is_begun=True)), UnderWay), "it may answer later"


async def test_who_does_not_answer_may_be_the_one_who_remembers(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell, keys: PlatformKeys
) -> None:
    """One process is new and remembers nothing, another one is just out of reach."""
    other = await AdminCell("cell-1", keys.own_jwks()).start()
    await other.stop()
    served = [replace(instance("cell-1"), admin_url=one.admin_url) for one in (api, other)]
    both = replace(cell("cell-1", "active", *served), home_zone="a")
    await port.switch(order(api))
    operator_promotes(server)
    api.promotions = ["nobody here remembers"] * 2
    told = await port.switch(order(api, cell=both))
    assert isinstance(told, UnderWay)
    assert "nobody here remembers" in told.detail
    assert "1 of 2 processes did not answer" in told.detail
    await other.start()
    try:
        other.promotions = [2]
        assert isinstance(await port.switch(order(api, cell=both)), SwitchedOver)
        api.promotions, other.promotions = ["nobody here remembers"], ["nor here"]
        assert isinstance(await port.switch(order(api, cell=both)), SwitchFailed), "everybody was asked"
    finally:
        await other.stop()


async def test_nobody_unfit_becomes_the_primary(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    status(server)["instancesStatus"] = {"healthy": ["cell-1-db-1", "cell-1-db-3"]}
    server.objects["nodes"][2]["spec"]["unschedulable"] = True
    waiting = await port.switch(order(api))
    assert isinstance(waiting, MustWait)
    assert "cell-1-db-2, cell-1-db-3 must be healthy" in waiting.detail
    server.objects["nodes"][2]["spec"] = {}
    assert isinstance(await port.switch(order(api)), UnderWay)
    assert status(server)["targetPrimary"] == "cell-1-db-3"


async def test_a_worker_that_was_followed_moves_nothing(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    assert isinstance(await port.switch(order(api, fence=2)), NotAvailable)
    assert status(server)["targetPrimary"] == "cell-1-db-1"
    assert isinstance(await port.switch(order(api, fence=5)), UnderWay)
    assert server.objects["deployments"][0]["metadata"]["annotations"]["cellwallet/fence"] == "5"


async def test_who_loses_a_race_overwrites_nothing(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    """Also a slow worker that had looked at the cluster before another one changed it."""

    def somebody_promotes() -> None:
        somebody_orders(server, "cell-1-db-3")
        operator_promotes(server)

    server.before_patch = [lambda: None, somebody_promotes]
    assert isinstance(await port.switch(order(api)), MustWait)
    assert status(server)["targetPrimary"] == "cell-1-db-3"


async def test_what_the_cluster_does_not_have_or_tell(
    server: SmallApiServer, port: KubernetesSwitchOvers, api: AdminCell
) -> None:
    server.objects["nodes"] = []
    unknown = await port.switch(order(api))
    assert isinstance(unknown, MustWait)
    assert "in which zone" in unknown.detail
    for one in server.objects["pods"]:
        one["metadata"]["labels"][ZONE] = INSTANCES[one["metadata"]["name"]]
    assert isinstance(await port.switch(order(api, zone="b")), SwitchedOver), "a recent Kubernetes tells it of pods"
    server.objects["clusters"] = []
    assert isinstance(await port.switch(order(api)), NotAvailable)
    server.faults = [(503, {})] * 20
    assert isinstance(await port.switch(order(api)), Unreachable)
