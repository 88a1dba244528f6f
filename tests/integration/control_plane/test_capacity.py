"""`/v1/cells/{id}/capacity`: certificates are kept, published, remembered; those of others are refused."""

from typing import Any

import pytest
from certificates import certificate_document
from platform_keys import bearer
from running_platform import RunningPlatform, until

NOWHERE = "http://127.0.0.1:1"
PATH = "/v1/cells/cell-1/capacity"


async def test_a_certificate_becomes_the_capacity_of_its_cell(platform: RunningPlatform) -> None:
    await platform.register("cell-1", NOWHERE)
    before = await until(lambda: platform.configuration("cell-1"))
    answer = await platform.put(PATH, certificate_document())
    assert (answer.status_code, answer.json()["capacity_per_s"]) == (200, 500.0)
    assert (await platform.get("/v1/cells")).json()["cells"][0]["capacity_per_s"] == 500.0
    known = {"If-None-Match": f'"{before["version"]}"'}
    published = (await platform.get("/v1/cells/cell-1/configuration?wait=20", **known)).json()
    assert published["capacity_per_s"] == 500.0
    shown = (await platform.get(PATH)).json()
    assert shown["certificate"] == certificate_document()
    assert shown["uploaded_at"].endswith("Z")


async def test_the_audit_trail_keeps_every_certificate(platform: RunningPlatform) -> None:
    await platform.register("cell-1", NOWHERE)
    first, second = certificate_document(), certificate_document(made_at="2026-03-02T12:00:00Z")
    for document in (first, first, second):
        assert (await platform.put(PATH, document)).status_code == 200
    trail = (await platform.get("/v1/changes?subject=cell:cell-1")).json()["changes"]
    assert [change["after"]["certificate"] for change in trail] == [second, first]
    assert {change["actor"] for change in trail} == {"olga"}


async def test_a_capacity_by_hand_replaces_the_certificate(platform: RunningPlatform) -> None:
    await platform.register("cell-1", NOWHERE)
    await platform.put(PATH, certificate_document())
    await platform.put(PATH, {"capacity_per_s": 5})
    assert (await platform.get(PATH)).json() == {"capacity_per_s": 5.0, "certificate": None, "uploaded_at": None}


def _other_cell() -> dict[str, Any]:
    return certificate_document(cell="cell-2")


def _router() -> dict[str, Any]:
    return certificate_document(subject={"kind": "router", "id": "cell-1", "software_version": "0.1.0"})


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (_other_cell(), "certificate_must_name_this_cell"),
        (_router(), "certificate_must_name_this_cell"),
        (certificate_document(version="0.0.9"), "certificate_must_be_of_this_version"),
        (certificate_document(limit_per_s=501.0), "certificate_must_be_sound"),
        (certificate_document(checks=[{"name": "conservation", "passed": False}]), "certificate_must_be_sound"),
    ],
)
async def test_what_does_not_certify_this_cell_is_refused(
    platform: RunningPlatform, document: dict[str, Any], reason: str
) -> None:
    await platform.register("cell-1", NOWHERE)
    answer = await platform.put(PATH, document)
    assert (answer.status_code, answer.json()["reason"]) == (409, reason)
    assert (await platform.get(PATH)).json()["capacity_per_s"] is None


@pytest.mark.parametrize(
    "changed",
    [
        {"limit_per_s": -1},
        {"limit_per_s": 0},
        {"limit_per_s": "500"},
        {"limit_per_s": True},
        {"limit_per_s": None},
        {"degraded_loss": 1},
        {"moves_loss": -0.1},
        {"form": 2},
        {"subject": {}},
        {"rounds": []},
        {"checks": []},
        {"versions": {"python": "3\n12"}},
        {"capacity_per_s": 5},
    ],
)
async def test_what_is_no_certificate_is_refused(standing: RunningPlatform, changed: dict[str, Any]) -> None:
    answer = await standing.put(PATH, certificate_document(**changed))
    assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed")


async def test_only_who_may_manage_the_fleet_may_certify(standing: RunningPlatform) -> None:
    for given in (standing.keys.operator("fleet:read"), standing.keys.join("cell-1")):
        answer = await standing.client.put(PATH, json=certificate_document(), headers=bearer(given))
        assert (answer.status_code, answer.json()["reason"]) == (403, "scope_must_allow_manage")


async def test_of_an_unknown_cell_there_is_none(standing: RunningPlatform) -> None:
    for answer in (
        await standing.get("/v1/cells/cell-9/capacity"),
        await standing.put("/v1/cells/cell-9/capacity", certificate_document(cell="cell-9")),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (404, "cell_must_exist")
