"""The data folder: one holder at a time, and leftovers that are ended for certain or left alone for certain."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellwallet.local.folder import DataFolder, FolderMustBeFreeError

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        yield process
        process.kill()


def test_a_second_holder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with DataFolder(tmp_path).held(), pytest.raises(FolderMustBeFreeError) as refusal, DataFolder(tmp_path).held():
        pass
    assert f"pid {os.getpid()}" in str(refusal.value)
    assert "cellwallet down" in str(refusal.value)


def test_the_folder_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cellwallet.local.folder import DataFolder\n"
        "with DataFolder(Path(sys.argv[1])).held(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = DataFolder(tmp_path).holder()
        assert found is not None
        assert found.pid == holder.pid
        holder.kill()
    assert DataFolder(tmp_path).holder() is None
    with DataFolder(tmp_path).held():
        pass


def test_a_folder_that_never_ran_has_no_holder(tmp_path: Path) -> None:
    assert DataFolder(tmp_path / "none").holder() is None
    assert DataFolder(tmp_path).end_leftovers() == []


def test_leftovers_are_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    DataFolder(tmp_path).record_processes({"cell-1-api-1": sleeper.pid})
    assert DataFolder(tmp_path).recorded_and_running() == ["cell-1-api-1"]
    assert DataFolder(tmp_path).end_leftovers() == ["cell-1-api-1"]
    assert sleeper.wait(timeout=10) != 0


def test_another_process_with_the_pid_of_a_dead_one_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = DataFolder(tmp_path)
    folder.record_processes({"cell-1-api-1": sleeper.pid})
    notes = tmp_path / "processes.json"
    recorded = json.loads(notes.read_text())
    recorded["cell-1-api-1"]["started_ticks"] -= 1
    notes.write_text(json.dumps(recorded))
    assert folder.end_leftovers() == []
    assert sleeper.poll() is None
