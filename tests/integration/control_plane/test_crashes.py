"""The control plane is killed in the middle of a fleet's birth, and the next one finishes it as it was begun.

Two points matter: after the assignment is recorded and before a cell hears of it, and after cells adopted their units
and before the directory is published. Before the second life can go on, a cell joins that would be first in id order:
whoever decides anew would decide differently.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from admin_cell import AdminCell, NewCell, Turnstile, pass_through
from control_plane_process import ControlPlaneProcess, control_plane_process
from platform_keys import PlatformKeys
from running_platform import RunningPlatform, running_platform, until

from control_plane import reconcile
from control_plane.fleet.model import Fleet, Observation, OwnedRun, Policy
from control_plane.fleet.placement import first_shares
from control_plane.fleet.plan import Plan, plan

FIRST = ("cell-b", "cell-c")

Lives = Callable[[], AbstractAsyncContextManager[ControlPlaneProcess]]
Hold = Callable[[AdminCell, Turnstile], None]


def hold_before_adoption(cell: AdminCell, turnstile: Turnstile) -> None:
    cell.before_adoption = turnstile


def hold_after_adoption(cell: AdminCell, turnstile: Turnstile) -> None:
    cell.after_adoption = turnstile


@pytest.fixture
def lives(database_url: str, keys: PlatformKeys, tmp_path: Path) -> Lives:
    """Real processes that are killed with SIGKILL."""
    return lambda: control_plane_process(database_url, keys, tmp_path / "control_plane.log", first_cells=2)


@pytest.mark.parametrize("hold", [hold_before_adoption, hold_after_adoption])
async def test_the_next_process_finishes_what_the_killed_one_began(
    lives: Lives, new_cell: NewCell, database_url: str, hold: Hold
) -> None:
    cells = {name: await new_cell(name) for name in ("cell-a", *FIRST)}
    turnstile = Turnstile()
    hold(cells["cell-c"], turnstile)
    async with lives() as first:
        await register(first, cells, FIRST)
        await turnstile.arrived.wait()
        assert (await first.get("/v1/directory")).status_code == 503
        await first.kill()
    assigned = assignment(database_url)
    await go_away(cells["cell-c"])
    async with lives() as second:
        await finishes_as_begun(second, cells, assigned, database_url)


async def register(platform: RunningPlatform, cells: dict[str, AdminCell], names: tuple[str, ...]) -> None:
    for name in names:
        assert (await platform.register(name, cells[name].admin_url)).status_code == 200


async def go_away(cell: AdminCell) -> None:
    """The held request ends with it, and nothing is held any more when it comes back."""
    await cell.stop()
    cell.before_adoption = cell.after_adoption = pass_through


async def finishes_as_begun(
    platform: RunningPlatform, cells: dict[str, AdminCell], assigned: list[tuple[str, int, int]], database_url: str
) -> None:
    await register(platform, cells, ("cell-a", *FIRST))
    await until(lambda: is_ready(platform, "cell-a"))
    await cells["cell-c"].start()
    document = await until(lambda: published_as_begun(platform, cells))
    assert document["slots"] == [[8192, "cell-b"], [8192, "cell-c"]]
    assert assignment(database_url) == assigned == [("cell-b", 0, 8191), ("cell-c", 8192, 16383)]
    adopted = {name: cell.adopted.runs for name, cell in cells.items() if cell.adopted}
    assert adopted == {"cell-b": ((0, 8191),), "cell-c": ((8192, 16383),)}


async def published_as_begun(platform: RunningPlatform, cells: dict[str, AdminCell]) -> dict[str, object] | None:
    assert cells["cell-a"].puts == [], "a cell without a share was asked to adopt one"
    assert sum(cell.refused for cell in cells.values()) == 0, "a cell was asked to adopt another share"
    return await platform.directory()


async def is_ready(platform: RunningPlatform, cell: str) -> bool:
    return (await platform.states())[cell] == "ready"


def assignment(database_url: str) -> list[tuple[str, int, int]]:
    question = "SELECT cell, min(unit), max(unit) FROM units GROUP BY cell ORDER BY cell"
    with psycopg.connect(database_url) as connection:
        return connection.execute(question).fetchall()


def plan_that_decides_anew(fleet: Fleet, observation: Observation, policy: Policy, now: datetime) -> Plan:
    """The mutant: until everything is published, the shares are those of the cells that are ready now."""
    ready = sorted(cell.id for cell in fleet.cells if cell.state == "ready")
    if fleet.runs and fleet.directory is None and len(ready) >= policy.first_cells:
        shares = first_shares(ready[: policy.first_cells])
        runs = tuple(OwnedRun(first=one.first, last=one.last, cell=one.cell) for one in shares)
        fleet = replace(fleet, runs=runs)
    return plan(fleet, observation, policy, now)


@pytest.mark.parametrize("hold", [hold_before_adoption, hold_after_adoption])
@pytest.mark.parametrize("is_mutant", [False, True])
async def test_a_plan_that_decides_anew_is_found(
    database_url: str,
    keys: PlatformKeys,
    new_cell: NewCell,
    hold: Hold,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_mutant: bool,
) -> None:
    """The same story in this process, where the plan can be replaced; its end without mercy is a cancelled task."""
    if is_mutant:
        monkeypatch.setattr(reconcile, "plan", plan_that_decides_anew)
    cells = {name: await new_cell(name) for name in ("cell-a", *FIRST)}
    turnstile = Turnstile()
    hold(cells["cell-c"], turnstile)
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as first:
        await register(first, cells, FIRST)
        await turnstile.arrived.wait()
    assigned = assignment(database_url)
    await go_away(cells["cell-c"])
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as second:
        with pytest.raises(AssertionError) if is_mutant else nullcontext():
            await finishes_as_begun(second, cells, assigned, database_url)
