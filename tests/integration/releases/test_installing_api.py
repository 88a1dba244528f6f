"""`POST /v1/cells/{id}/install` of a real control plane, with a small API server behind it: what is recorded, what is
refused and by which reason, and that nothing is applied for who may not.
"""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

import psycopg
import yaml
from platform_keys import PlatformKeys, bearer
from releasing.small_api_server import SmallApiServer, kubeconfig_of, small_api_server
from running_platform import RunningPlatform, running_platform, until

GOLDEN = Path(__file__).parents[2] / "unit" / "helm" / "golden" / "cell-app-three-zones.yaml"


@pytest.fixture
def objects() -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(GOLDEN.read_text()) if one]


@pytest.fixture
def server() -> Iterator[SmallApiServer]:
    with small_api_server() as served:
        yield served


@pytest.fixture
async def platform(
    server: SmallApiServer, keys: PlatformKeys, database_url: str, tmp_path: Path
) -> AsyncIterator[RunningPlatform]:
    kubeconfig = kubeconfig_of(server.url, tmp_path)
    async with running_platform(database_url, keys, releases_by="kubernetes", kubernetes_config=kubeconfig) as running:
        await until(lambda: is_ready(running))
        yield running


async def is_ready(platform: RunningPlatform) -> bool:
    """Its database answers: a busy machine may take a while."""
    ready: bool = (await platform.client.get("/readyz")).status_code == 200
    return ready


async def install(
    platform: RunningPlatform, objects: list[dict[str, Any]], *, cell: str = "cell-1", token: str = "", **changes: Any
) -> Any:
    headers = bearer(token or platform.keys.operator())
    return await platform.client.post(
        f"/v1/cells/{cell}/install", json={"objects": objects, **changes}, headers=headers
    )


async def trail(platform: RunningPlatform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await platform.get("/v1/changes?subject=cell:cell-1")).json()["changes"]
    return found


def applied(server: SmallApiServer) -> list[str]:
    return [one["metadata"]["name"] for kind in server.objects.values() for one in kind]


async def test_what_is_ordered_is_recorded_and_applied(
    platform: RunningPlatform, server: SmallApiServer, objects: list[dict[str, Any]]
) -> None:
    tried = await install(platform, objects, dry_run=True)
    assert (tried.status_code, tried.json()["dry_run"]) == (200, True)
    assert (applied(server), await trail(platform)) == ([], [])
    done = await install(platform, objects)
    assert (done.status_code, len(done.json()["objects"])) == (200, len(objects))
    assert {one["change"] for one in done.json()["objects"]} == {"created"}
    assert sorted(applied(server)) == sorted(one["metadata"]["name"] for one in objects)
    (change,) = await trail(platform)
    assert (change["actor"], change["after"]) == (
        "olga",
        {"installed": done.json()["image"], "replicas": {"a": 2, "b": 2, "c": 2}},
    )


async def test_whoever_may_only_read_installs_nothing(
    platform: RunningPlatform, server: SmallApiServer, objects: list[dict[str, Any]]
) -> None:
    answer = await install(platform, objects, token=platform.keys.operator("fleet:read"))
    assert answer.status_code == 403
    assert server.requests == []


async def test_what_the_chart_would_not_make_reaches_no_cluster(
    platform: RunningPlatform, server: SmallApiServer, objects: list[dict[str, Any]]
) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cell-1-secret"}}
    answer = await install(platform, [*objects, secret])
    assert (answer.status_code, answer.json()["reason"]) == (422, "objects_must_be_of_the_chart")
    other = await install(platform, objects, cell="cell-2")
    assert (other.status_code, other.json()["reason"]) == (422, "objects_must_be_of_the_cell")
    for malformed in ([], [1], "all", None):
        answer = await install(platform, malformed)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed"), malformed
    assert server.requests == []
    assert await trail(platform) == []


async def test_what_the_cluster_says_is_told_by_reasons(
    platform: RunningPlatform, server: SmallApiServer, objects: list[dict[str, Any]]
) -> None:
    server.owners = {"cell-1-api-a": [(".spec.replicas", "helm")]}
    contested = await install(platform, objects)
    assert (contested.status_code, contested.json()["reason"]) == (409, "fields_must_have_one_owner")
    assert "helm's" in contested.json()["detail"]
    server.owners = {}
    for status, code, reason in (
        (403, 409, "cluster_must_accept"),
        (422, 409, "cluster_must_accept"),
        (410, 503, "cluster_must_answer"),
        (500, 503, "cluster_must_answer"),
    ):
        server.faults = list(itertools.repeat((status, {}), 3))
        answer = await install(platform, objects)
        assert (answer.status_code, answer.json()["reason"]) == (code, reason), status
        assert str(status) in answer.json()["detail"]
        server.faults = []
    assert applied(server) == []


async def test_a_cell_that_has_been_retired_does_not_come_back(
    platform: RunningPlatform, server: SmallApiServer, objects: list[dict[str, Any]], database_url: str
) -> None:
    await platform.register("cell-1", "http://127.0.0.1:1")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE cells SET state = 'retired' WHERE id = 'cell-1'")
    answer = await install(platform, objects)
    assert (answer.status_code, answer.json()["reason"]) == (409, "cell_must_not_be_retired")
    assert server.requests == []


async def test_where_nothing_carries_cells_nothing_can_be_installed(
    keys: PlatformKeys, database_url: str, objects: list[dict[str, Any]]
) -> None:
    async with running_platform(database_url, keys) as platform:
        answer = await install(platform, objects)
    assert (answer.status_code, answer.json()["reason"]) == (409, "installation_must_be_possible_here")
    assert "CONTROL_PLANE_RELEASES_BY" in answer.json()["detail"]
