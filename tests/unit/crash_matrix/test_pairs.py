"""The table of pairs: nothing is forgotten, nothing is left out without a reason, and the page tells what it holds."""

from itertools import product
from pathlib import Path

import pytest
from crash_matrix.pairs import (
    BACK_MAX_S,
    CASES,
    CELL_POINTS,
    CRASHES,
    PAIRS,
    SUBSET,
    USUAL_S,
    Pair,
    Part,
    Place,
    Special,
    all_points,
    expected_ends,
    name_of,
    why_not,
)
from crash_matrix.table import BROKEN, cases_in

from cell.crash_points import MOVE_POINTS
from control_plane.crash_points import POINTS as MOVER_POINTS

PAGE = Path(__file__).parents[3] / "docs" / "crash_matrix.md"


def test_every_point_of_a_move_is_in_the_table() -> None:
    assert CELL_POINTS.keys() == set(MOVE_POINTS)
    assert [point for place, point in all_points() if place is Place.MOVER] == list(MOVER_POINTS)


def test_every_pair_is_played_or_has_a_reason() -> None:
    for (place, point), victim in product(all_points(), Part):
        pair = Pair(place=place, point=point, victim=victim)
        assert (pair in PAIRS) is (why_not(place, point, victim) is None)
    assert len(set(PAIRS)) == len(PAIRS)
    assert len({name_of(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize(("place", "point"), list(all_points()))
def test_whoever_comes_by_a_point_dies_there(place: Place, point: str) -> None:
    own = {Place.MOVER: Part.MOVER, Place.SOURCE: Part.SOURCE_API, Place.TARGET: Part.TARGET_API}[place]
    (pair,) = [one for one in PAIRS if (one.place, one.point, one.victim) == (place, point, own)]
    assert pair.dies_itself


@pytest.mark.parametrize("part", list(Part))
def test_every_part_dies_before_the_grant_and_after_it(part: Part) -> None:
    points = [one.point for one in PAIRS if one.place is Place.MOVER and one.victim is part]
    granted = MOVER_POINTS.index("move.granted")
    assert any(MOVER_POINTS.index(point) < granted for point in points)
    assert any(MOVER_POINTS.index(point) >= granted for point in points)


def test_the_crash_table_of_the_design_is_covered() -> None:
    """C14 is a restored backup: no crash within a move."""
    assert CRASHES.keys() == {f"C{number}" for number in range(16)} - {"C14"}
    assert all(cases for cases in CRASHES.values())
    assert all(case in CASES for cases in CRASHES.values() for case in cases)


def test_the_subset_of_every_test_run_has_every_part() -> None:
    assert len(set(SUBSET)) >= 8
    assert set(SUBSET) <= set(PAIRS)
    assert {pair.victim for pair in SUBSET} == set(Part)


def test_a_move_ends_back_only_where_it_was_stopped() -> None:
    stopped = {name_of(case) for case in CASES if expected_ends(case) != {"done"}}
    points = {f"mover:{point}:" for point in ("move.discarded", "move.withdrawn")}
    assert all(name == "digests_differ" or any(point in name for point in points) for name in stopped)
    assert name_of(Special.DIGESTS_DIFFER) in stopped


def test_every_part_has_a_stated_time_within_the_bound() -> None:
    assert USUAL_S.keys() == set(Part)
    assert all(usual_s < BACK_MAX_S for usual_s in USUAL_S.values())


def test_the_page_tells_of_exactly_these_cases_and_none_is_broken() -> None:
    text = PAGE.read_text()
    assert cases_in(text) == [name_of(case) for case in CASES], "run `make crash-matrix`"
    assert BROKEN not in text
