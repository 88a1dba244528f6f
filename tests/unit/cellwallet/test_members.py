"""Which cells a data folder holds, and where their processes are."""

from pathlib import Path

import pytest

from cellwallet.local.members import Members, ensure_members, member, record_retired


def members(path: Path, cells: int | None = None) -> Members:
    return ensure_members(path, cells=cells, default_cells=3, api_processes=2)


def test_the_first_start_makes_the_default_or_what_was_asked_for(tmp_path: Path) -> None:
    assert [one.id for one in members(tmp_path / "a").cells] == ["cell-1", "cell-2", "cell-3"]
    assert [one.id for one in members(tmp_path / "b", cells=1).cells] == ["cell-1"]


@pytest.mark.parametrize(("asked", "then"), [(None, 4), (2, 4), (4, 4), (6, 6)])
def test_a_later_start_keeps_all_and_may_add(tmp_path: Path, asked: int | None, then: int) -> None:
    path = tmp_path / "cells.json"
    members(path, cells=4)
    again = members(path, cells=asked)
    assert len(again.cells) == then
    assert again.first_cells == 4
    assert len(members(path).cells) == then


def test_processes_are_in_the_home_zone_and_the_next_ones() -> None:
    found = [member(number, api_processes=2) for number in range(4)]
    assert [(one.home_zone, one.api_zones) for one in found] == [
        ("a", ("a", "b")),
        ("b", ("b", "c")),
        ("c", ("c", "a")),
        ("a", ("a", "b")),
    ]


def test_a_retired_cell_stays_away_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    members(path, cells=3)
    record_retired(path, "cell-2")
    record_retired(path, "cell-2")
    for asked, then in ((None, ["cell-1", "cell-3"]), (3, ["cell-1", "cell-3"]), (4, ["cell-1", "cell-3", "cell-4"])):
        found = members(path, cells=asked)
        assert [one.id for one in found.cells] == then
        assert (found.retired, found.first_cells) == (("cell-2",), 3)
    assert members(path).numbered == 4


def test_standbys_are_kept_until_somebody_wants_none(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"

    def have_standbys(wanted: bool | None = None, *, cells: int | None = None) -> bool:  # noqa: FBT001 - as it is asked
        made = ensure_members(path, cells=cells, default_cells=2, api_processes=1, standbys=wanted)
        return made.have_standbys

    assert not have_standbys()
    assert have_standbys(True)  # noqa: FBT003
    assert have_standbys(cells=3)
    record_retired(path, "cell-1")
    assert have_standbys()
    assert not have_standbys(False)  # noqa: FBT003
    assert not have_standbys()
