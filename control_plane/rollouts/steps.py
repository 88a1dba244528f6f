"""The steps of a rollout: what the worker is told to do next, and what it knows while it decides."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from contract.ids import CellId
from contract.values import value
from control_plane.fleet.model import Unreachable
from control_plane.rollouts.gates import Obstacle
from control_plane.rollouts.model import CellSeen, Deployment
from control_plane.rollouts.reasons import RolloutReason
from control_plane.rollouts.states import RolloutEvent, RolloutStop


@value
class Advance:
    event: RolloutEvent


@value
class Prepare:
    """Bring the cell's schema to what the release needs; what runs goes on meanwhile."""

    cell: CellId


@value
class PutImage:
    """Only where it still runs `expected`; with both alike nothing is replaced, and an older worker is shut out."""

    deployment: Deployment
    expected: str
    image: str


@value
class NotePatched:
    """It is told to run the release, by us, and that is not recorded yet."""

    deployment: Deployment


@value
class NoteSettled:
    deployment: Deployment


@value
class NoteRestoring:
    deployment: Deployment


@value
class NoteRestored:
    deployment: Deployment


@value
class Judge:
    """Look at what the cells did in this window, and record what that says."""

    began_at: datetime
    ended_at: datetime
    doubt: str | None = None
    """Why the cells were not all of what is to be judged: such a window is never good."""


@value
class AuditCells:
    """Ask the updated cells whether their books are whole."""


@value
class StopRollout:
    kind: RolloutStop
    reason: RolloutReason
    detail: str


@value
class Wait:
    reason: RolloutReason
    detail: str


Step = (
    Advance
    | Prepare
    | PutImage
    | NotePatched
    | NoteSettled
    | NoteRestoring
    | NoteRestored
    | Judge
    | AuditCells
    | StopRollout
    | Wait
)


@value
class Surroundings:
    """What a worker saw a moment ago."""

    cells: Mapping[CellId, CellSeen | Unreachable]
    obstacle: Obstacle | None
    fence: int
    """Of the worker that decides."""
    watched_since: datetime
    """Since when this worker can say what the cells did; a window cannot begin before."""
    prepared: frozenset[CellId] = frozenset()
    """Cells whose schema this worker has begun to bring to what the release needs."""
    evacuated_zones: frozenset[str] = frozenset()
    """Nothing may be placed there: what does not become ready in them is no fault of a release."""
    zones_back_at: Mapping[str, datetime] = field(default_factory=dict)
