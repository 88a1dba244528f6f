"""Faults of the whole platform, each in the middle of concurrent load through its router.

After each of them: every acknowledged command is in the ledger exactly once, every id keeps its first answer, refusals
have no effect, one order explains each wallet, all money sums to zero, and the full audit is clean. Who must not have
noticed is said by each test. That these tests can fail is shown by test_mutants.py.
"""

import asyncio
from urllib.parse import urlsplit

import pytest
from faults.faults import killing, pausing
from faults.scenario import Played, Stage, play
from faults.site import BACK_DEADLINE_S, dead_port, kill, kill_now, wait_until
from faults.vendors import Shape
from faults.whole_platform import WholePlatform
from history.checker import told
from history.errors import find_errors

pytestmark = pytest.mark.timeout(600)  # a bound for a machine that is busy with other things

STEADY = Shape()
DECISIONS = 60
"""Of each cell, as a sign that it serves."""


async def test_nobody_notices_that_an_api_process_is_killed(platform: WholePlatform, seed: int) -> None:
    played = await play(platform, killing("cell-1-api-1", "cell-1-api-2"), label="api", seed=seed, shape=STEADY)

    assert_nobody_noticed(played, played.wallet_ids())
    assert_all_is_well(played, platform)


async def test_a_killed_postgresql_hurts_only_its_own_cell(platform: WholePlatform, seed: int) -> None:
    played = await play(platform, killing("cell-2-postgres"), label="postgres", seed=seed, shape=STEADY)

    assert_nobody_noticed(played, played.wallet_ids(but_of="cell-2"))
    assert_nobody_gave_up(played)
    assert_all_is_well(played, platform)


async def test_clients_that_ask_again_get_past_a_killed_router(platform: WholePlatform, seed: int) -> None:
    played = await play(platform, killing("router"), label="router", seed=seed, shape=STEADY)

    assert_nobody_gave_up(played)
    assert_all_is_well(played, platform)


async def test_a_paused_api_process_gives_its_locks_back(platform: WholePlatform, seed: int) -> None:
    """Of a cell with a process in the router's zone: the router prefers it, and it holds the locks."""
    fault = pausing("cell-1-api-1", cell="cell-1")

    played = await play(platform, fault, label="pause", seed=seed, shape=Shape(pause_mean_s=0.004))

    assert_nobody_noticed(played, played.wallet_ids(but_of="cell-1"))
    assert_nobody_gave_up(played)
    assert_all_is_well(played, platform)


async def test_without_its_control_plane_the_platform_goes_on(platform: WholePlatform, seed: int) -> None:
    """And starts again from its files: both API processes of a cell, then the router."""
    port = urlsplit(platform.stack.control_plane_url).port
    assert port is not None

    async def lose_the_control_plane(stage: Stage) -> None:
        kill_now(platform, "control-plane")
        async with dead_port(port):
            assert await stage.load.wait_for_decisions(DECISIONS, deadline_s=BACK_DEADLINE_S)
            for part in ("cell-3-api-1", "cell-3-api-2"):
                assert await kill(platform, part), f"{part} must serve from its configuration file"
            assert await stage.load.wait_for_decisions(DECISIONS, deadline_s=BACK_DEADLINE_S)
            stage.findings += find_errors(stage.recorder.history, wallet_ids=stage.wallet_ids())
            assert await kill(platform, "router"), "the router must serve from its file"
            assert await stage.load.wait_for_decisions(DECISIONS, deadline_s=BACK_DEADLINE_S)

    played = await play(platform, lose_the_control_plane, label="control", seed=seed, shape=STEADY)

    assert await wait_until(platform.is_whole, deadline_s=BACK_DEADLINE_S)
    assert_nobody_gave_up(played)
    assert_all_is_well(played, platform)


async def test_nothing_is_lost_when_everything_is_killed_and_started_again(platform: WholePlatform, seed: int) -> None:
    async def kill_everything(stage: Stage) -> None:
        platform.kill_everything()

        async def is_noticed() -> bool:
            return any(attempt.answer is None for attempt in stage.recorder.history.attempts)

        assert await wait_until(is_noticed, deadline_s=BACK_DEADLINE_S)

    async def start_again() -> None:
        await asyncio.to_thread(platform.up)

    played = await play(
        platform,
        kill_everything,
        label="everything",
        seed=seed,
        shape=Shape(is_half_patient=False),
        ends_down=True,
        revive=start_again,
    )

    assert_all_is_well(played, platform)


def assert_all_is_well(played: Played, platform: WholePlatform) -> None:
    assert not played.findings, told(played.findings)
    report = platform.audit()
    assert report["clean"], report["findings"]


def assert_nobody_noticed(played: Played, wallet_ids: list[str]) -> None:
    errors = list(find_errors(played.history, wallet_ids=wallet_ids))
    assert not errors, told(errors)


def assert_nobody_gave_up(played: Played) -> None:
    assert not played.gave_up, f"{len(played.gave_up)} commands, the first is {played.gave_up[0]}"
