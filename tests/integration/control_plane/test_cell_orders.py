"""Cells come and go by orders: each is recorded, followed by moves, survives a restart, and is refused by name."""

from typing import Any

import pytest
from admin_cell import AdminCell, NewCell
from hand_mover import carry_out, fail, moves_under_way
from platform_keys import bearer
from running_platform import RunningPlatform, running_platform, until

from contract.load import UnitLoad
from contract.slots import SLOTS
from control_plane.fleet.model import Policy
from control_plane.store.database import Database

Cells = dict[str, AdminCell]


@pytest.fixture
async def cells(platform: RunningPlatform, new_cell: NewCell) -> Cells:
    """`cell-1` and `cell-2` share all slots; `cell-3` is ready."""
    started: Cells = {}
    for name in ("cell-1", "cell-2"):
        started[name] = await new_cell(name)
        await platform.register(name, started[name].admin_url)
    await until(platform.directory)
    started["cell-3"] = await new_cell("cell-3")
    await platform.register("cell-3", started["cell-3"].admin_url)
    await until(lambda: is_in(platform, "cell-3", "ready"))
    return started


async def is_in(platform: RunningPlatform, cell: str, state: str) -> bool:
    return (await platform.states())[cell] == state


async def order(platform: RunningPlatform, cell: str, verb: str) -> Any:
    return await platform.client.post(f"/v1/cells/{cell}/{verb}", headers=bearer(platform.keys.operator()))


async def refusal(platform: RunningPlatform, cell: str, verb: str) -> tuple[int, str]:
    answer = await order(platform, cell, verb)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["reason"]


async def units_of(platform: RunningPlatform) -> dict[str, int]:
    return {cell["id"]: cell["units"] for cell in (await platform.get("/v1/cells")).json()["cells"]}


async def carried_until(database: Database, cells: Cells, holds: Any) -> Any:
    async def step() -> Any:
        await carry_out(database, cells)
        return await holds()

    return await until(step, deadline_s=60)


