"""A move, its units, and what the two cells say of them, as values."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from contract.fleet import UnitStateName
from contract.ids import CellId
from contract.values import value
from control_plane.moves.states import ENDED, MoveState, StopKind

MOVES_PER_CELL_MAX = 2
"""Moves that touch one cell at a time; more would cost its wallets too much of its CPU."""
UNITS_OF_A_MOVE_MAX = 16_384

MovePurpose = Literal["order", "rebalancing", "draining"]
MOVE_PURPOSES: tuple[MovePurpose, ...] = ("order", "rebalancing", "draining")
UnitResult = Literal["waiting", "in_hand", "moved", "left"]
UNIT_RESULTS: tuple[UnitResult, ...] = ("waiting", "in_hand", "moved", "left")


@value
class MovedUnit:
    """A unit of a move, and what is recorded of it."""

    unit: int
    from_epoch: int
    """What the source owns it at; the target serves it at one more."""
    result: UnitResult = "waiting"
    portion: int | None = None
    wallets: int | None = None
    entries: int | None = None
    fence_no: int | None = None
    digest: str | None = None
    """Under the last fence whose digests agreed."""
    grant: Mapping[str, Any] | None = None
    """A copy of the source's word, for the day on which the source cannot be asked."""
    granted_at: datetime | None = None
    pause_ms: float | None = None
    """From the order of the fence until the target served."""
    tombstoned_at: datetime | None = None
    cleaned_at: datetime | None = None

    @property
    def to_epoch(self) -> int:
        return self.from_epoch + 1


@value
class MoveRecord:
    """A move as the control plane's database has it."""

    id: str
    from_cell: CellId
    to_cell: CellId
    state: MoveState
    purpose: MovePurpose = "order"
    wallet_id: str | None = None
    """Set when the move was ordered for this one wallet."""
    units: tuple[MovedUnit, ...]
    """In ascending order."""
    portion: int = 0
    announced_version: int | None = None
    """The directory that shows the portion in hand as moving."""
    stop: StopKind | None = None
    reason: str | None = None
    """Why it was stopped, or what it waits for."""
    detail: str | None = None
    difference: Mapping[str, Any] | None = None
    """What the two cells disagreed on, of a move in quarantine."""
    copied_rows: int = 0
    copied_bytes: int = 0
    copy_ms: float = 0.0
    ordered_by: str
    ordered_at: datetime
    changed_at: datetime
    ended_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.state not in ENDED

    @property
    def in_hand(self) -> tuple[MovedUnit, ...]:
        """The units of the portion in hand."""
        return tuple(unit for unit in self.units if unit.result == "in_hand")

    @property
    def waiting(self) -> tuple[MovedUnit, ...]:
        return tuple(unit for unit in self.units if unit.result == "waiting")

    @property
    def moved(self) -> tuple[MovedUnit, ...]:
        return tuple(unit for unit in self.units if unit.result == "moved")


@value
class UnitSeen:
    """A unit as a cell has it; `state` None = unknown there."""

    unit: int
    state: UnitStateName | None
    epoch: int | None
    wallets: int = 0
    entries: int = 0


@value
class CellSeen:
    """What one of the two cells said of the units in hand a moment ago."""

    units: Mapping[int, UnitSeen]
    schema_revision: str
    clock_offset_ms: float
    """Its database's clock against that of the one who asked."""
    is_synchronous: bool
