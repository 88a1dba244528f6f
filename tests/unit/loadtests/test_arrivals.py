"""The schedule of an open loop: a constant rate, whatever anybody does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals import Arrivals

RATES = st.floats(min_value=0.5, max_value=50_000)
SHARES = st.integers(min_value=1, max_value=8)


@given(rate=RATES, duration_s=st.floats(min_value=0.1, max_value=120), shares=SHARES)
def test_the_senders_together_send_the_whole_rate(rate: float, duration_s: float, shares: int) -> None:
    parts = [Arrivals(rate_per_s=rate, duration_s=duration_s, share=share, shares=shares) for share in range(shares)]
    assert sum(part.total for part in parts) == int(rate * duration_s)


@given(rate=st.integers(min_value=1, max_value=20_000), shares=SHARES, number=st.integers(0, 5_000))
def test_instants_of_all_senders_are_one_even_comb(rate: int, shares: int, number: int) -> None:
    share = number % shares
    part = Arrivals(rate_per_s=rate, duration_s=1e6, share=share, shares=shares)
    assert part.intended_s(number // shares) == pytest.approx(number / rate)


@given(rate=st.integers(min_value=1, max_value=20_000), elapsed_s=st.floats(0, 10), shares=SHARES)
def test_exactly_those_before_now_are_due(rate: int, elapsed_s: float, shares: int) -> None:
    part = Arrivals(rate_per_s=rate, duration_s=5, share=shares - 1, shares=shares)
    due = part.due(elapsed_s)
    assert 0 <= due <= part.total
    if due:
        assert part.intended_s(due - 1) <= elapsed_s + 1e-9
    if due < part.total:
        assert part.intended_s(due) >= elapsed_s - 1e-9


def test_nothing_is_due_before_the_start() -> None:
    part = Arrivals(rate_per_s=1_000, duration_s=1)
    assert part.due(-0.5) == 0
    assert part.due(0.0) == 1
    assert part.due(1e9) == part.total == 1_000
