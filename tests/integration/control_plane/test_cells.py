"""`/v1/cells`: who may register, what is shown, what a cell is configured with."""

import asyncio

import pytest
from admin_cell import NewCell
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from platform_keys import bearer, token
from running_platform import RunningPlatform, registration, until

from contract.configuration import CellConfiguration
from contract.signing import public_jwk, public_keys_of, verify

NOWHERE = "http://127.0.0.1:1"
KEY, OTHER_KEY = (
    public_jwk(Ed25519PrivateKey.generate().public_key(), key_id=name) for name in ("cell:cell-1", "cell:cell-1")
)


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
        "public_key": None,
        "is_filling": False,
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
    policy = {"blocked": True, "rate_per_s": None, "scopes_allowed": None, "limits": {"amount_max": None}}
    assert (await waiting).json()["vendors"] == {"v-1": policy}


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


async def test_every_configuration_lists_the_keys_of_all_cells(platform: RunningPlatform) -> None:
    await platform.register("cell-2", NOWHERE)
    without = await until(lambda: platform.configuration("cell-2"))
    assert without["peers"] == {}
    assert (await platform.register("cell-1", NOWHERE, public_key=KEY)).json()["public_key"] == KEY
    listed = await until(lambda: platform.configuration("cell-2", newer_than=without["version"]))
    assert listed["peers"] == {"cell-1": KEY}


async def test_a_known_cell_keeps_its_key_until_an_operator_forgets_it(platform: RunningPlatform) -> None:
    await platform.register("cell-1", NOWHERE, public_key=KEY)
    refused = await platform.register("cell-1", NOWHERE, public_key=OTHER_KEY)
    assert (refused.status_code, refused.json()["reason"]) == (409, "cell_must_keep_its_key")
    elsewhere = await platform.register("cell-1", NOWHERE, url="http://127.0.0.1:1/second", public_key=OTHER_KEY)
    assert elsewhere.status_code == 409
    silent = await platform.register("cell-1", NOWHERE, url="http://127.0.0.1:1/second")
    assert silent.json()["public_key"] == KEY
    path = "/v1/cells/cell-1/public_key"
    join = await platform.client.delete(path, headers=bearer(platform.keys.join("cell-1")))
    assert join.status_code == 403
    forgotten = await platform.client.delete(path, headers=bearer(platform.keys.operator()))
    assert (forgotten.status_code, forgotten.json()["public_key"]) == (200, None)
    assert (await platform.register("cell-1", NOWHERE, public_key=OTHER_KEY)).json()["public_key"] == OTHER_KEY
    (change,) = (await platform.get("/v1/changes?subject=cell:cell-1")).json()["changes"]
    assert (change["actor"], change["before"], change["after"]) == ("olga", {"public_key": KEY}, {"public_key": None})
    absent = await platform.client.delete("/v1/cells/cell-9/public_key", headers=bearer(platform.keys.operator()))
    assert (absent.status_code, absent.json()["reason"]) == (404, "cell_must_exist")


@pytest.mark.parametrize("change", [{"kid": "issuer-1"}, {"x": "short"}, {"crv": "X25519"}, {"d": KEY["x"]}])
async def test_a_key_must_be_public_and_name_its_cell(platform: RunningPlatform, change: dict[str, str]) -> None:
    answer = await platform.register("cell-1", NOWHERE, public_key={**KEY, **change})
    assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed")
    foreign = await platform.register("cell-2", NOWHERE, public_key=KEY)
    assert (foreign.status_code, foreign.json()["reason"]) == (403, "token_must_name_this_cell")
