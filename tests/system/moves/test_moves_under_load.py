"""Units go from cell to cell and back while vendors work on their wallets, and the mover is killed on the way.

After each of them: every acknowledged command is in the owner's ledger exactly once, every id keeps its first answer,
one order explains each wallet, and the full audit of the fleet is clean.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.scenario import Stage
from faults.site import kill
from faults.whole_platform import WholePlatform, whole_platform
from moving.orders import Operator, arm
from moving.under_load import AWAY, HOME, a_hot_wallet_alone, nobody_noticed, played_with, there_and_back

pytestmark = pytest.mark.timeout(900)  # a bound for a machine that is busy with other things

BEFORE_THE_GRANT = ("move.announced", "move.staged", "move.copied", "move.fenced", "move.delta_sent", "move.sealed")
AFTER_THE_GRANT = ("move.granted", "move.activated", "move.published", "move.tombstoned")


@pytest.fixture(scope="module")
def crash_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crash") / "point"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, crash_file: Path) -> Iterator[WholePlatform]:
    os.environ["CONTROL_PLANE_CRASH_FILE"] = str(crash_file)
    try:
        with whole_platform(tmp_path_factory.mktemp("platform")) as started:
            yield started
    finally:
        del os.environ["CONTROL_PLANE_CRASH_FILE"]


async def test_nobody_notices_that_their_wallets_go_and_come_back(platform: WholePlatform) -> None:
    nobody_noticed(await played_with(platform, there_and_back(Operator(platform)), "there_and_back"))


async def test_a_hot_wallet_goes_alone_and_rejoins_its_slot(platform: WholePlatform) -> None:
    nobody_noticed(await played_with(platform, a_hot_wallet_alone(Operator(platform)), "hot_wallet"))


@pytest.mark.parametrize("points", [BEFORE_THE_GRANT, AFTER_THE_GRANT], ids=["before_the_grant", "after_the_grant"])
async def test_a_mover_that_is_killed_anywhere_is_followed_by_one_that_goes_on(
    platform: WholePlatform, crash_file: Path, points: tuple[str, ...]
) -> None:
    """One point for each move; an even number of them, so that everybody is at home in the end."""
    operator = Operator(platform)

    async def fault(stage: Stage) -> None:
        units = await operator.units_of(stage.wallet_ids(HOME)[:2])
        for number, point in enumerate(points):
            arm(crash_file, point)
            target = HOME if number % 2 else AWAY
            move = await operator.ended(await operator.start(units=units, to_cell=target))
            assert await asyncio.to_thread(lambda: not crash_file.exists()), f"nobody came to {point}"
            if move["state"] == "aborted":  # a machine that is slow to start a mover: its fence fell, and all went back
                assert point in BEFORE_THE_GRANT, (point, move)
                move = await operator.ended(await operator.start(units=units, to_cell=target))
            assert move["state"] == "done", (point, move)

    played = await played_with(platform, fault, points[0].replace(".", "_"))
    assert not played.gave_up, f"{len(played.gave_up)} commands, the first is {played.gave_up[0]}"


async def test_a_move_survives_the_processes_of_both_cells(platform: WholePlatform) -> None:
    operator = Operator(platform)

    async def fault(stage: Stage) -> None:
        units = await operator.units_of(stage.wallet_ids(HOME))
        for to_cell, victims in ((AWAY, ("cell-1-postgres", "mover")), (HOME, ("cell-1-api-1", "cell-2-postgres"))):
            move_id = await operator.start(units=units, to_cell=to_cell)
            for part in victims:
                assert await kill(stage.site, part), f"{part} is not back"
            move = await operator.ended(move_id)
            assert move["state"] == "done", move

    await played_with(platform, fault, "both_cells")
