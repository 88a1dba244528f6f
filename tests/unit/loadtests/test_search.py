"""The search for the highest rate that holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.search import CONFIRMED_TENTHS_MAX, CONFIRMED_TENTHS_MIN, Confirmation, Search


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


def confirmed(capacity_per_s: float) -> tuple[list[float], float | None]:
    """The rates that were tried from a candidate of 1,000 per second, and the one that was found."""
    confirmation, tried = Confirmation(candidate_per_s=1_000), []
    while (rate := confirmation.next_per_s) is not None:
        tried.append(rate)
        confirmation = confirmation.after(has_held=rate <= capacity_per_s)
    return tried, confirmation.held_per_s


@pytest.mark.parametrize(
    ("capacity_per_s", "tried", "held"),
    [
        (1_050, [1_000, 1_100], 1_000),
        (1_250, [1_000, 1_100, 1_200, 1_300], 1_200),
        (850, [1_000, 900, 800], 800),
        (999, [1_000, 900], 900),
    ],
)
def test_long_tries_go_down_until_one_holds_or_up_until_one_fails(
    capacity_per_s: float, tried: list[float], held: float
) -> None:
    assert confirmed(capacity_per_s) == (tried, held)


def test_long_tries_come_to_an_end() -> None:
    assert confirmed(1)[1] is None
    assert min(confirmed(1)[0]) == 1_000 * CONFIRMED_TENTHS_MIN / 10
    assert confirmed(1e9)[1] == 1_000 * CONFIRMED_TENTHS_MAX / 10
