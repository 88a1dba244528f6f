"""A zone is evacuated in the middle of load: primaries that are there leave it, others stay, all come home by order.

After it every acknowledged command is in the ledger exactly once, all money sums to zero and the full audit is clean. A
mutant shows that a primary which is left behind is found.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.scenario import DECISIONS, Fault, Stage, play
from faults.site import BACK_DEADLINE_S, kill_now, wait_until
from faults.vendors import Shape
from faults.whole_platform import WholePlatform, whole_platform
from history.checker import told

pytestmark = pytest.mark.timeout(900)

LIGHT = Shape(pause_mean_s=0.05)
API_PROCESSES = 2
STANDBYS = ("--standbys", "--api-processes", str(API_PROCESSES))
AT_HOME = {"cell-1": "a", "cell-2": "b"}


@pytest.fixture(scope="module")
def with_standbys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePlatform]:
    with whole_platform(tmp_path_factory.mktemp("zones"), cells=2, options=STANDBYS) as platform:
        yield platform


def answer_of(platform: WholePlatform, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(platform.run(*arguments, "--json").stdout)
    return document


async def knows_every_process(platform: WholePlatform) -> bool:
    """Whether the control plane does: a process that serves says who it is, and `up` does not wait for that."""
    cells = (await asyncio.to_thread(answer_of, platform, "cells", "list"))["cells"]
    return all(len(cell["api"]) == API_PROCESSES for cell in cells)


def primary_zones(platform: WholePlatform) -> dict[str, str]:
    return {cell.id: platform.standby(cell.id)["primary_zone"] for cell in platform.stack.cells}


def promotions(platform: WholePlatform) -> dict[str, int]:
    return {cell.id: platform.standby(cell.id)["promotions"] for cell in platform.stack.cells}


async def left(platform: WholePlatform, zone: str) -> dict[str, str]:
    """The zone is evacuated and the evacuation ended; what became of each primary."""
    evacuation = await asyncio.to_thread(answer_of, platform, "evacuate", zone, "--for", "1h")
    assert evacuation["state"] == "in_force", evacuation
    ended = await asyncio.to_thread(answer_of, platform, "evacuations", "end", evacuation["evacuation_id"])
    assert ended["state"] == "ended"
    return {one["cell"]: one["state"] for one in evacuation["primaries"]}


async def came_home(platform: WholePlatform, zone: str) -> dict[str, str]:
    back = await asyncio.to_thread(answer_of, platform, "evacuations", "fail-back", zone)
    assert back["state"] == "ended", back
    return {one["cell"]: one["state"] for one in back["primaries"]}


def going_round(platform: WholePlatform) -> Fault:
    async def fault(stage: Stage) -> None:
        await leave_and_come_back(platform, stage)

    return fault


async def leave_and_come_back(platform: WholePlatform, stage: Stage) -> None:
    both = {"cell-1": "switched", "cell-2": "switched"}
    before = promotions(platform)
    assert primary_zones(platform) == AT_HOME

    assert await left(platform, "a") == both
    assert primary_zones(platform) == {"cell-1": "b", "cell-2": "b"}
    assert changes(platform, before) == {"cell-1": 1, "cell-2": 0}, "who was not there was not touched"
    await stage.load.wait_for_decisions(DECISIONS // 2, deadline_s=stage.patience_s)

    assert await left(platform, "b") == both
    assert primary_zones(platform) == {"cell-1": "a", "cell-2": "c"}
    assert changes(platform, before) == {"cell-1": 2, "cell-2": 1}

    assert await came_home(platform, "b") == {"cell-2": "switched"}
    assert await came_home(platform, "a") == {"cell-1": "switched"}
    assert primary_zones(platform) == AT_HOME
    assert changes(platform, before) == {"cell-1": 2, "cell-2": 2}, "who was at home was not touched"


def changes(platform: WholePlatform, before: dict[str, int]) -> dict[str, int]:
    return {cell: count - before[cell] for cell, count in promotions(platform).items()}


def losing_one_first(platform: WholePlatform, cell: str) -> Fault:
    """The primary dies in the moment in which its zone is to be left: its standby elsewhere has taken over."""

    async def fault(stage: Stage) -> None:
        before = promotions(platform)[cell]
        kill_now(platform, platform.database_of(cell, role="primary"))
        assert (await left(platform, AT_HOME[cell]))[cell] == "switched"
        assert primary_zones(platform)[cell] != AT_HOME[cell]
        assert promotions(platform)[cell] == before + 1
        assert await came_home(platform, AT_HOME[cell]) == {cell: "switched"}
        await wait_until(lambda: platform.is_protected(cell, promotions=before + 2), deadline_s=stage.patience_s)
        assert primary_zones(platform) == AT_HOME

    return fault


async def test_primaries_leave_a_zone_and_come_home_under_load(with_standbys: WholePlatform, seed: int) -> None:
    played = await play(with_standbys, going_round(with_standbys), label="evacuation", seed=seed, shape=LIGHT)

    assert not played.findings, told(played.findings)
    assert not played.gave_up, f"{len(played.gave_up)} commands, the first is {played.gave_up[0]}"
    report = with_standbys.audit()
    assert report["clean"], report["findings"]


async def test_a_failover_and_an_evacuation_at_once_are_one_change(with_standbys: WholePlatform, seed: int) -> None:
    fault = losing_one_first(with_standbys, "cell-2")

    played = await play(with_standbys, fault, label="both", seed=seed, shape=LIGHT)

    assert not played.findings, told(played.findings)
    report = with_standbys.audit()
    assert report["clean"], report["findings"]


async def test_mutant_who_evacuates_homes_alone_leaves_a_primary_behind(tmp_path: Path) -> None:
    platform = WholePlatform(tmp_path / "data")
    options = (*STANDBYS, "--cells", "1")
    up = await asyncio.to_thread(platform.up_as, "evacuate_homes_alone", *options)
    try:
        assert await wait_until(lambda: knows_every_process(platform), deadline_s=BACK_DEADLINE_S)
        assert await left(platform, "a") == {"cell-1": "switched"}
        assert primary_zones(platform) == {"cell-1": "b"}
        assert await wait_until(lambda: platform.is_protected("cell-1", promotions=1), deadline_s=BACK_DEADLINE_S)
        assert await left(platform, "b") == {"cell-1": "switched"}
        assert primary_zones(platform) == {"cell-1": "b"}, "it was left behind, and nobody was told"
    finally:
        await asyncio.to_thread(platform.end)
        up.wait()
