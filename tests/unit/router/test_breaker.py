"""The breaker: the table is whole, and its counters drive it as its header says."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.breaker import TRANSITIONS, Breaker, BreakerLimits, Event, State

LIMITS = BreakerLimits(failures_max=3, cool_down_first_s=1.0, cool_down_max_s=4.0, probe_patience_s=2.0)


def opened(at: float = 100.0) -> Breaker:
    breaker = Breaker(LIMITS)
    for _ in range(LIMITS.failures_max):
        breaker.failed(at)
    return breaker


def test_every_event_that_can_happen_has_a_row() -> None:
    impossible = {
        (State.CLOSED, Event.PROBED),
        (State.OPEN, Event.FAILED_TOO_OFTEN),
        (State.HALF_OPEN, Event.FAILED_TOO_OFTEN),
    }
    assert set(TRANSITIONS) == set(itertools.product(State, Event)) - impossible


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(LIMITS)
    for _ in range(LIMITS.failures_max - 1):
        breaker.failed(0)
    assert breaker.state is State.CLOSED
    breaker.failed(0)
    assert breaker.state is State.OPEN


def test_an_answer_in_between_starts_the_count_again() -> None:
    breaker = Breaker(LIMITS)
    for _ in range(10):
        breaker.failed(0)
        breaker.failed(0)
        breaker.answered()
    assert breaker.state is State.CLOSED


def test_it_lets_nothing_through_until_it_has_cooled_down() -> None:
    breaker = opened(at=100.0)
    assert not breaker.lets_through(100.99)
    assert breaker.lets_through(101.0)
    assert breaker.next_try_at(100.5) == 101.0


def test_one_probe_at_a_time() -> None:
    breaker = opened(at=100.0)
    breaker.sent(101.0)
    assert breaker.state is State.HALF_OPEN
    assert not breaker.lets_through(102.99)


def test_a_lost_probe_is_replaced() -> None:
    breaker = opened(at=100.0)
    breaker.sent(101.0)
    assert breaker.lets_through(103.0)


def test_a_failed_probe_doubles_the_cooling_up_to_its_limit() -> None:
    breaker = opened(at=0.0)
    now, cooled = 0.0, []
    for _ in range(4):
        now = breaker.cool_at
        breaker.sent(now)
        breaker.failed(now)
        cooled.append(breaker.cool_at - now)
    assert cooled == [2.0, 4.0, 4.0, 4.0]
    assert breaker.opened_at == 0.0, "it has not been closed since"


def test_an_answered_probe_closes_it_and_forgets() -> None:
    breaker = opened(at=0.0)
    breaker.sent(1.0)
    breaker.answered()
    assert breaker.state is State.CLOSED
    for _ in range(LIMITS.failures_max):
        breaker.failed(50.0)
    assert (breaker.opened_at, breaker.cool_at) == (50.0, 51.0)


def test_failures_of_requests_under_way_do_not_prolong_the_cooling() -> None:
    breaker = opened(at=100.0)
    breaker.failed(100.9)
    assert breaker.lets_through(101.0)


@pytest.mark.parametrize("state", State)
def test_an_answer_closes_it_from_everywhere(state: State) -> None:
    assert TRANSITIONS[state, Event.ANSWERED] is State.CLOSED


@given(st.lists(st.tuples(st.sampled_from(["answered", "failed", "sent"]), st.floats(0.0, 3.0)), max_size=40))
def test_whatever_happens_it_lets_something_through_in_time(events: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(LIMITS), 0.0
    for what, later_s in events:
        now += later_s
        if what == "answered":
            breaker.answered()
        elif what == "failed":
            breaker.failed(now)
        elif breaker.lets_through(now):
            breaker.sent(now)
        assert breaker.lets_through(now + max(LIMITS.cool_down_max_s, LIMITS.probe_patience_s))
        assert (breaker.state is State.CLOSED) <= breaker.lets_through(now)
