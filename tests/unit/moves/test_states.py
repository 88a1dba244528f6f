"""The life of a move is one table: every state is reached, none before the grant follows one after it."""

import pytest

from control_plane.moves.states import (
    ENDED,
    MOVE_STATES,
    PAST_SEALED,
    STOP_KINDS,
    TRANSITIONS,
    MoveEvent,
    MoveState,
    StopKind,
    state_after,
)


def test_every_state_is_reached_and_every_event_is_used() -> None:
    reached = {state for following in TRANSITIONS.values() for state in following}
    assert reached | {"planned"} == set(MOVE_STATES)
    assert {event for _, event in TRANSITIONS} == set(MoveEvent)


def test_nothing_follows_an_end_and_everything_else_goes_on() -> None:
    going_on = {state for state, _ in TRANSITIONS}
    assert going_on == set(MOVE_STATES) - ENDED


@pytest.mark.parametrize("state", sorted(PAST_SEALED - {"published"}))
def test_after_the_grant_a_portion_only_goes_forward(state: MoveState) -> None:
    following = [after for (before, _), after in TRANSITIONS.items() if before == state]
    assert len(following) == 1
    assert set(following[0]) <= PAST_SEALED


@pytest.mark.parametrize("kind", STOP_KINDS)
def test_a_stopped_move_ends_as_its_stop_says(kind: StopKind) -> None:
    assert state_after("stopping", MoveEvent.UNITS_GIVEN_BACK, stop=kind) == kind


def test_what_the_table_does_not_have_is_no_step() -> None:
    assert state_after("granted", MoveEvent.STOP_ORDERED) is None
    assert state_after("done", MoveEvent.NEXT_PORTION) is None
