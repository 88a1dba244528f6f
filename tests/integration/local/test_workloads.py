"""What a platform on one machine does with what it is told to run: compare-and-set, fences, zone by zone in place."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from platform_keys import PlatformKeys
from releasing.release_world import ReleaseWorld

from cellwallet.local import workloads
from cellwallet.local.control import request
from cellwallet.local.releases import Releases
from contract.ids import CellId
from control_plane.fleet.model import Unreachable
from control_plane.releaser.local_substrate import LocalSubstrate
from control_plane.releaser.substrate import ImageOrder, NotTaken, Outcome, Taken
from control_plane.rollouts.model import CellSeen, ZoneSeen
from control_plane.rollouts.settling import has_failed, why_not_settled

CELL = CellId("cell-1")
DEADLINE_S = 40.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ReleaseWorld]:
    folder = tmp_path / "machine"
    folder.mkdir()
    async with ReleaseWorld(folder, PlatformKeys(tmp_path), "", cells=1) as started:
        yield started


def told(world: ReleaseWorld, zone: str, *, expected: str, image: str, fence: int = 1) -> ImageOrder:
    del world
    return ImageOrder(cell=CELL, zone=zone, expected=expected, image=image, fence=fence)


async def zone_of(world: ReleaseWorld, zone: str) -> ZoneSeen:
    seen = await LocalSubstrate(world.socket).look(CELL, world.own.image)
    assert isinstance(seen, CellSeen), seen
    found = seen.zone(zone)
    assert found is not None
    return found


async def put(world: ReleaseWorld, order: ImageOrder) -> Outcome:
    return await LocalSubstrate(world.socket).put_image(order)


async def until(holds: Callable[[], Any], what: str) -> None:
    ends_at_s = time.monotonic() + DEADLINE_S
    while not await holds():
        assert time.monotonic() < ends_at_s, what
        await asyncio.sleep(0.05)


async def settle(world: ReleaseWorld, zone: str, image: str) -> None:
    async def is_settled() -> bool:
        return why_not_settled(await zone_of(world, zone), image) is None

    await until(is_settled, f"zone {zone} never ran {image}")


async def test_a_zone_is_replaced_and_no_other(world: ReleaseWorld) -> None:
    old, new, before = world.own.image, world.image(), world.pids()
    assert isinstance(await put(world, told(world, "a", expected=old, image=new)), Taken)
    await settle(world, "a", new)
    assert world.running() == {("cell-1", "a"): new, ("cell-1", "b"): old}
    after = world.pids()
    assert after["cell-1-api-a"] != before["cell-1-api-a"]
    assert after["cell-1-api-b"] == before["cell-1-api-b"]


async def test_lost_races_old_fences_and_unknown_images_change_nothing(world: ReleaseWorld) -> None:
    old, new, before = world.own.image, world.image(), world.pids()
    assert isinstance(await put(world, told(world, "a", expected=old, image=old, fence=5)), Taken)
    refusals = {
        "fence 4": told(world, "a", expected=old, image=new, fence=4),
        "is told to run": told(world, "a", expected=new, image=old, fence=6),
        "never described": told(world, "a", expected=old, image=f"local/x@sha256:{'0' * 64}", fence=6),
        "no processes": told(world, "c", expected=old, image=new, fence=6),
    }
    for words, order in refusals.items():
        refused = await put(world, order)
        assert isinstance(refused, NotTaken)
        assert words in refused.detail
    assert world.pids() == before
    assert (await zone_of(world, "a")).fence == 5


async def test_mutant_without_its_fence_an_older_order_is_carried_out(
    world: ReleaseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = world.own.image, world.image()
    assert isinstance(await put(world, told(world, "a", expected=old, image=old, fence=5)), Taken)
    tell = Releases.told

    def forgetful(releases: Releases, cell: str, zone: str) -> workloads.Told:
        known = tell(releases, cell, zone)
        return workloads.Told(image=known.image, fence=0, generation=known.generation)

    monkeypatch.setattr(Releases, "told", forgetful)
    assert isinstance(await put(world, told(world, "a", expected=old, image=new, fence=4)), Taken)


async def test_what_never_becomes_ready_is_given_up_or_taken_back(world: ReleaseWorld) -> None:
    old, bad = world.own.image, world.image(never_ready="1")
    assert isinstance(await put(world, told(world, "a", expected=old, image=bad)), Taken)

    async def is_under_way() -> bool:
        zone = await zone_of(world, "a")
        return zone.total == 1 and zone.available == 0

    await until(is_under_way, "the release never began")
    assert not has_failed(await zone_of(world, "a"), bad), "it runs, and nobody knows how long it takes"
    assert isinstance(await put(world, told(world, "a", expected=bad, image=old, fence=2)), Taken)
    await settle(world, "a", old)


async def test_an_interpreter_that_is_not_there_is_given_up(world: ReleaseWorld) -> None:
    old = world.own.image
    bad = world.releases.add(world.own.model_copy(update={"label": "3.0", "python": "/nowhere/python"}))
    assert isinstance(await put(world, told(world, "b", expected=old, image=bad)), Taken)

    async def has_given_up() -> bool:
        return has_failed(await zone_of(world, "b"), bad)

    await until(has_given_up, "it is still tried")
    assert isinstance(await put(world, told(world, "b", expected=bad, image=old, fence=2)), Taken)
    await settle(world, "b", old)


async def test_the_last_word_wins_while_a_zone_is_being_replaced(world: ReleaseWorld) -> None:
    old, new, newer = world.own.image, world.image(), world.image("3.0", p99_s="0.02")
    assert isinstance(await put(world, told(world, "a", expected=old, image=new, fence=1)), Taken)
    assert isinstance(await put(world, told(world, "a", expected=new, image=newer, fence=1)), Taken)
    await settle(world, "a", newer)


async def test_a_process_that_dies_comes_back_with_what_its_zone_was_told(world: ReleaseWorld) -> None:
    new = world.image()
    await put(world, told(world, "a", expected=world.own.image, image=new))
    await settle(world, "a", new)
    pid = world.pids()["cell-1-api-a"]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        return world.pids()["cell-1-api-a"] not in {pid, None} and (await zone_of(world, "a")).available == 1

    await until(is_back, "nobody started it again")
    assert world.running()["cell-1", "a"] == new


@pytest.mark.parametrize(("well_at", "outcome"), [("1", "done"), ("2", "done"), ("99", "failed")])
async def test_a_migration_that_breaks_off_is_tried_again_and_not_for_ever(
    world: ReleaseWorld, monkeypatch: pytest.MonkeyPatch, well_at: str, outcome: str
) -> None:
    """As when the cell's databases change their roles under it."""
    monkeypatch.setattr(workloads, "MIGRATION_PAUSE_S", 0.1)
    site, image = LocalSubstrate(world.socket), world.image(migrates_at=well_at)
    assert isinstance(await site.prepare(CELL, image), Taken)

    async def is_over() -> bool:
        seen = await site.look(CELL, image)
        assert isinstance(seen, CellSeen)
        assert seen.preparation in {"running", outcome}
        return seen.preparation == outcome

    await until(is_over, f"it never was {outcome}")


async def test_nonsense_over_the_socket_is_refused_in_words(world: ReleaseWorld) -> None:
    for asked in (
        {"do": "put_image"},
        {"do": "look_at_workloads", "cell": "cell-9", "image": "x"},
        {"do": "add_release", "release": {"label": "", "python": ""}},
        {"do": "add_release", "release": {"label": "1", "python": "p", "settings": {"CELL_ID": "x"}}},
    ):
        verb = asked.pop("do")
        answer = await asyncio.to_thread(lambda verb=verb, asked=asked: request(world.socket, verb, **asked))
        assert answer.keys() == {"error"}


async def test_where_no_platform_runs_nobody_is_reached(tmp_path: Path) -> None:
    nobody = LocalSubstrate(tmp_path / "control.sock")
    assert isinstance(await nobody.look(CELL, "x"), Unreachable)
    assert isinstance(await nobody.prepare(CELL, "x"), Unreachable)
