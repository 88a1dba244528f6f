"""The life of a cell is exactly the table."""

from itertools import product
from typing import get_args

import pytest

from contract.directory import CellState
from control_plane.fleet.lifecycle import TRANSITIONS, CellEvent, state_after

STATES: tuple[CellState, ...] = get_args(CellState)


@pytest.mark.parametrize(
    ("state", "event", "following"),
    [
        ("registered", CellEvent.PREFLIGHT_PASSED, "ready"),
        ("ready", CellEvent.UNITS_CONFIRMED, "active"),
        ("active", CellEvent.DRAIN_ORDERED, "draining"),
        ("draining", CellEvent.LAST_UNIT_LEFT, "empty"),
        ("empty", CellEvent.RETIREMENT_ORDERED, "retired"),
    ],
)
def test_a_cell_lives_from_registered_to_retired(state: CellState, event: CellEvent, following: CellState) -> None:
    assert state_after(state, event) == following


def test_a_cell_with_units_is_never_retired() -> None:
    leaving = {state for (state, _), following in TRANSITIONS.items() if following == "retired"}
    assert leaving == {"empty"}


def test_nothing_follows_retirement_and_nothing_precedes_registration() -> None:
    assert not [event for event in CellEvent if state_after("retired", event)]
    assert "registered" not in TRANSITIONS.values()


def test_only_a_preflight_makes_a_registered_cell_ready() -> None:
    assert [event for event in CellEvent if state_after("registered", event)] == [CellEvent.PREFLIGHT_PASSED]


def test_every_other_step_is_no_step() -> None:
    others = set(product(STATES, CellEvent)) - TRANSITIONS.keys()
    assert len(others) == len(STATES) * len(CellEvent) - len(TRANSITIONS)
    assert all(state_after(state, event) is None for state, event in others)
