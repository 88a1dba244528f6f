"""The substrate of rollouts on a real API server, with the real Deployment controller and simulated nodes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

from control_plane.releaser.kubernetes_substrate import KubernetesSubstrate, open_kubernetes
from control_plane.releaser.substrate import ImageOrder, NotTaken, Taken
from control_plane.rollouts.model import CellSeen, ZoneSeen
from control_plane.rollouts.settling import has_failed, why_not_settled
from infra.cluster.local import ZONES, LocalCluster
from infra.cluster.nodes import ZONE

OLD, NEW = (f"registry.example/cell@sha256:{digit * 64}" for digit in "01")
DEADLINE_S = 90.0


def deployment(cell: str, zone: str, *, image: str = OLD, replicas: int = 2) -> dict[str, Any]:
    selector = {"app.kubernetes.io/name": "cell", "cellwallet/cell": cell, "cellwallet/zone": zone}
    labels = {**selector, "app.kubernetes.io/part-of": "cellwallet"}
    in_zone = {"key": ZONE, "operator": "In", "values": [zone]}
    return {
        "metadata": {"name": f"{cell}-api-{zone}", "labels": labels},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [{"matchExpressions": [in_zone]}]
                            }
                        }
                    },
                    "initContainers": [{"name": "schema", "image": image}],
                    "containers": [{"name": "cell", "image": image}],
                },
            },
        },
    }


def migration(cell: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "cellwallet", "cellwallet/cell": cell}
    return {
        "metadata": {"name": f"{cell}-migrate-chart", "labels": labels},
        "spec": {
            "template": {
                "metadata": {"labels": labels},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": OLD}]},
            }
        },
    }


class Site:
    """One cell in a namespace of its own, and the substrate that is tried on it."""

    def __init__(self, cluster: LocalCluster, substrate: KubernetesSubstrate, cell: str) -> None:
        self.cluster = cluster
        self.substrate = substrate
        self.cell = cell

    async def seen(self, image: str = NEW) -> CellSeen:
        seen = await self.substrate.look(self.cell, image)
        assert isinstance(seen, CellSeen), seen
        return seen

    async def zone(self, zone: str) -> ZoneSeen:
        found = (await self.seen()).zone(zone)
        assert found is not None
        return found

    def order(self, zone: str, *, expected: str = OLD, image: str = NEW, fence: int = 1) -> ImageOrder:
        return ImageOrder(cell=self.cell, zone=zone, expected=expected, image=image, fence=fence)

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not await holds():
            assert time.monotonic() < deadline, what
            await asyncio.sleep(0.2)

    async def until_settled(self, zone: str, image: str) -> None:
        async def is_settled() -> bool:
            return why_not_settled(await self.zone(zone), image) is None

        await self.until(is_settled, f"zone {zone} never settled at {image}")

    def cordon_by_hand(self, zone: str, *, is_closed: bool) -> None:
        for node in self.cluster.api.items("/api/v1/nodes", labelSelector=f"{ZONE}={zone}"):
            body = {"spec": {"unschedulable": is_closed or None}}
            self.cluster.api.patch(f"/api/v1/nodes/{node['metadata']['name']}", body)


@pytest.fixture
async def site(cluster: LocalCluster, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    cell = f"cell-{abs(hash(request.node.name)) % 100_000}"
    api = cluster.api
    api.create("/api/v1/namespaces", {"metadata": {"name": cell}})
    substrate = open_kubernetes(cluster.kubeconfig, namespace="{cell}")
    made = Site(cluster, substrate, cell)

    async def has_account() -> bool:
        accounts = api.items(f"/api/v1/namespaces/{cell}/serviceaccounts")
        return any(one["metadata"]["name"] == "default" for one in accounts)

    await made.until(has_account, "the namespace has no account")
    for zone in ZONES:
        api.create(f"/apis/apps/v1/namespaces/{cell}/deployments", deployment(cell, zone))
    api.create(f"/apis/batch/v1/namespaces/{cell}/jobs", migration(cell))
    for zone in ZONES:
        await made.until_settled(zone, OLD)
    yield made
    await substrate.close()
    api.delete(f"/api/v1/namespaces/{cell}")


async def test_an_image_reaches_one_zone_and_no_other(site: Site) -> None:
    assert isinstance(await site.substrate.put_image(site.order(ZONES[0])), Taken)
    await site.until_settled(ZONES[0], NEW)
    seen = await site.seen()
    assert [zone.image for zone in seen.zones] == [NEW, OLD, OLD]
    assert seen.is_surging
    assert seen.zones[0].fence == 1


async def test_a_lost_race_and_an_older_fence_change_nothing(site: Site) -> None:
    assert isinstance(await site.substrate.put_image(site.order(ZONES[0], expected=NEW, image=OLD)), NotTaken)
    assert isinstance(await site.substrate.put_image(site.order(ZONES[0], image=OLD, fence=5)), Taken)
    before = await site.zone(ZONES[0])
    late = await site.substrate.put_image(site.order(ZONES[0], fence=4))
    assert isinstance(late, NotTaken)
    assert "fence 4" in late.detail
    after = await site.zone(ZONES[0])
    assert (after.image, after.generation, after.fence) == (OLD, before.generation, 5)


async def test_the_schema_is_migrated_by_a_job_like_the_chart_s(site: Site) -> None:
    assert (await site.seen(NEW)).preparation == "absent"
    for _ in range(2):
        assert isinstance(await site.substrate.prepare(site.cell, NEW), Taken)

    async def is_done() -> bool:
        return (await site.seen(NEW)).preparation == "done"

    await site.until(is_done, "the migration was never done")


async def test_a_release_that_finds_no_place_is_given_up_and_goes_back_to_the_recorded_image(site: Site) -> None:
    zone = ZONES[1]
    site.cordon_by_hand(zone, is_closed=True)
    try:
        assert isinstance(await site.substrate.put_image(site.order(zone)), Taken)

        async def has_given_up() -> bool:
            return has_failed(await site.zone(zone), NEW)

        await site.until(has_given_up, "it never gave up")
        assert (await site.zone(zone)).available == 2, "nothing was taken away meanwhile"
        back = site.order(zone, expected=NEW, image=OLD, fence=2)
        assert isinstance(await site.substrate.put_image(back), Taken)
        await site.until_settled(zone, OLD)
    finally:
        site.cordon_by_hand(zone, is_closed=False)


async def test_a_cordon_closes_the_nodes_of_a_zone_and_opens_only_what_it_closed(site: Site) -> None:
    zone = ZONES[2]
    nodes = site.cluster.api.items("/api/v1/nodes", labelSelector=f"{ZONE}={zone}")
    by_hand = nodes[0]["metadata"]["name"]
    site.cluster.api.patch(f"/api/v1/nodes/{by_hand}", {"spec": {"unschedulable": True}})

    def closed() -> set[str]:
        listed = site.cluster.api.items("/api/v1/nodes", labelSelector=f"{ZONE}={zone}")
        return {one["metadata"]["name"] for one in listed if one["spec"].get("unschedulable")}

    try:
        assert isinstance(await site.substrate.cordon(zone, is_closed=True), Taken)
        assert closed() == {one["metadata"]["name"] for one in nodes}
        assert isinstance(await site.substrate.cordon(zone, is_closed=False), Taken)
        assert closed() == {by_hand}
    finally:
        site.cluster.api.patch(f"/api/v1/nodes/{by_hand}", {"spec": {"unschedulable": None}})
