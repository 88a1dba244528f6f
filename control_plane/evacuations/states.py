"""The life of an evacuation as a table; the diagram in docs/ is printed from it. A fail-back begins at `switching`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, get_args

EvacuationState = Literal["ordered", "switching", "cordoning", "in_force", "ending", "ended"]
EVACUATION_STATES: tuple[EvacuationState, ...] = get_args(EvacuationState)
KEEPS_TRAFFIC_AWAY: frozenset[EvacuationState] = frozenset({"ordered", "switching", "cordoning", "in_force"})


class EvacuationEvent(StrEnum):
    ROUTERS_ACKNOWLEDGED = "routers_acknowledged"
    PRIMARIES_LEFT = "primaries_left"
    PRIMARIES_RETURNED = "primaries_returned"
    ZONE_CORDONED = "zone_cordoned"
    END_ORDERED = "end_ordered"
    TRAFFIC_RETURNED = "traffic_returned"


TRANSITIONS: Mapping[tuple[EvacuationState, EvacuationEvent], EvacuationState] = {
    ("ordered", EvacuationEvent.ROUTERS_ACKNOWLEDGED): "switching",
    ("switching", EvacuationEvent.PRIMARIES_LEFT): "cordoning",
    ("switching", EvacuationEvent.PRIMARIES_RETURNED): "ended",
    ("cordoning", EvacuationEvent.ZONE_CORDONED): "in_force",
    ("ordered", EvacuationEvent.END_ORDERED): "ending",
    ("switching", EvacuationEvent.END_ORDERED): "ending",
    ("cordoning", EvacuationEvent.END_ORDERED): "ending",
    ("in_force", EvacuationEvent.END_ORDERED): "ending",
    ("ending", EvacuationEvent.TRAFFIC_RETURNED): "ended",
}


def evacuation_state_after(state: EvacuationState, event: EvacuationEvent) -> EvacuationState | None:
    """The next state, or None where the table has no such edge."""
    return TRANSITIONS.get((state, event))
