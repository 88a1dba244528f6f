"""What must hold before a cell of a wave is touched. Looked at before each of them, not only before the wave."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime

from contract.directory import CellState
from contract.ids import CellId
from contract.values import value
from control_plane.rollouts.model import RolloutRecord
from control_plane.rollouts.planning import SERVING_STATES, UPDATED_STATES
from control_plane.rollouts.reasons import RolloutReason


@value
class Grounds:
    """What is recorded about the fleet while a rollout is under way."""

    states: Mapping[CellId, CellState]
    moving_cells: frozenset[CellId] = frozenset()
    """Cells that an open move touches."""
    evacuated_zones: Sequence[str] = ()
    zones_back_at: Mapping[str, datetime] = field(default_factory=dict)
    """Of zones that were evacuated of late: when that ended."""


@value
class Obstacle:
    reason: RolloutReason
    detail: str


def without_retired(rollout: RolloutRecord, grounds: Grounds) -> RolloutRecord:
    """Cells that were retired since the order have no processes: they hold nobody up, on the way back neither."""
    gone = frozenset(cell for cell, state in grounds.states.items() if state == "retired")
    if gone.isdisjoint(cell for wave in rollout.waves for cell in wave.cells):
        return rollout
    return replace(
        rollout,
        waves=tuple(
            replace(wave, cells=tuple(cell for cell in wave.cells if cell not in gone)) for wave in rollout.waves
        ),
        deployments=tuple(one for one in rollout.deployments if one.cell not in gone),
    )


def idle_in(rollout: RolloutRecord, grounds: Grounds) -> frozenset[CellId]:
    """Cells of whose traffic nothing is expected: they owned nothing at the order, or have been emptied since."""
    emptied = (cell for cell in rollout.cells_in_hand if grounds.states.get(cell) not in SERVING_STATES)
    return rollout.idle_cells.union(emptied)


def obstacle_of(rollout: RolloutRecord, grounds: Grounds) -> Obstacle | None:
    if rollout.is_paused:
        return Obstacle(reason=RolloutReason.ROLLOUT_MUST_NOT_BE_PAUSED, detail="an operator has paused it")
    if grounds.evacuated_zones:
        detail = f"zone {', '.join(grounds.evacuated_zones)} is evacuated: no two zones may be short at once"
        return Obstacle(reason=RolloutReason.EVACUATION_MUST_HAVE_ENDED, detail=detail)
    gone = [cell for cell in rollout.cells_in_hand if grounds.states.get(cell) not in UPDATED_STATES]
    if gone:
        detail = f"{', '.join(gone)} must be a cell that serves or waits to"
        return Obstacle(reason=RolloutReason.CELLS_MUST_BE_SERVING, detail=detail)
    moving = sorted(grounds.moving_cells.intersection(rollout.cells_in_hand))
    if moving and rollout.state == "planned":
        detail = f"units of {', '.join(moving)} are being moved"
        return Obstacle(reason=RolloutReason.MOVES_OF_CELLS_MUST_HAVE_ENDED, detail=detail)
    return None
