"""When and where a request is sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.directory import Instance
from router.routing.journey import (
    ANSWER_MARGIN_S,
    ATTEMPTS_MAX,
    MOVING_WAIT_MAX_S,
    WAIT_FIRST_S,
    WAIT_MAX_S,
    AskAgain,
    GiveUp,
    Journey,
)

ONE, TWO, THREE = (Instance(url=f"http://{n}", zone="z") for n in range(3))
BOTH = (ONE, TWO)
LATE = 1_000.0


def test_another_instance_is_tried_at_once() -> None:
    journey = Journey(LATE)
    assert journey.next_instance(BOTH) == ONE
    assert journey.fell_silent(ONE, BOTH, now=5.0, jitter=0.5) == (AskAgain(at=5.0), False)
    assert journey.next_instance(BOTH) == TWO


def test_when_all_were_tried_in_vain_it_waits_and_begins_again() -> None:
    journey = Journey(LATE)
    for instance in (ONE, TWO):
        journey.next_instance((ONE, TWO, THREE))
        journey.fell_silent(instance, (ONE, TWO, THREE), now=5.0, jitter=1.0)
    assert journey.next_instance((ONE, TWO, THREE)) == THREE
    step, is_round_over = journey.fell_silent(THREE, (ONE, TWO, THREE), now=5.0, jitter=1.0)
    assert (step, is_round_over) == (AskAgain(at=5.0 + WAIT_FIRST_S), True)
    assert journey.next_instance((ONE, TWO, THREE)) == ONE


def test_waits_double_up_to_their_limit_and_are_spread() -> None:
    for jitter in (0.0, 1.0):
        journey = Journey(LATE)
        waits = []
        for _ in range(8):
            step, _ = journey.fell_silent(ONE, (ONE,), now=0.0, jitter=jitter)
            assert isinstance(step, AskAgain)
            waits.append(step.at)
        share = 0.5 + jitter / 2
        assert waits == [pytest.approx(min(WAIT_FIRST_S * 2**n, WAIT_MAX_S) * share) for n in range(8)]


def test_nothing_is_sent_that_cannot_be_answered_in_time() -> None:
    step, _ = Journey(5.0).fell_silent(ONE, BOTH, now=5.0 - ANSWER_MARGIN_S / 2, jitter=0)
    assert isinstance(step, GiveUp)
    step, _ = Journey(5.0).fell_silent(ONE, (ONE,), now=5.0 - WAIT_FIRST_S, jitter=1)
    assert isinstance(step, GiveUp)


def test_sendings_have_a_limit() -> None:
    journey = Journey(LATE)
    for _ in range(ATTEMPTS_MAX):
        journey.next_instance(BOTH)
    assert isinstance(journey.fell_silent(ONE, BOTH, now=0.0, jitter=0)[0], GiveUp)
    assert isinstance(journey.is_moving(now=0.0, jitter=0), GiveUp)


def test_half_of_the_time_is_kept_for_another_instance() -> None:
    journey = Journey(10.0)
    assert journey.answer_by(2.0, has_alternative=True) == 6.0
    assert journey.answer_by(2.0, has_alternative=False) == 10.0


def test_an_instance_that_was_tried_is_no_alternative() -> None:
    journey = Journey(LATE)
    assert journey.has_alternative(BOTH, ONE)
    journey.fell_silent(ONE, BOTH, now=0.0, jitter=0)
    assert not journey.has_alternative(BOTH, TWO)
    assert not journey.has_alternative((ONE,), ONE)


def test_a_new_owner_is_followed_once() -> None:
    journey = Journey(LATE)
    assert journey.was_misdirected(has_new_owner=True, now=3.0) == AskAgain(at=3.0)
    assert isinstance(journey.was_misdirected(has_new_owner=True, now=3.0), GiveUp)


def test_without_a_new_owner_there_is_nobody_to_follow_to() -> None:
    assert isinstance(Journey(LATE).was_misdirected(has_new_owner=False, now=3.0), GiveUp)


def test_a_new_owner_is_asked_at_its_best_instance() -> None:
    journey = Journey(LATE)
    journey.fell_silent(ONE, BOTH, now=0.0, jitter=0)
    journey.was_misdirected(has_new_owner=True, now=0.0)
    assert journey.next_instance(BOTH) == ONE


def test_a_moving_wallet_is_waited_for_in_short_steps() -> None:
    journey = Journey(LATE)
    waits = [journey.is_moving(now=0.0, jitter=1.0) for _ in range(6)]
    assert all(isinstance(step, AskAgain) and 0 < step.at <= MOVING_WAIT_MAX_S for step in waits)
    assert isinstance(Journey(1.0).is_moving(now=0.999, jitter=1.0), GiveUp)


def test_waiting_for_a_cell_ends_with_the_deadline() -> None:
    journey = Journey(5.0)
    assert journey.may_wait_until(4.0, jitter=0.0) == AskAgain(at=4.0)
    assert isinstance(journey.may_wait_until(5.0, jitter=0.0), GiveUp)
    assert isinstance(journey.may_wait_until(None, jitter=0.0), GiveUp)


@given(
    deadline=st.floats(0.001, 30.0),
    steps=st.lists(st.tuples(st.sampled_from(["silent", "moving"]), st.floats(0, 1), st.floats(0, 0.5)), max_size=200),
)
def test_every_journey_ends(deadline: float, steps: list[tuple[str, float, float]]) -> None:
    """Sendings are bounded, and no wait ends behind the deadline."""
    journey, now = Journey(deadline), 0.0
    for what, jitter, took_s in steps:
        instance = journey.next_instance(BOTH)
        now += took_s
        if what == "silent":
            step, _ = journey.fell_silent(instance, BOTH, now=now, jitter=jitter)
        else:
            step = journey.is_moving(now=now, jitter=jitter)
        if isinstance(step, GiveUp):
            break
        assert now <= step.at < deadline
        now = step.at
    assert journey.sendings <= ATTEMPTS_MAX
