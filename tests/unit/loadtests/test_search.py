"""The search for the highest rate that holds."""

import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.search import WALK_STEP, Search, Walk


def found(capacity_per_s: float, *, start_per_s: float = 10_000, tries: int = 20, is_told: bool = False) -> Search:
    search = Search(start_per_s=start_per_s, precision=0.05, tries_left=tries)
    while (rate := search.next_per_s) is not None:
        search = search.after(rate, has_held=rate <= capacity_per_s, served_per_s=capacity_per_s if is_told else None)
    return search


@given(capacity_per_s=st.floats(min_value=200, max_value=200_000))
def test_it_ends_just_below_the_capacity(capacity_per_s: float) -> None:
    search = found(capacity_per_s, tries=40)
    assert search.held_per_s is not None
    assert search.held_per_s <= capacity_per_s <= search.held_per_s * 1.06


def test_what_an_overloaded_system_served_shortens_the_way() -> None:
    assert found(700, tries=3).held_per_s is None
    assert found(700, tries=3, is_told=True).held_per_s is not None


def test_it_stops_after_its_tries() -> None:
    search = found(1e9, tries=5)
    assert (search.tries_left, search.next_per_s) == (0, None)


def test_a_failure_takes_back_what_held_above_it() -> None:
    search = Search(start_per_s=10_000, precision=0.05, tries_left=5)
    search = search.after(10_000, has_held=True).after(12_500, has_held=True).after(11_000, has_held=False)
    assert search.held_per_s is None
    assert search.candidate_per_s < 11_000


def test_without_any_success_there_still_is_a_candidate() -> None:
    search = Search(start_per_s=10_000, precision=0.05, tries_left=1).after(10_000, has_held=False)
    assert search.next_per_s is None
    assert 0 < search.candidate_per_s < 10_000


def held_on_the_way(holds: Callable[[float], bool], *, candidate_per_s: float, tries: int) -> list[float]:
    walk, held = Walk.of(candidate_per_s), []
    for _ in range(tries):
        rate, has_held = walk.next_per_s, holds(walk.next_per_s)
        held += [rate] if has_held else []
        walk = walk.after(has_held=has_held)
    return held


@given(capacity_per_s=st.floats(min_value=600, max_value=1_500))
def test_a_walk_goes_to_and_fro_over_what_holds(capacity_per_s: float) -> None:
    held = held_on_the_way(lambda rate: rate <= capacity_per_s, candidate_per_s=1_000, tries=30)
    assert capacity_per_s / WALK_STEP**2 <= min(held[-5:]) <= max(held[-5:]) <= capacity_per_s


def test_what_held_is_found_whatever_single_minutes_say() -> None:
    """In one minute 1,000 per second hold, in another 1,400 or 700."""
    minutes = random.Random(7)
    held = held_on_the_way(lambda rate: rate <= 1_000 * minutes.gauss(1, 0.2), candidate_per_s=1_000, tries=200)
    assert statistics.median(held) == pytest.approx(950, rel=0.05)
