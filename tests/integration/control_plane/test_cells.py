"""`/v1/cells`: who may register, what is shown, what a cell is configured with."""

import asyncio

from admin_cell import NewCell
from platform_keys import bearer, token
from running_platform import RunningPlatform, registration, until

from contract.configuration import CellConfiguration
from contract.signing import public_keys_of, verify

NOWHERE = "http://127.0.0.1:1"


async def test_a_registration_is_answered_with_the_cell(platform: RunningPlatform) -> None:
    answer = await platform.register("cell-1", NOWHERE)
    shown = answer.json()
    seen_at = shown.pop("last_seen_at")
    assert answer.status_code == 200
    assert seen_at.endswith("Z")
    assert shown == {
        "id": "cell-1",
        "state": "registered",
        "home_zone": "zone-a",
        "api": [{"url": "http://127.0.0.1:1/cell-1", "zone": "zone-a"}],
        "admin_urls": [NOWHERE],
        "schema_revision": "0001",
        "software_version": "0.1.0",
        "units": 0,
        "capacity_per_s": None,
    }
    again = (await platform.register("cell-1", NOWHERE)).json()
    assert again["last_seen_at"] > seen_at
    assert (await platform.get("/v1/cells")).json()["cells"] == [again]


async def test_only_the_cells_own_join_token_registers_it(platform: RunningPlatform) -> None:
    keys = platform.keys
    attempts = {
        "another cell's": (keys.join("cell-2"), 403, "token_must_name_this_cell"),
        "an operator's": (keys.operator(), 403, "scope_must_allow_join"),
        "an operator's with our scope": (keys.operator("cell:join", "cell:cell-1"), 403, "token_must_name_this_cell"),
        "a router's": (keys.router("cell-1"), 403, "scope_must_allow_join"),
        "a stranger's": (
            token(keys.stranger, "cp-1", subject="cell:cell-1", scope="cell:join"),
            401,
            "token_must_be_valid",
        ),
    }
    for whose, (given, status, reason) in attempts.items():
        answer = await platform.client.post("/v1/cells", json=registration("cell-1", NOWHERE), headers=bearer(given))
        assert (answer.status_code, answer.json()["reason"]) == (status, reason), whose
    assert (await platform.get("/v1/cells")).json() == {"cells": []}


async def test_a_cell_reads_its_own_configuration_and_no_other(platform: RunningPlatform) -> None:
    for name in ("cell-1", "cell-2"):
        await platform.register(name, NOWHERE)
    signed = await until(lambda: platform.configuration("cell-1"))
    document = CellConfiguration.model_validate(verify(signed, public_keys_of(platform.keys.own_jwks())))
    assert (document.cell, document.api_processes) == ("cell-1", 1)
    assert [jwk["kid"] for jwk in document.jwks["keys"]] == ["issuer-1"]
    path = "/v1/cells/cell-1/configuration"
    foreign = await platform.client.get(path, headers=bearer(platform.keys.join("cell-2")))
    assert (foreign.status_code, foreign.json()["reason"]) == (403, "token_must_name_this_cell")
    assert (await platform.get(path)).json() == signed


async def test_every_change_of_content_is_a_new_version(platform: RunningPlatform) -> None:
    await platform.register("cell-1", NOWHERE)
    versions = [(await until(lambda: platform.configuration("cell-1")))["version"]]

    async def following() -> dict[str, object]:
        document = await until(lambda: platform.configuration("cell-1", newer_than=versions[-1]))
        versions.append(document["version"])
        return document

    await platform.put("/v1/vendors/v-1", {"blocked": True})
    assert (await following())["vendors"]["v-1"]["blocked"] is True
    await platform.put("/v1/cells/cell-1/capacity", {"capacity_per_s": 1000})
    assert (await following())["capacity_per_s"] == 1000
    await platform.register("cell-1", NOWHERE, url="http://127.0.0.1:1/second")
    assert (await following())["api_processes"] == 2
    platform.keys.write_issuer_jwks([])
    assert (await following())["jwks"] == {"keys": []}
    assert versions == sorted(set(versions))
    await platform.register("cell-1", NOWHERE)
    assert await platform.configuration("cell-1", newer_than=versions[-1]) is None


async def test_a_waiting_cell_hears_of_a_blocked_vendor_at_once(platform: RunningPlatform) -> None:
    await platform.register("cell-1", NOWHERE)
    before = await until(lambda: platform.configuration("cell-1"))
    path, known = "/v1/cells/cell-1/configuration?wait=20", {"If-None-Match": f'"{before["version"]}"'}
    waiting = asyncio.create_task(platform.get(path, **known))
    await platform.put("/v1/vendors/v-1", {"blocked": True})
    assert (await waiting).json()["vendors"] == {"v-1": {"blocked": True, "rate_per_s": None, "scopes_allowed": None}}


async def test_a_capacity_is_put_shown_and_remembered_with_its_author(platform: RunningPlatform) -> None:
    await platform.register("cell-1", NOWHERE)
    for capacity in (1000, 1000, 250.5, None):
        answer = await platform.put("/v1/cells/cell-1/capacity", {"capacity_per_s": capacity})
        assert answer.json()["capacity_per_s"] == capacity
    trail = (await platform.get("/v1/changes?subject=cell:cell-1")).json()["changes"]
    assert [(change["actor"], change["after"]["capacity_per_s"]) for change in trail] == [
        ("olga", None),
        ("olga", 250.5),
        ("olga", 1000),
    ]


async def test_a_process_on_a_new_port_is_published(born: RunningPlatform, new_cell: NewCell) -> None:
    before = await until(born.directory)
    cell = await new_cell("cell-1")
    cell.adopted = None
    await born.register("cell-1", cell.admin_url, url="http://127.0.0.1:1/new-port")
    following = await until(lambda: born.directory(newer_than=before["version"]))
    urls = [one["url"] for one in following["cells"]["cell-1"]["api"]]
    assert urls == ["http://127.0.0.1:1/cell-1", "http://127.0.0.1:1/new-port"]
