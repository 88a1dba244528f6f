"""Releases of one machine: described once under a digest, told to zones, and what no release may decide."""

import re
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from cellwallet.local.releases import Launch, ReleaseMustBeKnownError, Releases, Told, our_launch
from control_plane.rollouts.model import IMAGE_PATTERN

OWN = Launch(label="1.0", python=sys.executable)
NEW = Launch(label="2.0", python=sys.executable, code=("/somewhere",), settings={"CELL_LOG_LEVEL": "warning"})


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "releases", OWN)


def test_an_image_names_its_description_and_passes_as_one(releases: Releases) -> None:
    image = releases.add(NEW)
    assert releases.launch_of(image) == NEW
    assert releases.add(NEW) == image
    assert image != OWN.image != Launch(label="1.0", python="/other/python").image
    assert re.fullmatch(IMAGE_PATTERN, image)


def test_nobody_else_reads_or_writes_what_cells_are_started_with(releases: Releases, tmp_path: Path) -> None:
    """A setting may be a secret, and an interpreter is run."""
    releases.add(NEW)
    assert (tmp_path / "releases").stat().st_mode & 0o077 == 0


def test_what_zones_are_told_is_remembered_by_the_next_platform(releases: Releases, tmp_path: Path) -> None:
    image = releases.add(NEW)
    releases.tell("cell-1", "a", Told(image=image, fence=3, generation=2))
    releases.note_prepared("cell-1", image)
    again = Releases(tmp_path / "releases", OWN)
    assert again.told("cell-1", "a") == Told(image=image, fence=3, generation=2)
    assert again.told("cell-1", "b") == Told(image=OWN.image)
    assert (again.launch_for("cell-1", "a"), again.launch_for("cell-1", "b")) == (NEW, OWN)
    assert (again.migration_for("cell-1"), again.migration_for("cell-2")) == (NEW, OWN)


def test_a_zone_that_was_told_something_keeps_it_when_the_platform_itself_is_newer(tmp_path: Path) -> None:
    first = Releases(tmp_path / "releases", OWN)
    first.tell("cell-1", "a", Told(image=OWN.image, fence=1, generation=2))
    newer = Releases(tmp_path / "releases", NEW)
    assert newer.launch_for("cell-1", "a") == OWN
    assert newer.launch_for("cell-1", "b") == NEW


@pytest.mark.parametrize("how", ["gone", "changed", "unknown"])
def test_an_image_whose_description_is_not_there_is_never_started(releases: Releases, how: str, tmp_path: Path) -> None:
    image = releases.add(NEW)
    file = tmp_path / "releases" / f"{image.rpartition(':')[2]}.json"
    if how == "gone":
        file.unlink()
    elif how == "changed":
        file.write_text(OWN.model_dump_json())
    else:
        image = f"local/2.0@sha256:{'0' * 64}"
    releases.tell("cell-1", "a", Told(image=image))
    assert releases.launch_of(image) is None
    with pytest.raises(ReleaseMustBeKnownError, match="no description"):
        releases.launch_for("cell-1", "a")


@pytest.mark.parametrize(
    "settings",
    [
        {"PATH": "/tmp"},
        {"CELL_ID": "cell-9"},
        {"CELL_DATABASE_URL": "postgresql://elsewhere"},
        {"CELL_JOIN_TOKEN": "stolen"},
        {"CELL_CONTROL_PLANE_URL": "http://elsewhere"},
        {"cell_log_level": "debug"},
    ],
    ids=str,
)
def test_who_a_process_is_and_whom_it_trusts_is_decided_by_the_platform(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Launch(label="2.0", python=sys.executable, settings=settings)


def test_without_a_release_the_code_that_runs_is_what_cells_run() -> None:
    own = our_launch("1.0")
    assert own.python == sys.executable
    assert Path(own.code[0]) == Path(__file__).parents[3]
    assert own.command("cell", "serve") == (sys.executable, "-P", "-m", "cell", "serve")
    assert own.environment()["CELLWALLET_IMAGE"] == own.image
