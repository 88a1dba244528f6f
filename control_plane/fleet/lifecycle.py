"""The life of a cell as a table: registered -> ready -> active -> draining -> empty -> retired.

The only place that says which state may follow which; the diagram in docs/ is printed from this table.
"""

from collections.abc import Mapping
from enum import StrEnum

from contract.directory import CellState


class CellEvent(StrEnum):
    PREFLIGHT_PASSED = "preflight_passed"
    UNITS_CONFIRMED = "units_confirmed"
    ACTIVATION_ORDERED = "activation_ordered"
    DRAIN_ORDERED = "drain_ordered"
    LAST_UNIT_LEFT = "last_unit_left"
    RETIREMENT_ORDERED = "retirement_ordered"


TRANSITIONS: Mapping[tuple[CellState, CellEvent], CellState] = {
    ("registered", CellEvent.PREFLIGHT_PASSED): "ready",
    ("ready", CellEvent.UNITS_CONFIRMED): "active",
    ("ready", CellEvent.ACTIVATION_ORDERED): "active",
    ("ready", CellEvent.DRAIN_ORDERED): "empty",
    ("active", CellEvent.DRAIN_ORDERED): "draining",
    ("draining", CellEvent.ACTIVATION_ORDERED): "active",
    ("draining", CellEvent.LAST_UNIT_LEFT): "empty",
    ("empty", CellEvent.ACTIVATION_ORDERED): "active",
    ("empty", CellEvent.RETIREMENT_ORDERED): "retired",
}


def state_after(state: CellState, event: CellEvent) -> CellState | None:
    """The next state, or None where the table has no such edge."""
    return TRANSITIONS.get((state, event))
