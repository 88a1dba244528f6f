"""The moves under load once more, with HAProxy as the data plane: units in transition take the slow path meanwhile.

A router that did not tell HAProxy in time would be seen: as a 421 on the fast path, which HAProxy cannot follow.
"""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.scenario import Stage
from faults.site import wait_until
from faults.whole_platform import WholePlatform
from moving.orders import Operator, arm
from moving.under_load import AWAY, HOME, a_hot_wallet_alone, nobody_noticed, played_with, there_and_back
from running_haproxy import needs_haproxy

from router.haproxy.master import Master
from router.routing.haproxy_maps import AGENT, SLOTS_MAP, WALLETS_MAP

pytestmark = [needs_haproxy, pytest.mark.timeout(900)]  # a bound for a machine that is busy with other things

MAP_DEADLINE_S = 30.0


class BehindHaproxy(WholePlatform):
    def up(self, *, cells: int | None = None) -> None:
        count = () if cells is None else ("--cells", str(cells))
        port = ("--port", str(self._port))
        self.run("up", "--detach", *port, "--shared-buffers-mb", "64", "--router", "haproxy", *count)

    @property
    def maps(self) -> Path:
        return self.folder.state("router") / "haproxy"

    def requests(self) -> list[dict[str, Any]]:
        """What HAProxy logged so far, each answer to a vendor a line."""
        lines = self.folder.log("haproxy").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"event":"request"')]

    async def in_memory(self, name: str) -> dict[str, str]:
        """The map by which the present worker decides."""
        master = Master(self.maps)
        shown = await master.tell(await master.worker(), f"show map {name}")
        entries = (line.split() for line in shown.splitlines() if line.startswith("0x"))
        return {key: backend for _, key, backend in entries}


@pytest.fixture(scope="module")
def crash_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crash") / "point"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, crash_file: Path) -> Iterator[BehindHaproxy]:
    os.environ["CONTROL_PLANE_CRASH_FILE"] = str(crash_file)
    started = BehindHaproxy(tmp_path_factory.mktemp("platform"))
    try:
        started.up(cells=2)
        yield started
    finally:
        started.end()
        del os.environ["CONTROL_PLANE_CRASH_FILE"]


async def test_nobody_notices_a_move_behind_haproxy(platform: BehindHaproxy) -> None:
    before = len(platform.requests())
    nobody_noticed(await played_with(platform, there_and_back(Operator(platform)), "there_and_back_haproxy"))
    was_served_by_both_paths(platform.requests()[before:])


async def test_a_hot_wallet_goes_alone_behind_haproxy(platform: BehindHaproxy) -> None:
    before = len(platform.requests())
    nobody_noticed(await played_with(platform, a_hot_wallet_alone(Operator(platform)), "hot_wallet_haproxy"))
    was_served_by_both_paths(platform.requests()[before:])
    assert await platform.in_memory(WALLETS_MAP) == {}, "it is back in its slot"


@pytest.mark.parametrize("point", ["move.announced", "move.granted"])
async def test_a_unit_in_transition_is_the_agents(platform: BehindHaproxy, crash_file: Path, point: str) -> None:
    """From before it is fenced until the directory says that it has arrived: the mover waits where the routers have
    acknowledged, or where the giver tells everybody who the new owner is, and the unit's vendors go on by the agent.
    """
    operator = Operator(platform)

    async def fault(stage: Stage) -> None:
        moved = stage.wallet_ids(HOME)[:1]
        units = await operator.units_of(moved)
        for to_cell in (AWAY, HOME):
            arm(crash_file, f"{point} hold")
            move_id = await operator.start(units=units, to_cell=to_cell)
            held = crash_file.with_name(f"{crash_file.name}.held")
            assert await wait_until(lambda held=held: exists(held), deadline_s=MAP_DEADLINE_S), "nobody came there"
            assert await wait_until(lambda: all_to(platform, units, AGENT), deadline_s=MAP_DEADLINE_S), "HAProxy asks"
            assert {line.split()[1] for line in lines_of(platform, units)} == {AGENT}, "a reload would know it too"
            served = stage.recorder.decisions_on(moved)
            assert await wait_until(
                lambda served=served: more_than(stage, moved, served + 5), deadline_s=MAP_DEADLINE_S
            ), "the unit is served meanwhile"
            assert await backends(platform, units) == {AGENT}, "what a refusal told is no arrival"
            held.unlink()
            assert (await operator.ended(move_id))["state"] == "done"
            assert await wait_until(
                lambda to_cell=to_cell: all_to(platform, units, to_cell), deadline_s=MAP_DEADLINE_S
            ), "HAProxy goes straight to the new owner"

    before = len(platform.requests())
    nobody_noticed(await played_with(platform, fault, f"held_haproxy_{point}"))
    was_served_by_both_paths(platform.requests()[before:])


def was_served_by_both_paths(requests: list[dict[str, Any]]) -> None:
    """Also nobody saw a refusal that is no decision: neither at the fast path nor by the agent."""
    in_transition = [one for one in requests if one["backend"] == AGENT and one["slow"] == "-"]
    assert in_transition, "units in transition were served, and by the agent"
    assert Counter(one["backend"] for one in requests)[HOME] > 0, "the fast path was used too"
    unwanted = [one for one in requests if one["status"] == 421 or one["status"] >= 500 or one["status"] <= 0]
    assert unwanted == []


async def more_than(stage: Stage, wallet_ids: list[str], decisions: int) -> bool:
    return stage.recorder.decisions_on(wallet_ids) > decisions


async def exists(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)


async def backends(platform: BehindHaproxy, units: list[int]) -> set[str]:
    slots = await platform.in_memory(SLOTS_MAP)
    return {slots[str(unit)] for unit in units}


async def all_to(platform: BehindHaproxy, units: list[int], cell: str) -> bool:
    with contextlib.suppress(KeyError):
        return await backends(platform, units) == {cell}
    return False


def lines_of(platform: BehindHaproxy, units: list[int]) -> list[str]:
    wanted = {str(unit) for unit in units}
    return [
        line
        for line in (platform.maps / SLOTS_MAP).read_text().splitlines()
        if line.split()[:1] and line.split()[0] in wanted
    ]
