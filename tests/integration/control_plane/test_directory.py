"""`GET /v1/directory`: conditional reads, long polls, acknowledgements; and where a wallet is."""

import asyncio
import time

import pytest
from admin_cell import NewCell
from platform_keys import bearer
from running_platform import RunningPlatform, until

from contract.ids import WalletId
from contract.slots import slot_of
from control_plane.api import directory
from control_plane.fleet.model import ROUTER_LEASE

WALLET = "0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e5f"


async def test_who_knows_the_current_version_gets_nothing(born: RunningPlatform) -> None:
    answer = await born.get("/v1/directory")
    tag = answer.headers["ETag"]
    assert tag == f'"{answer.json()["version"]}"'
    for tags in (tag, f"W/{tag}", f'"1", {tag}'):
        unchanged = await born.get("/v1/directory", **{"If-None-Match": tags})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["ETag"] == tag
    for tags in ('"1"', "*", "nonsense", '"99999999999999999999"'):
        assert (await born.get("/v1/directory", **{"If-None-Match": tags})).status_code == 200


async def test_a_wait_ends_with_the_next_publication(born: RunningPlatform, new_cell: NewCell) -> None:
    before = await until(born.directory)
    waiting = asyncio.create_task(born.get("/v1/directory?wait=20", **{"If-None-Match": f'"{before["version"]}"'}))
    cell = await new_cell("cell-3")
    await born.register("cell-3", cell.admin_url)
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["version"] > before["version"]


async def test_a_wait_without_news_ends_in_time(born: RunningPlatform) -> None:
    before = await until(born.directory)
    known = {"If-None-Match": f'"{before["version"]}"'}
    started = time.monotonic()
    assert (await born.get("/v1/directory?wait=0.3", **known)).status_code == 304
    assert time.monotonic() - started >= 0.3


async def test_a_wait_for_the_very_first_directory(platform: RunningPlatform, new_cell: NewCell) -> None:
    waiting = asyncio.create_task(platform.get("/v1/directory?wait=20"))
    for name in ("cell-1", "cell-2"):
        await platform.register(name, (await new_cell(name)).admin_url)
    assert (await waiting).status_code == 200


async def test_acknowledgements_are_shown_as_live_routers_and_their_lag(
    born: RunningPlatform, new_cell: NewCell
) -> None:
    first = await until(born.directory)
    cell = await new_cell("cell-3")
    await born.register("cell-3", cell.admin_url)
    second = await until(lambda: born.directory(newer_than=first["version"]))
    assert await metric(born, "control_plane_routers_live") == 0
    for router, document in (("r-1", first), ("r-2", second)):
        path = f"/v1/directory?router={router}&applied={document['version']}"
        answer = await born.client.get(path, headers=bearer(born.keys.router(router)))
        assert answer.status_code == 200
    assert await metric(born, "control_plane_routers_live") == 2
    assert await metric(born, "control_plane_router_lag_publications_max") == 1
    await born.get(f"/v1/directory?router=r-1&applied={second['version']}")
    assert await metric(born, "control_plane_router_lag_publications_max") == 0


async def test_a_router_speaks_for_itself_alone(born: RunningPlatform) -> None:
    path = "/v1/directory?router=r-1&applied=1"
    answers = [
        await born.client.get(path, headers=bearer(given))
        for given in (born.keys.router("r-2"), born.keys.operator("fleet:read"))
    ]
    assert [answer.json()["reason"] for answer in answers] == ["token_must_name_this_router"] * 2
    assert await metric(born, "control_plane_routers_live") == 0


async def test_a_token_with_a_star_speaks_for_routers_whose_names_begin_so(born: RunningPlatform) -> None:
    for router, group, status in (
        ("router-a-7d9f8-x2x", "router-*", 200),
        ("router-1", "router-*", 200),
        ("router", "router-*", 403),
        ("other-1", "router-*", 403),
        ("router-1", "*", 403),
        ("router-1", "router-1*", 403),
    ):
        path = f"/v1/directory?router={router}&applied=1"
        answer = await born.client.get(path, headers=bearer(born.keys.router(group)))
        assert answer.status_code == status, (router, group)
    assert await metric(born, "control_plane_routers_live") == 2


async def test_a_router_that_waits_does_not_outlive_its_lease(
    born: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ROUTER_LEASE.total_seconds() > directory.ROUTER_WAIT_MAX_S
    monkeypatch.setattr(directory, "ROUTER_WAIT_MAX_S", 0.2)
    version = (await until(born.directory))["version"]
    path, known = f"/v1/directory?wait=20&router=r-1&applied={version}", {"If-None-Match": f'"{version}"'}
    async with asyncio.timeout(10):
        assert (await born.get(path, **known)).status_code == 304


async def test_where_a_wallet_is(platform: RunningPlatform, born: RunningPlatform) -> None:
    answer = await born.get(f"/v1/locate/{WALLET}")
    slot = slot_of(WalletId(WALLET))
    assert answer.json() == {
        "wallet_id": WALLET,
        "unit": slot,
        "cell": "cell-1" if slot < 8192 else "cell-2",
        "epoch": 1,
        "moving": False,
    }


async def test_before_the_first_directory_nobody_knows_where_a_wallet_is(platform: RunningPlatform) -> None:
    answer = await platform.get(f"/v1/locate/{WALLET}")
    assert (answer.status_code, answer.json()["reason"]) == (503, "directory_must_be_published")


async def test_the_figures_of_the_fleet(born: RunningPlatform) -> None:
    document = await until(born.directory)
    assert await metric(born, "control_plane_directory_version") == document["version"]
    assert 0 <= await metric(born, "control_plane_directory_age_seconds") < 60
    assert await metric(born, 'control_plane_cells{state="active"}') == 2
    assert await metric(born, "control_plane_database_up") == 1
    assert await metric(born, 'control_plane_rounds_total{outcome="settled"}') > 0


async def metric(platform: RunningPlatform, name: str) -> float:
    text = (await platform.client.get("/metrics")).text
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])
