"""An evacuation and what becomes of each primary database that lives in the zone, as values."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from contract.directory import CellState, DirectoryDocument
from contract.ids import CellId
from contract.values import value
from control_plane.evacuations.states import KEEPS_TRAFFIC_AWAY, EvacuationState

AT_ONCE = 2
"""Switch-overs under way at a time: each keeps a cell's writes waiting for a moment."""
PATIENCE = timedelta(minutes=10)
"""For the next primary to begin its way or to be there; then those that are not count as failed, and it goes on."""
LOOKED_FOR = timedelta(minutes=1)
"""After the end, for primaries that are said to wait: one may have been ordered, and its record lost with a worker.
Where nobody answers, the next evacuation need not wait for longer."""
GAP_MAX = timedelta(minutes=1)
"""Between two turns of a worker; after a longer one nobody has waited, for nobody has looked."""
LASTS_MAX = timedelta(days=7)
"""An evacuation that nobody ends must end: the fleet has no spare zone meanwhile."""

EvacuationKind = Literal["evacuation", "fail_back"]
EVACUATION_KINDS: tuple[EvacuationKind, ...] = ("evacuation", "fail_back")
PrimaryState = Literal["waiting", "switching", "switched", "not_available", "failed"]
PRIMARY_STATES: tuple[PrimaryState, ...] = ("waiting", "switching", "switched", "not_available", "failed")
PRIMARY_MOVES: frozenset[PrimaryState] = frozenset({"switching", "switched"})
PRIMARY_SETTLED: frozenset[PrimaryState] = frozenset({"switched", "not_available", "failed"})


class EvacuationReason(StrEnum):
    """Why it waits, or why an order was not taken."""

    DIRECTORY_MUST_SAY_SO = "directory_must_say_so"
    ROUTERS_MUST_ACKNOWLEDGE = "routers_must_acknowledge"
    PRIMARIES_MUST_SWITCH = "primaries_must_switch"
    ZONE_MUST_BE_CORDONED = "zone_must_be_cordoned"
    EVACUATION_EXISTS_WITH_DIFFERENT_ZONE = "evacuation_exists_with_different_zone"
    ANOTHER_EVACUATION_MUST_HAVE_ENDED = "another_evacuation_must_have_ended"
    ZONE_MUST_BE_KNOWN = "zone_must_be_known"
    CELLS_MUST_SERVE_IN_ANOTHER_ZONE = "cells_must_serve_in_another_zone"


@value
class Primary:
    """The primary database of a cell: not to be in the zone, or to come back to it.

    An evacuation has one of each cell: where a primary is, is known only when it is its turn.
    """

    cell: CellId
    state: PrimaryState = "waiting"
    detail: str = ""


@value
class EvacuationRecord:
    id: str
    kind: EvacuationKind = "evacuation"
    zone: str
    state: EvacuationState
    primaries: tuple[Primary, ...]
    expires_at: datetime
    announced_version: int | None = None
    """The directory that shows the present wish: traffic kept away, or back."""
    is_end_ordered: bool = False
    cordon: str = ""
    """What became of the cordon, in words."""
    reason: str | None = None
    detail: str | None = None
    ordered_by: str
    ordered_at: datetime
    changed_at: datetime
    """When its state changed last, or a primary began its way or was where it was wanted."""
    ended_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.state != "ended"

    @property
    def keeps_traffic_away(self) -> bool:
        return self.kind == "evacuation" and self.state in KEEPS_TRAFFIC_AWAY


@value
class EvacuationOrder:
    evacuation_id: str
    kind: EvacuationKind
    zone: str
    lasts: timedelta
    actor: str
    request_id: str


@value
class ZonedCell:
    """A cell and the zones of its live API processes."""

    id: CellId
    state: CellState
    home_zone: str
    zones: frozenset[str]


@value
class EvacuationRefused:
    reason: EvacuationReason
    detail: str
    facts: Mapping[str, object] | None = None


_SERVING: frozenset[CellState] = frozenset({"active", "draining"})


def refusal_of(
    order: EvacuationOrder, cells: Sequence[ZonedCell], open_ones: Sequence[EvacuationRecord]
) -> EvacuationRefused | None:
    """A rollout that is under way is no obstacle: it waits, and the evacuation does not."""
    if open_ones:
        detail = f"{open_ones[0].kind.replace('_', '-')} {open_ones[0].id} of zone {open_ones[0].zone} is open"
        return EvacuationRefused(reason=EvacuationReason.ANOTHER_EVACUATION_MUST_HAVE_ENDED, detail=detail)
    zones = {cell.home_zone for cell in cells} | {zone for cell in cells for zone in cell.zones}
    if order.zone not in zones:
        detail = f"no cell is in zone {order.zone}; zones are {', '.join(sorted(zones)) or 'none'}"
        return EvacuationRefused(reason=EvacuationReason.ZONE_MUST_BE_KNOWN, detail=detail)
    stuck = sorted(cell.id for cell in cells if cell.state in _SERVING and not cell.zones - {order.zone})
    if order.kind == "evacuation" and stuck:
        detail = f"{', '.join(stuck)} would have no process in any other zone"
        return EvacuationRefused(reason=EvacuationReason.CELLS_MUST_SERVE_IN_ANOTHER_ZONE, detail=detail)
    return None


def primaries_of(order: EvacuationOrder, cells: Sequence[ZonedCell]) -> tuple[Primary, ...]:
    """Back come those whose home it is; away goes whoever is there, and a failover may have brought anybody."""
    there = (cell for cell in cells if cell.state != "retired")
    meant = (cell.id for cell in there if order.kind == "evacuation" or cell.home_zone == order.zone)
    return tuple(Primary(cell=cell) for cell in sorted(meant))


def shows(document: DirectoryDocument, zone: str, *, is_away: bool) -> bool:
    """Whether every cell is listed with, or without, weight 0 for the zone."""
    weights = [cell.zone_weights.get(zone, 1) for cell in document.cells.values()]
    return all(weight == 0 for weight in weights) if is_away else all(weight > 0 for weight in weights)
