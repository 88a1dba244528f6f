"""A cell loses its primary, again and again, in the middle of load through the router; its standby takes over.

After each change of roles: every acknowledged command is in the ledger exactly once, every id keeps its first answer,
one order explains each wallet, all money sums to zero and the full audit is clean. Mutants show that a loss is found.
"""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from faults.faults import MOMENT_S
from faults.scenario import DECISIONS, Fault, Stage, play
from faults.site import BACK_DEADLINE_S, kill_now, wait_until
from faults.vendors import Shape
from faults.whole_platform import WholePlatform, whole_platform
from history.checker import checks_of, told
from history.errors import find_errors

from cellwallet.local.pair_file import primary_folder
from cellwallet.local.postgres import Cluster

pytestmark = pytest.mark.timeout(900)

CELL, NEIGHBOUR = "cell-1", "cell-2"
STANDBYS = ("--standbys", "--api-processes", "1")
ROUNDS = 3
BUSY = Shape(pause_mean_s=0.004)
BEHIND_S = 1.0
"""How long the standby stands still before the primary dies: this is when one that does not wait runs ahead."""


@pytest.fixture(scope="module")
def with_standbys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePlatform]:
    with whole_platform(tmp_path_factory.mktemp("standbys"), cells=2, options=STANDBYS) as platform:
        yield platform


def losing_primaries(platform: WholePlatform, *, rounds: int) -> Fault:
    """SIGKILL to every process of the primary, at any moment, some of them while the standby is behind."""

    async def fault(stage: Stage) -> None:
        for number in range(rounds):
            promotions = platform.standby(CELL)["promotions"] + 1
            await asyncio.sleep(stage.dice.uniform(0, MOMENT_S))
            stopped = senders(platform) if number % 2 == 0 else []
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(BEHIND_S if stopped else 0)
            kill_now(platform, platform.database_of(CELL, role="primary"))

            async def has_taken_over(wanted: int = promotions) -> bool:
                return (await asyncio.to_thread(platform.standby, CELL))["promotions"] == wanted

            assert await wait_until(has_taken_over, deadline_s=stage.patience_s)
            if not await stage.load.wait_for_decisions(DECISIONS // 2, deadline_s=stage.patience_s):
                return
            await wait_until(
                lambda wanted=promotions: platform.is_protected(CELL, promotions=wanted), deadline_s=stage.patience_s
            )

    return fault


def senders(platform: WholePlatform) -> list[int]:
    """Of the primary, what sends its log to the standby; stopped, it dies with what it has not sent."""
    primary = Cluster(primary_folder(platform.folder, CELL))
    with psycopg.connect(primary.url()) as connection:
        return [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_replication")]


def switching_over(platform: WholePlatform, *, rounds: int) -> Fault:
    async def fault(stage: Stage) -> None:
        for _ in range(rounds):
            promotions = platform.standby(CELL)["promotions"] + 1
            await asyncio.sleep(stage.dice.uniform(0, MOMENT_S))
            answer = await asyncio.to_thread(platform.run, "cells", "switch-over", CELL, "--json")
            assert json.loads(answer.stdout)["pause_s"] > 0
            await stage.load.wait_for_decisions(DECISIONS // 2, deadline_s=stage.patience_s)
            assert await wait_until(
                lambda wanted=promotions: platform.is_protected(CELL, promotions=wanted), deadline_s=stage.patience_s
            )

    return fault


async def test_no_acknowledged_write_is_lost_when_primaries_are_killed(with_standbys: WholePlatform, seed: int) -> None:
    fault = losing_primaries(with_standbys, rounds=ROUNDS)

    played = await play(with_standbys, fault, label="failover", seed=seed, shape=BUSY)

    assert not played.findings, told(played.findings)
    assert not played.gave_up, f"{len(played.gave_up)} commands, the first is {played.gave_up[0]}"
    errors = list(find_errors(played.history, wallet_ids=played.wallet_ids(but_of=CELL)))
    assert not errors, told(errors)
    report = with_standbys.audit()
    assert report["clean"], report["findings"]


async def test_no_acknowledged_write_is_lost_when_roles_change_by_order(
    with_standbys: WholePlatform, seed: int
) -> None:
    fault = switching_over(with_standbys, rounds=ROUNDS)

    played = await play(with_standbys, fault, label="switch-over", seed=seed, shape=BUSY)

    assert not played.findings, told(played.findings)
    assert not played.gave_up, f"{len(played.gave_up)} commands, the first is {played.gave_up[0]}"
    report = with_standbys.audit()
    assert report["clean"], report["findings"]


async def test_who_is_primary_is_known_to_the_next_start(with_standbys: WholePlatform, seed: int) -> None:
    """Everything is killed in the middle of load, some of it between two primaries; standbys need not be asked for."""

    async def kill_everything(stage: Stage) -> None:
        kill_now(with_standbys, with_standbys.database_of(CELL, role="primary"))
        await asyncio.sleep(stage.dice.uniform(0, 1.0))
        with_standbys.kill_everything()

        async def is_noticed() -> bool:
            return any(attempt.answer is None for attempt in stage.recorder.history.attempts)

        assert await wait_until(is_noticed, deadline_s=BACK_DEADLINE_S)

    async def start_again() -> None:
        await asyncio.to_thread(with_standbys.up)

    played = await play(
        with_standbys,
        kill_everything,
        label="everything",
        seed=seed,
        shape=Shape(is_half_patient=False),
        ends_down=True,
        revive=start_again,
    )

    assert not played.findings, told(played.findings)
    for cell in (CELL, NEIGHBOUR):
        assert await wait_until(partial(is_whole_again, with_standbys, cell), deadline_s=BACK_DEADLINE_S)
    report = with_standbys.audit()
    assert report["clean"], report["findings"]


async def is_whole_again(platform: WholePlatform, cell: str) -> bool:
    """A start does not wait for a copy that takes long."""
    return bool((await asyncio.to_thread(platform.standby, cell))["is_protected"])


async def test_mutant_a_supervisor_that_promotes_who_merely_follows_is_found_out(tmp_path: Path, seed: int) -> None:
    platform = WholePlatform(tmp_path / "data")
    up = await asyncio.to_thread(platform.up_as, "promote_who_merely_follows", *STANDBYS, "--cells", "1")
    try:
        fault = losing_primaries(platform, rounds=1)
        played = await play(platform, fault, label="mutant", seed=seed, shape=BUSY, patience_s=20.0)
    finally:
        await asyncio.to_thread(platform.end)
        up.wait()
    assert "lost" in checks_of(played.findings), told(played.findings)


async def test_mutant_a_promotion_that_nobody_records_closes_the_cell(tmp_path: Path, seed: int) -> None:
    platform = WholePlatform(tmp_path / "data")
    up = await asyncio.to_thread(platform.up_as, "forget_to_record", *STANDBYS, "--cells", "1")
    try:
        fault = losing_primaries(platform, rounds=1)
        played = await play(platform, fault, label="mutant", seed=seed, shape=BUSY, patience_s=10.0)
    finally:
        await asyncio.to_thread(platform.end)
        up.wait()
    assert "undecided" in checks_of(played.findings), told(played.findings)
