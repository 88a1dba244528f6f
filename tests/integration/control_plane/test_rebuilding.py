"""`POST /v1/directory/rebuild`: a lost or restored database comes back from the cells, or is refused by name."""

from typing import Any

from admin_cell import AdminCell, NewCell
from hand_mover import moves_under_way
from platform_keys import PlatformKeys, bearer
from running_platform import RunningPlatform, running_platform, until

from contract.fleet import FirstUnits
from contract.ids import WalletId
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, slot_of
from control_plane.fleet.model import Policy
from control_plane.store.database import Database

HALF = SLOTS // 2
WALLET = "6f1f64a2-5f38-5f3f-9c1f-0a4ee1a4d0f5"


async def rebuild(platform: RunningPlatform, **body: Any) -> Any:
    operator = bearer(platform.keys.operator())
    return await platform.client.post("/v1/directory/rebuild", json=body, headers=operator)


async def refusal(platform: RunningPlatform, **body: Any) -> tuple[int, str]:
    answer = await rebuild(platform, **body)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["reason"]


async def owners(new_cell: NewCell) -> tuple[AdminCell, AdminCell]:
    """Two cells that shared all slots in an earlier life of the control plane; unit 0 has moved since."""
    lower, upper = await new_cell("cell-1"), await new_cell("cell-2")
    lower.adopted, upper.adopted = FirstUnits(runs=((0, HALF - 1),)), FirstUnits(runs=((HALF, SLOTS - 1),))
    lower.given, upper.given = {0: ("moved", 2)}, {0: ("active", 2)}
    return lower, upper


async def test_a_lost_database_comes_back_from_the_cells(platform: RunningPlatform, new_cell: NewCell) -> None:
    cells = await owners(new_cell)
    unit = ISOLATED_UNIT_FIRST + 9
    cells[0].given[unit] = ("active", 4)
    cells[0].isolated_wallets = [(WALLET, unit)]
    cells[slot_of(WalletId(WALLET)) // HALF].exiles = [(WALLET, unit)]
    for cell in cells:
        await platform.register(cell.cell, cell.admin_url)
    await until(lambda: waits(platform, "first_cells_must_be_empty"))
    before = (await rebuild(platform, dry_run=True)).json()
    assert await platform.directory() is None, "a dry run changes nothing"
    after = (await rebuild(platform)).json()
    assert before == after
    assert (after["units"], after["cells"], after["isolated"]) == (SLOTS + 1, ["cell-1", "cell-2"], 1)
    document = await until(platform.directory)
    assert document["slots"] == [[1, "cell-2"], [HALF - 1, "cell-1"], [HALF, "cell-2"]]
    assert (document["isolated"], document["unit_cells"]) == ({WALLET: unit}, {str(unit): "cell-1"})
    assert document["epochs"] == {"0": 2, str(unit): 4}
    assert set((await platform.states()).values()) == {"active"}
    again = await rebuild(platform)
    assert (again.status_code, again.json()["changed"]) == (200, 0)


async def waits(platform: RunningPlatform, reason: str) -> bool:
    return reason in {found for found, _ in await platform.waiting()}


async def test_every_cell_must_answer_and_agree(platform: RunningPlatform, new_cell: NewCell) -> None:
    assert await refusal(platform) == (503, "cell_must_answer"), "nobody has registered yet"
    lower, upper = await owners(new_cell)
    await platform.register("cell-1", lower.admin_url)
    assert await refusal(platform) == (409, "claims_must_agree"), "half of the slots have no owner"
    await platform.register("cell-2", upper.admin_url)
    upper.given[7] = ("active", 1)
    answer = await rebuild(platform)
    assert answer.json()["reason"] == "claims_must_agree"
    assert answer.json()["disagreements"] == [{"fault": "cell-1 and cell-2 both own it at epoch 1", "units": [7]}]
    del upper.given[7]
    await upper.stop()
    assert await refusal(platform) == (503, "cell_must_answer")
    assert await platform.directory() is None


async def test_a_large_change_needs_to_be_meant(platform: RunningPlatform, new_cell: NewCell) -> None:
    born, cells = platform, {name: await new_cell(name) for name in ("cell-1", "cell-2")}
    for cell in cells.values():
        await born.register(cell.cell, cell.admin_url)
    before = await until(born.directory)
    for unit in range(1_000):
        cells["cell-1"].given[unit] = ("moved", 2)
        cells["cell-2"].given[unit] = ("active", 2)
    assert await refusal(born) == (409, "change_must_be_allowed")
    assert (await born.get("/v1/directory")).json()["version"] == before["version"]
    meant = await rebuild(born, allow_large_change=True)
    assert (meant.status_code, meant.json()["changed"]) == (200, 1_000)
    document = (await born.get("/v1/directory")).json()
    assert document["slots"][0] == [1_000, "cell-2"]
    assert document["is_large_change_meant"]
    assert document["version"] > before["version"]


async def test_nothing_is_rebuilt_while_units_are_on_their_way(
    born: RunningPlatform, new_cell: NewCell, database: Database
) -> None:
    third = await new_cell("cell-3")
    await born.register("cell-3", third.admin_url)
    await until(lambda: _is_ready(born))
    await born.client.post("/v1/cells/cell-3/activate", headers=bearer(born.keys.operator()))
    await until(lambda: moves_under_way(database))
    assert await refusal(born) == (409, "moves_must_have_ended")


async def _is_ready(platform: RunningPlatform) -> bool:
    return (await platform.states()).get("cell-3") == "ready"


async def test_versions_go_on_above_any_earlier_life(
    platform: RunningPlatform, new_cell: NewCell, keys: PlatformKeys, database_url: str
) -> None:
    """By the clock: a rebuilt directory is newer than what routers hold."""
    for cell in await owners(new_cell):
        await platform.register(cell.cell, cell.admin_url)
    await until(lambda: waits(platform, "first_cells_must_be_empty"))
    await rebuild(platform)
    first = await until(platform.directory)
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as second:
        assert (await second.directory() or {})["version"] >= first["version"]
    assert first["version"] > 1_700_000_000_000


async def test_a_rebuild_is_for_those_who_manage(platform: RunningPlatform) -> None:
    reader = bearer(platform.keys.operator("fleet:read"))
    denied = await platform.client.post("/v1/directory/rebuild", json={}, headers=reader)
    assert (denied.status_code, denied.json()["reason"]) == (403, "scope_must_allow_manage")
    assert await refusal(platform, force=True) == (400, "request_must_be_well_formed")
