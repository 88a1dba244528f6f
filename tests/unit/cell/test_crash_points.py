"""The file that tells a process where to die or to wait: the same rules in a cell and in the mover."""

import asyncio
import os
import signal
from pathlib import Path
from types import ModuleType

import pytest
from crash_matrix.crash_file import CrashFile

from cell import crash_points as of_a_cell
from control_plane import crash_points as of_the_mover

BOTH = pytest.mark.parametrize("copy", [of_a_cell, of_the_mover], ids=["cell", "mover"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "point"


@pytest.fixture
def crash_file(file: Path) -> CrashFile:
    return CrashFile(file)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whom SIGKILL was sent to."""
    pids: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert number == signal.SIGKILL
        pids.append(pid)

    monkeypatch.setattr(os, "kill", kill)
    return pids


@BOTH
@pytest.mark.parametrize("told", ["", "move.granted", "move.granted hold"])
async def test_who_does_not_come_by_the_named_point_goes_on(
    copy: ModuleType, file: Path, crash_file: CrashFile, killed: list[int], told: str
) -> None:
    crash_file.arm(told)
    await copy.CrashPoints(file).reach("move.fenced")
    await copy.CrashPoints(None).reach("move.granted")
    assert (killed, crash_file.told()) == ([], told)


@BOTH
async def test_without_a_file_everybody_goes_on(copy: ModuleType, file: Path, killed: list[int]) -> None:
    await copy.CrashPoints(file).reach("move.fenced")
    assert killed == []


@BOTH
@pytest.mark.parametrize(("told", "left"), [("move.fenced", ""), ("move.fenced always", "move.fenced always")])
async def test_who_comes_by_dies_and_the_next_one_only_if_it_says_so(
    copy: ModuleType, file: Path, crash_file: CrashFile, killed: list[int], told: str, left: str
) -> None:
    crash_file.arm(told)
    await copy.CrashPoints(file).reach("move.fenced")
    assert (killed, crash_file.is_armed) == ([os.getpid()], bool(left))


@BOTH
async def test_who_is_held_says_so_and_waits_until_the_file_is_taken_away(
    copy: ModuleType, file: Path, crash_file: CrashFile, killed: list[int]
) -> None:
    points = copy.CrashPoints(file)
    crash_file.arm("move.fenced hold")
    reaching = asyncio.create_task(points.reach("move.fenced"))
    while crash_file.held_pid() is None:  # noqa: ASYNC110 - a file tells
        await asyncio.sleep(0)
    assert crash_file.held_pid() == os.getpid()
    await points.reach("move.fenced")  # only the first one is held
    assert not reaching.done()
    crash_file.release()
    await reaching
    assert (killed, crash_file.is_armed) == ([], False)


@BOTH
async def test_nobody_is_held_for_ever(
    copy: ModuleType, file: Path, crash_file: CrashFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "HELD_MAX_S", 0.02)
    crash_file.arm("move.fenced hold")
    await copy.CrashPoints(file).reach("move.fenced")
    assert crash_file.held_pid() is not None


def test_both_copies_say_the_same() -> None:
    """Neither may import the other; what follows the list of points is one text."""

    def rules(copy: ModuleType) -> str:
        return Path(str(copy.__file__)).read_text().partition("ALWAYS: Final")[2]

    assert rules(of_a_cell) == rules(of_the_mover)
