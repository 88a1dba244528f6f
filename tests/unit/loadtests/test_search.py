"""The search for the highest rate that holds."""

from hypothesis import given
from hypothesis import strategies as st

from loadtests.search import Search


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
