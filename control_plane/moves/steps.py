"""The steps of a move as values, what one mover has in hand, and what it sees around it."""

from dataclasses import replace
from datetime import datetime

from contract.directory import CellState
from contract.moves import Fence, Grant, StagedUnit
from contract.values import value
from control_plane.moves.model import CellSeen
from control_plane.moves.reasons import StopReason
from control_plane.moves.states import MoveEvent, StopKind


@value
class Pass:
    """One run over everything of a unit that the target does not have yet."""

    unit: int
    rows: int
    ms: float


@value
class InHand:
    """What this mover did with the portion in hand, since it last looked."""

    passes: tuple[Pass, ...] = ()
    fences: tuple[Fence, ...] = ()
    """Empty = none stands, as far as this mover knows."""
    fenced_at: datetime | None = None
    """When the fence was ordered: no later than it began to stand."""
    is_delta_sent: bool = False
    staged: tuple[StagedUnit, ...] = ()
    setbacks: int = 0
    """How often this portion was not where it was believed to be, or its fence failed."""
    setback: str = ""
    """The last one."""
    not_before: datetime | None = None
    grants: tuple[Grant, ...] = ()
    """The source's word, once it is known."""
    is_seal_void: bool = False
    """The source has granted what the target had sealed, and rows that came late have made the seal void: the source
    stands still, so the target is brought up to it and seals once more."""
    is_given_elsewhere: bool = False
    """The source has granted, but not in this move: nothing of ours may go forward."""
    is_staged: bool = False
    """The target has said that it takes the rows of this move; being said so again costs nothing."""
    is_given_back: bool = False
    """The target has forgotten what was staged, though its rows may still be going."""
    must_discard: bool = False
    """The target wants what it has staged wiped before it takes anything more."""
    discards: int = 0

    def afresh(self) -> "InHand":
        """After something unforeseen: neither fence nor seal is known to be there."""
        return replace(self, fences=(), fenced_at=None, is_delta_sent=False, staged=())

    def set_back(self, why: str, *, not_before: datetime | None = None) -> "InHand":
        """What was copied long ago is not close behind any more: the target is brought close again."""
        firsts = {one.unit: one for one in reversed(self.passes)}
        return replace(
            self.afresh(),
            setbacks=self.setbacks + 1,
            setback=why,
            not_before=not_before,
            passes=tuple(firsts[unit] for unit in sorted(firsts)),
        )


@value
class Surroundings:
    """What the mover saw a moment ago; None where it has not looked, or got no answer."""

    source: CellSeen | None = None
    target: CellSeen | None = None
    source_state: CellState
    target_state: CellState
    is_acknowledged: bool = False
    """Every live router has applied the directory that shows the portion as moving."""


@value
class Look:
    """Ask both cells for the units in hand."""


@value
class TakeUp:
    """Choose the next portion among the units that wait."""


@value
class Announce:
    """Publish the portion as moving."""


@value
class AwaitRouters:
    pass


@value
class Stage:
    pass


@value
class CopyPass:
    unit: int
    is_first: bool


@value
class TakeFence:
    pass


@value
class SendDelta:
    pass


@value
class Seal:
    pass


@value
class GrantUnits:
    pass


@value
class ReadGrants:
    """The source has granted; what exactly, it tells again."""


@value
class Activate:
    pass


@value
class Publish:
    pass


@value
class Tombstone:
    pass


@value
class TakeFenceDown:
    pass


@value
class Discard:
    pass


@value
class Withdraw:
    """Publish the portion as no longer moving, still with the source."""


@value
class Advance:
    """Record that the move has come further."""

    event: MoveEvent


@value
class Stop:
    """Record that the move is given up, and why."""

    kind: StopKind
    reason: StopReason
    detail: str


@value
class Wait:
    reason: StopReason
    detail: str


Step = (
    Look
    | TakeUp
    | Announce
    | AwaitRouters
    | Stage
    | CopyPass
    | TakeFence
    | SendDelta
    | Seal
    | GrantUnits
    | ReadGrants
    | Activate
    | Publish
    | Tombstone
    | TakeFenceDown
    | Discard
    | Withdraw
    | Advance
    | Stop
    | Wait
)