async def test_an_activated_cell_gets_its_share_and_a_drained_one_loses_all(
    platform: RunningPlatform, cells: Cells, database: Database
) -> None:
    activated = await order(platform, "cell-3", "activate")
    assert (activated.status_code, activated.json()["state"], activated.json()["is_filling"]) == (200, "active", True)

    async def is_filled() -> bool:
        return not (await platform.get("/v1/cells/cell-3")).json()["is_filling"]

    await carried_until(database, cells, is_filled)
    assert sorted((await units_of(platform)).values()) == [5461, 5461, 5462]
    drained = await order(platform, "cell-1", "drain")
    assert (drained.status_code, drained.json()["state"]) == (200, "draining")
    await carried_until(database, cells, lambda: is_in(platform, "cell-1", "empty"))
    assert await units_of(platform) == {"cell-1": 0, "cell-2": SLOTS // 2, "cell-3": SLOTS // 2}
    cells["cell-1"].accounts = {"EUR": {"clearing:shop": -7, "migrated": 7}}
    retired = await order(platform, "cell-1", "retire")
    assert (retired.status_code, retired.json()["state"]) == (200, "retired")
    directory = await until(lambda: shows(platform, {"cell-2", "cell-3"}))
    assert {cell for _, cell in directory["slots"]} == {"cell-2", "cell-3"}
    trail = (await platform.get("/v1/changes?subject=cell:cell-1")).json()["changes"]
    assert [(one["actor"], one["after"]["state"]) for one in trail] == [("olga", "retired"), ("olga", "draining")]
    assert trail[0]["after"]["accounts"] == cells["cell-1"].accounts


async def shows(platform: RunningPlatform, cells: set[str]) -> dict[str, Any] | None:
    document = await platform.directory()
    return document if document and set(document["cells"]) == cells else None


async def test_the_same_order_again_changes_nothing(platform: RunningPlatform, cells: Cells) -> None:
    del cells
    for _ in range(2):
        assert (await order(platform, "cell-2", "drain")).json()["state"] == "draining"
        assert (await order(platform, "cell-1", "activate")).json()["state"] == "active"
    assert (await platform.get("/v1/changes?subject=cell:cell-1")).json()["changes"] == []


async def test_what_may_not_be_ordered_is_refused_by_name(platform: RunningPlatform, cells: Cells) -> None:
    assert await refusal(platform, "cell-9", "drain") == (404, "cell_must_exist")
    assert await refusal(platform, "cell-1", "retire") == (409, "cell_must_be_empty")
    await order(platform, "cell-2", "drain")
    assert await refusal(platform, "cell-1", "drain") == (409, "another_cell_must_be_active")
    assert await refusal(platform, "cell-2", "retire") == (409, "cell_must_be_empty")
    await platform.register("cell-4", "http://127.0.0.1:1")
    assert await refusal(platform, "cell-4", "activate") == (409, "cell_must_be_ready")
    assert await refusal(platform, "cell-4", "drain") == (409, "cell_must_be_ready")
    reader = bearer(platform.keys.operator("fleet:read"))
    denied = await platform.client.post("/v1/cells/cell-1/drain", headers=reader)
    assert (denied.status_code, denied.json()["reason"]) == (403, "scope_must_allow_manage")
    assert cells["cell-3"].units().units == ()


async def test_before_the_first_directory_nothing_is_ordered(platform: RunningPlatform, new_cell: NewCell) -> None:
    alone = await new_cell("cell-1")
    await platform.register("cell-1", alone.admin_url)
    await until(lambda: is_in(platform, "cell-1", "ready"))
    assert await refusal(platform, "cell-1", "activate") == (503, "directory_must_be_published")


async def test_an_empty_cell_retires_only_when_nothing_of_it_remains(platform: RunningPlatform, cells: Cells) -> None:
    assert (await order(platform, "cell-3", "drain")).json()["state"] == "empty"
    cell = cells["cell-3"]
    for remaining, reason in (
        ({"units": 1}, "cell_must_own_no_unit"),
        ({"open_transfers": 2}, "transfers_must_be_settled"),
        ({"open_groups": 1}, "transfers_must_be_settled"),
        ({"unpublished_events": 3}, "events_must_be_published"),
        ({"undelivered_events": 1}, "events_must_be_published"),
    ):
        cell.remaining = remaining
        assert await refusal(platform, "cell-3", "retire") == (409, reason)
    cell.remaining = {}
    await cell.stop()
    assert await refusal(platform, "cell-3", "retire") == (503, "cell_must_answer")
    await cell.start()
    assert (await order(platform, "cell-3", "retire")).json()["state"] == "retired"
    assert await refusal(platform, "cell-3", "activate") == (409, "cell_must_not_be_retired")
    again = await platform.register("cell-3", cell.admin_url)
    assert (again.status_code, again.json()["reason"]) == (409, "cell_must_not_be_retired")


async def test_no_cell_takes_part_in_more_than_two_moves(
    platform: RunningPlatform, cells: Cells, database: Database
) -> None:
    del cells
    await order(platform, "cell-3", "activate")
    await until(lambda: moves_under_way(database))
    await until(lambda: waits_for(platform, "concurrent_moves_must_be_fewer"))
    assert len(await moves_under_way(database)) == 2


async def waits_for(platform: RunningPlatform, reason: str) -> bool:
    return reason in {reason for reason, _ in await platform.waiting()}


async def test_a_failed_move_rests_is_told_and_comes_again(
    platform: RunningPlatform, cells: Cells, database: Database
) -> None:
    await order(platform, "cell-3", "activate")
    failed = (await until(lambda: moves_under_way(database)))[0]
    await fail(database, failed, state="aborted", reason="unit_must_converge")
    await until(lambda: waits_for(platform, "failed_move_must_rest"))
    later = await moves_under_way(database)
    assert not {unit.unit for unit in failed.units} & {unit.unit for move in later for unit in move.units}

    async def comes_again() -> bool:
        return (await units_of(platform))["cell-3"] in {5461, 5462}

    await carried_until(database, cells, comes_again)


async def test_units_in_quarantine_are_left_to_an_operator(
    platform: RunningPlatform, cells: Cells, database: Database
) -> None:
    await order(platform, "cell-1", "drain")
    failed = (await until(lambda: moves_under_way(database)))[0]
    await fail(database, failed, state="quarantined", reason="digests_must_match")

    async def only_they_are_left() -> bool:
        return (await units_of(platform))["cell-1"] == len(failed.units)

    with pytest.raises(AssertionError):
        await until(lambda: is_in(platform, "cell-1", "empty"), deadline_s=0.2)
    await order(platform, "cell-3", "activate")
    await carried_until(database, cells, only_they_are_left)
    assert await waits_for(platform, "failed_move_must_rest")


async def test_orders_survive_a_restart_of_the_control_plane(
    database_url: str, platform: RunningPlatform, cells: Cells, database: Database
) -> None:
    await order(platform, "cell-3", "activate")
    await until(lambda: moves_under_way(database))
    platform.app.state.parts.reconciler.run = None  # whoever goes on knows only what is recorded
    async with running_platform(database_url, platform.keys, policy=Policy(first_cells=2)) as second:

        async def is_filled() -> bool:
            return not (await second.get("/v1/cells/cell-3")).json()["is_filling"]

        await carried_until(database, cells, is_filled)
    assert sorted((await units_of(platform)).values()) == [5461, 5461, 5462]


async def rebalance(platform: RunningPlatform, **body: Any) -> Any:
    return await platform.client.post("/v1/rebalances", json=body, headers=bearer(platform.keys.operator()))


async def test_a_dry_run_tells_what_would_move_and_orders_nothing(
    platform: RunningPlatform, cells: Cells, database: Database
) -> None:
    busy = [UnitLoad(unit=unit, wallets=1, entries=100, commands=60) for unit in range(100)]
    cells["cell-1"].loads = busy
    plan = (await rebalance(platform, dry_run=True)).json()
    assert plan["rebalance_id"] is None
    assert [(move["from_cell"], move["to_cell"], move["cause"]) for move in plan["moves"]] == [
        ("cell-1", "cell-2", "spread")
    ]
    assert [share["score"] for share in plan["before"]] == [2.0, 0.0, None]
    assert plan["after"][0]["score"] <= 1.1
    assert await moves_under_way(database) == ()


async def test_an_ordered_rebalance_moves_what_the_plan_says_and_ends(
    platform: RunningPlatform, cells: Cells, database: Database
) -> None:
    busy = [UnitLoad(unit=unit, wallets=1, entries=100, commands=60) for unit in range(100)]
    cells["cell-1"].loads = busy
    ordered = (await rebalance(platform)).json()
    assert (await rebalance(platform)).json()["rebalance_id"] == ordered["rebalance_id"], "one is open at a time"
    (move,) = await until(lambda: moves_under_way(database))
    assert [unit.unit for unit in move.units] == sorted(ordered["moves"][0]["units"])

    async def has_ended() -> bool:
        return (await rebalance(platform)).json()["rebalance_id"] != ordered["rebalance_id"]

    moved = {unit.unit for unit in move.units}
    cells["cell-1"].loads = [one for one in busy if one.unit not in moved]
    cells["cell-2"].loads = [one for one in busy if one.unit in moved]
    await carried_until(database, cells, has_ended)
    assert (await rebalance(platform, dry_run=True)).json()["moves"] == []


async def test_an_even_fleet_tells_why_nothing_moves(platform: RunningPlatform, cells: Cells) -> None:
    del cells
    plan = (await rebalance(platform, dry_run=True)).json()
    assert [one["reason"] for one in plan["waiting"]] == ["imbalance_must_exceed_tolerance"]


async def test_a_rebalance_is_refused_by_name(platform: RunningPlatform) -> None:
    unpublished = await rebalance(platform, dry_run=True)
    assert (unpublished.status_code, unpublished.json()["reason"]) == (503, "directory_must_be_published")
    unknown = await rebalance(platform, faster=True)
    assert (unknown.status_code, unknown.json()["reason"]) == (400, "request_must_be_well_formed")
    reader = bearer(platform.keys.operator("fleet:read"))
    denied = await platform.client.post("/v1/rebalances", json={}, headers=reader)
    assert (denied.status_code, denied.json()["reason"]) == (403, "scope_must_allow_manage")
