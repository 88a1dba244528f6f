"""What the control plane expects of a cell's admin API: kept by real cells, and by the one that stands in for them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest
from admin_cell import AdminCell
from control_plane_process import ROOT, free_port
from fleet_world import cell, instance
from platform_keys import PlatformKeys, bearer, token
from running_platform import until

from cellwallet.local.scratch import ScratchCluster
from contract.fleet import CellUnits
from contract.quarantine import PromotionRecorded
from control_plane.cell_admin import CellAdmin, RefusedByCell, admin_client
from control_plane.fleet.model import Cell, Unreachable
from control_plane.keys import read_issuer_keys, read_signing_key
from control_plane.tokens import Tokens

CELL = "cell-1"
FIRST = ((0, 99), (200, 299))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> PlatformKeys:
    return PlatformKeys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def real_admin_url(
    keys: PlatformKeys, postgres_cluster: ScratchCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One for all tests here: a real cell takes seconds to start."""
    folder = tmp_path_factory.mktemp(CELL)
    database, admin_port = postgres_cluster.new_cell_database(), free_port()
    jwks_file = folder / "control_plane_jwks.json"
    jwks_file.write_text(json.dumps(keys.own_jwks()))
    environment = {
        "CELL_ID": CELL,
        "CELL_ZONE": "a",
        "CELL_HOME_ZONE": "a",
        "CELL_PORT": str(free_port()),
        "CELL_ADMIN_PORT": str(admin_port),
        "CELL_DATABASE_URL": database.url("cell_app"),
        "CELL_OWNER_DATABASE_URL": database.url("cell_owner"),
        "CELL_CONTROL_PLANE_JWKS_FILE": str(jwks_file),
        "CELL_SIGNING_KEY_FILE": str(keys.signing_key_file),
        "CELL_STATE_DIR": str(folder),
    }
    command = [sys.executable, "-m", "cell"]
    with (folder / "cell.log").open("ab") as log:
        subprocess.run([*command, "migrate"], cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)
        serving = subprocess.Popen([*command, "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        asyncio.run(until(lambda: is_alive(f"http://127.0.0.1:{admin_port}")))
        yield f"http://127.0.0.1:{admin_port}"
    finally:
        serving.kill()
        serving.wait()


async def is_alive(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url) as client:
        try:
            return (await client.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
async def stand_in_admin_url(keys: PlatformKeys) -> AsyncIterator[str]:
    stand_in = await AdminCell(CELL, keys.own_jwks()).start()
    yield stand_in.admin_url
    await stand_in.stop()


@pytest.fixture(params=["stand_in", "real"])
def admin_url(request: pytest.FixtureRequest, stand_in_admin_url: str) -> str:
    return stand_in_admin_url if request.param == "stand_in" else request.getfixturevalue("real_admin_url")


@pytest.fixture
async def admin(keys: PlatformKeys) -> AsyncIterator[CellAdmin]:
    own = read_signing_key(keys.signing_key_file, key_id="cp-1")
    tokens = Tokens(own=own, issuer=read_issuer_keys(keys.issuer_jwks_file), audience="cellwallet")
    opened = CellAdmin(admin_client(), tokens)
    yield opened
    await opened.close()


def known_as(name: str, admin_url: str) -> Cell:
    return cell(name, "ready", replace(instance(name), admin_url=admin_url))


async def test_first_units_are_adopted_once(admin: CellAdmin, admin_url: str) -> None:
    one = known_as(CELL, admin_url)
    assert await admin.units(one) == CellUnits(cell=CELL, units=())
    adopted = await admin.put_first_units(one, FIRST)
    assert isinstance(adopted, CellUnits)
    assert [(run.first, run.last, run.state, run.epoch) for run in adopted.units] == [
        (0, 99, "active", 1),
        (200, 299, "active", 1),
    ]
    assert await admin.units(one) == adopted
    assert await admin.put_first_units(one, FIRST) == adopted
    refused = await admin.put_first_units(one, ((0, 16383),))
    assert isinstance(refused, RefusedByCell)
    assert refused.status == 409
    assert await admin.units(one) == adopted


async def test_a_timeline_that_is_recorded_needs_nobody_to_vouch(admin: CellAdmin, admin_url: str) -> None:
    recorded = await admin.record_promotion(known_as(CELL, admin_url))
    assert recorded == PromotionRecorded(cell=CELL, timeline=1, is_new=False)
    assert isinstance(await admin.record_promotion(known_as("cell-2", admin_url)), Unreachable)


async def test_a_cell_says_who_it_is(admin: CellAdmin, admin_url: str) -> None:
    answer = await admin.units(known_as("cell-2", admin_url))
    assert isinstance(answer, Unreachable)
    assert "belongs to cell-1" in answer.detail


async def test_only_a_token_of_the_control_plane_opens_the_door(keys: PlatformKeys, admin_url: str) -> None:
    attempts = {
        401: [None, token(keys.stranger, "cp-1", subject="control-plane", scope="fleet:read fleet:manage")],
        403: [token(keys.own, "cp-1", subject="control-plane", scope="cell:join")],
    }
    async with httpx.AsyncClient(base_url=admin_url) as client:
        for status, given in attempts.items():
            for one in given:
                headers = bearer(one) if one else {}
                body = {"runs": [[0, 99]]}
                assert (await client.get("/admin/units", headers=headers)).status_code == status
                assert (await client.put("/admin/units/first", json=body, headers=headers)).status_code == status


@pytest.mark.parametrize(
    "body", [{}, {"runs": []}, {"runs": [[5, 4]]}, {"runs": [[0, 16384]]}, {"runs": [[0, 5], [5, 9]]}]
)
async def test_what_are_no_slots_is_refused(keys: PlatformKeys, admin_url: str, body: object) -> None:
    given = token(keys.own, "cp-1", subject="control-plane", scope="fleet:read fleet:manage")
    async with httpx.AsyncClient(base_url=admin_url, headers=bearer(given)) as client:
        before = (await client.get("/admin/units")).json()
        assert (await client.put("/admin/units/first", json=body)).status_code == 400
        assert (await client.get("/admin/units")).json() == before
