"""Admission: never more than the rate allows, and never less for want of a free second."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.api.admission import Admission, TokenBucket
from contract.configuration import CellConfiguration, VendorPolicy
from contract.ids import VendorId
from contract.reasons import Reason

SHOP, BANK = VendorId("shop"), VendorId("bank")

RATES = st.floats(min_value=0.01, max_value=20_000)
GAPS_S = st.floats(min_value=0, max_value=3)
COSTS = st.integers(min_value=1, max_value=1_000)
ROUNDING = 1e-6


def _configuration(*, rates: dict[str, float] | None = None, **fields: Any) -> CellConfiguration:
    return CellConfiguration(
        cell="cell-a",
        version=1,
        issued_at="2027-01-15T08:00:00Z",
        jwks={},
        vendors={vendor: VendorPolicy(rate_per_s=rate) for vendor, rate in (rates or {}).items()},
        **fields,
    )


def _admission(*, now_s: float = 0.0, **fields: Any) -> Admission:
    admission = Admission()
    admission.configure(_configuration(**fields), now_s)
    return admission


def _admitted(admission: Admission, vendor: VendorId, now_s: float, *, tries: int, commands: int = 1) -> int:
    return sum(admission.admit(vendor, now_s, commands=commands) is None for _ in range(tries))


@given(rate=RATES, gaps_s=st.lists(GAPS_S, max_size=60))
def test_never_more_than_rate_times_time_plus_burst(rate: float, gaps_s: list[float]) -> None:
    """In every window, not only from the start: the bound is checked between any two admissions."""
    bucket, now_s = TokenBucket(rate_per_s=rate, now_s=0.0), 0.0
    admitted_at: list[float] = []
    for gap_s in gaps_s:
        now_s += gap_s
        for _ in range(3):
            if bucket.wait_s(1, now_s) == 0:
                bucket.take(1)
                admitted_at.append(now_s)
    for first, start_s in enumerate(admitted_at):
        for last in range(first, len(admitted_at)):
            bound = rate * (admitted_at[last] - start_s) + bucket.burst
            assert last - first + 1 <= bound + ROUNDING


@given(rate=RATES, steps=st.lists(st.tuples(GAPS_S, COSTS), max_size=60))
def test_large_costs_stay_within_rate_times_time_plus_the_largest(rate: float, steps: list[tuple[float, int]]) -> None:
    bucket, now_s, admitted = TokenBucket(rate_per_s=rate, now_s=0.0), 0.0, 0
    for gap_s, cost in steps:
        now_s += gap_s
        if bucket.wait_s(cost, now_s) == 0:
            bucket.take(cost)
            admitted += cost
        largest = max(bucket.burst, *(cost for _, cost in steps))
        assert admitted <= rate * now_s + largest + ROUNDING * (1 + admitted)


@given(rate=RATES, cost=COSTS, spent=COSTS)
def test_after_the_wait_it_fits_and_before_it_does_not(rate: float, cost: int, spent: int) -> None:
    bucket = TokenBucket(rate_per_s=rate, now_s=0.0)
    bucket.take(spent)
    wait_s = bucket.wait_s(cost, 0.0)
    assert bucket.wait_s(cost, wait_s / 2) == pytest.approx(wait_s / 2, abs=ROUNDING)
    assert bucket.wait_s(cost, wait_s * (1 + ROUNDING) + ROUNDING) == 0


@given(rate=RATES, changes=st.lists(st.tuples(RATES, st.integers(1, 16)), min_size=1, max_size=20))
def test_a_new_configuration_is_no_new_burst(rate: float, changes: list[tuple[float, int]]) -> None:
    admission = _admission(rates={SHOP: rate})
    while admission.admit(SHOP, 0.0) is None:
        pass
    for new_rate, processes in changes:
        admission.configure(_configuration(rates={SHOP: new_rate}, api_processes=processes), 0.0)
        assert admission.admit(SHOP, 0.0) is not None


@given(rate=RATES, now_s=st.floats(0, 1e9), back_s=st.floats(0, 1e9))
def test_a_clock_that_steps_back_gives_nothing(rate: float, now_s: float, back_s: float) -> None:
    bucket = TokenBucket(rate_per_s=rate, now_s=now_s)
    bucket.take(bucket.burst)
    assert bucket.wait_s(1, now_s - back_s) > 0


def test_a_clock_that_steps_back_takes_nothing() -> None:
    bucket = TokenBucket(rate_per_s=10, now_s=100.0)
    assert bucket.wait_s(10, 40.0) == 0
    bucket.take(10)
    assert bucket.wait_s(10, 101.0) == 0


@pytest.mark.parametrize(
    ("rate", "processes", "burst"), [(100, 1, 100), (100, 4, 25), (100, 200, 1), (0.5, 1, 1), (2.5, 1, 2)]
)
def test_a_process_enforces_its_share(rate: float, processes: int, burst: int) -> None:
    admission = _admission(rates={SHOP: rate}, api_processes=processes)
    assert _admitted(admission, SHOP, 0.0, tries=200) == burst


@given(rate=RATES, processes=st.integers(1, 32))
def test_the_shares_of_all_processes_are_the_limit(rate: float, processes: int) -> None:
    doors = [_admission(rates={SHOP: rate}, api_processes=processes) for _ in range(processes)]
    shares = [door._vendors[SHOP].rate_per_s for door in doors]
    assert sum(shares) == pytest.approx(rate)


def test_vendors_do_not_share_a_limit() -> None:
    admission = _admission(rates={SHOP: 3})
    assert _admitted(admission, SHOP, 0.0, tries=10) == 3
    assert _admitted(admission, BANK, 0.0, tries=10_000) == 10_000


def test_the_rate_refusal_says_when_to_come_back() -> None:
    admission = _admission(rates={SHOP: 0.25})
    assert admission.admit(SHOP, 0.0) is None
    problem = admission.admit(SHOP, 0.5)
    assert problem is not None
    assert (problem.reason, problem.status) == (Reason.REQUEST_MUST_FIT_RATE_LIMIT, 429)
    assert problem.facts == {
        "retry_after_s": 4,
        "rate_limit": {"policy": "vendor", "quota": 1, "window_s": 4, "remaining": 0, "reset_s": 4},
    }
    assert admission.admit(SHOP, 4.5) is None


def test_the_vendor_is_told_the_limit_of_the_cell_and_not_the_share() -> None:
    admission = _admission(rates={SHOP: 100}, api_processes=100)
    admission.admit(SHOP, 0.0)
    problem = admission.admit(SHOP, 0.0)
    assert problem is not None
    assert "100 requests per second" in problem.detail
    assert problem.facts is not None
    assert problem.facts["rate_limit"]["quota"] == 100


def test_capacity_counts_commands_of_all_vendors_and_no_reads() -> None:
    admission = _admission(capacity_per_s=10)
    assert _admitted(admission, SHOP, 0.0, tries=4, commands=2) == 4
    assert _admitted(admission, BANK, 0.0, tries=5) == 2
    problem = admission.admit(SHOP, 0.0)
    assert problem is not None
    assert (problem.reason, problem.status) == (Reason.CELL_MUST_HAVE_CAPACITY, 429)
    assert admission.admit(SHOP, 0.0, commands=0) is None


def test_a_bulk_above_the_burst_is_served_by_an_idle_cell_and_paid_back() -> None:
    admission = _admission(capacity_per_s=100)
    assert admission.admit(SHOP, 0.0, commands=1_000) is None
    assert admission.admit(SHOP, 9.0) is not None
    assert admission.admit(SHOP, 9.1) is None


def test_a_bulk_that_the_cell_still_owes_for_stops_no_read() -> None:
    admission = _admission(capacity_per_s=100)
    assert admission.admit(SHOP, 0.0, commands=1_000) is None
    assert admission.admit(SHOP, 0.0, commands=0) is None


def test_a_request_that_the_cell_refuses_costs_its_vendor_nothing() -> None:
    admission = _admission(rates={SHOP: 1}, capacity_per_s=1)
    assert admission.admit(BANK, 0.0) is None
    for _ in range(5):
        problem = admission.admit(SHOP, 0.0)
        assert problem is not None
        assert problem.reason is Reason.CELL_MUST_HAVE_CAPACITY
    assert admission.admit(SHOP, 0.0, commands=0) is None


def test_the_vendors_limit_comes_before_the_cells() -> None:
    admission = _admission(rates={SHOP: 1}, capacity_per_s=1)
    assert admission.admit(SHOP, 0.0) is None
    problem = admission.admit(SHOP, 0.0)
    assert problem is not None
    assert problem.reason is Reason.REQUEST_MUST_FIT_RATE_LIMIT


def test_a_limit_that_is_lifted_is_gone() -> None:
    admission = _admission(rates={SHOP: 1}, capacity_per_s=1)
    admission.admit(SHOP, 0.0)
    admission.configure(_configuration(), 0.0)
    assert _admitted(admission, SHOP, 0.0, tries=1_000) == 1_000
