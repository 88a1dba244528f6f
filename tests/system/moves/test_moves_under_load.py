"""Units go from cell to cell and back while vendors work on their wallets, and the mover is killed on the way.

After each of them: every acknowledged command is in the owner's ledger exactly once, every id keeps its first answer,
one order explains each wallet, and the full audit of the fleet is clean.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.scenario import Fault, Played, Stage, play
from faults.site import BACK_DEADLINE_S, kill, wait_until
from faults.vendors import Shape
from faults.whole_platform import WholePlatform, whole_platform
from history.checker import told
from history.errors import find_errors
from moving.orders import Operator, arm

pytestmark = pytest.mark.timeout(900)  # a bound for a machine that is busy with other things

HOME, AWAY = "cell-1", "cell-2"
EMPTY_SLOTS = 40
PAUSE_MAX_MS = 2_000
"""Never above, as long as nobody dies; what is usual is measured elsewhere."""
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
    operator = Operator(platform)

    async def fault(stage: Stage) -> None:
        units = await operator.units_of(stage.wallet_ids(HOME))
        for to_cell in (AWAY, HOME):
            move = await operator.ended(
                await operator.start(units=units + await empty_slots(operator), to_cell=to_cell)
            )
            assert move["state"] == "done", move
            assert move["pause_ms_max"] < PAUSE_MAX_MS

    played = await played_with(platform, fault, "there_and_back")
    errors = list(find_errors(played.history, wallet_ids=played.wallet_ids()))
    assert not errors, told(errors)


async def test_a_hot_wallet_goes_alone_and_rejoins_its_slot(platform: WholePlatform) -> None:
    operator = Operator(platform)

    async def fault(stage: Stage) -> None:
        wallet_id = stage.wallet_ids(HOME)[0]
        for to_cell in (AWAY, HOME):
            move = await operator.ended(await operator.start(wallet_id=wallet_id, to_cell=to_cell))
            assert move["state"] == "done", move
            assert (await operator.locate(wallet_id))["cell"] == to_cell
        status, placed = await operator.ask("POST", f"/v1/wallets/{wallet_id}/rejoin")
        assert (status, placed["state"]) == (200, "rejoined")

    played = await played_with(platform, fault, "hot_wallet")
    errors = list(find_errors(played.history, wallet_ids=played.wallet_ids()))
    assert not errors, told(errors)


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
            move = await operator.ended(await operator.start(units=units, to_cell=HOME if number % 2 else AWAY))
            assert move["state"] == "done", (point, move)
            assert await asyncio.to_thread(lambda: not crash_file.exists()), f"nobody came to {point}"

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


async def played_with(platform: WholePlatform, fault: Fault, label: str) -> Played:
    assert await wait_until(platform.is_whole, deadline_s=BACK_DEADLINE_S)
    played = await play(platform, fault, label=label, seed=7, shape=Shape(workers_per_cell=4))
    assert not played.findings, told(played.findings)
    report = await asyncio.to_thread(platform.audit)
    assert report["clean"], report["findings"]
    return played


async def empty_slots(operator: Operator) -> list[int]:
    """Some slots of the first cell; it has the lowest ones, and a test wallet is rarely among them."""
    del operator
    return list(range(EMPTY_SLOTS))
