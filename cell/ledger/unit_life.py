"""The life of a unit in one cell: a table of its states, and for each step of a move the ladder that allows it.

Each cell decides by compare-and-set on its own row and knows the other cell's only by what a step brings. At most one
cell is active for a unit (I1): the target becomes active only by a grant, a grant is reached only from a standing
fence, and no edge leads from granted back to active at that epoch or below. docs/lives.md is printed from the table.
"""

from dataclasses import replace
from enum import StrEnum

from cell.ledger.model import Instant, UnitStateName
from contract.moves import MoveReason
from contract.slots import Unit
from contract.values import value


class UnitEvent(StrEnum):
    ADOPT = "adopt"
    ISOLATE = "isolate"
    REJOIN = "rejoin"
    FENCE = "fence"
    UNFENCE = "unfence"
    LAPSE = "lapse"
    GRANT = "grant"
    TOMBSTONE = "tombstone"
    STAGE = "stage"
    TAKE_ROWS = "take_rows"
    SEAL = "seal"
    ACTIVATE = "activate"
    DISCARD = "discard"
    GIVE_BACK = "give_back"
    """Discarding what was staged again of a unit that has moved away: the retained rows stay."""
    REVIVE = "revive"
    """At the giver, when the cell that it gave the unit to has lost it by a restore."""
    SUPERSEDE = "supersede"
    """In a cell that was restored: another cell has the unit at a higher epoch (cell/ledger/adjudication.py)."""


State = UnitStateName | None
"""None = unknown in this cell."""

UNIT_TRANSITIONS: dict[tuple[State, UnitEvent], State] = {
    (None, UnitEvent.ADOPT): "active",
    (None, UnitEvent.ISOLATE): "active",
    ("active", UnitEvent.REJOIN): "moved",
    ("active", UnitEvent.FENCE): "fenced",
    ("fenced", UnitEvent.UNFENCE): "active",
    ("fenced", UnitEvent.LAPSE): "active",
    ("fenced", UnitEvent.GRANT): "granted",
    ("granted", UnitEvent.TOMBSTONE): "moved",
    (None, UnitEvent.STAGE): "staging",
    ("moved", UnitEvent.STAGE): "staging",
    ("staging", UnitEvent.TAKE_ROWS): "staging",
    ("staged", UnitEvent.TAKE_ROWS): "staging",
    ("staging", UnitEvent.SEAL): "staged",
    ("staged", UnitEvent.SEAL): "staged",
    ("staged", UnitEvent.ACTIVATE): "active",
    ("staging", UnitEvent.DISCARD): None,
    ("staged", UnitEvent.DISCARD): None,
    ("staging", UnitEvent.GIVE_BACK): "moved",
    ("staged", UnitEvent.GIVE_BACK): "moved",
    ("moved", UnitEvent.REVIVE): "active",
    ("active", UnitEvent.SUPERSEDE): "moved",
    ("fenced", UnitEvent.SUPERSEDE): "moved",
    ("staging", UnitEvent.SUPERSEDE): "moved",
    ("staged", UnitEvent.SUPERSEDE): "moved",
}


@value
class UnitRow:
    """A unit's row of ownership; `epoch` 0 goes with no state."""

    unit: Unit
    state: State = None
    epoch: int = 0
    move_id: str | None = None
    fence_no: int = 0
    """Counts the fences; at the target the source's fence that was sealed."""
    peer_cell: str | None = None
    """The other cell of the move."""
    deadline_us: Instant | None = None
    digest: str | None = None


Verdict = UnitRow | MoveReason
"""The row after the step, the same row where its effect is there already, or why not."""


def _after(row: UnitRow, event: UnitEvent) -> State:
    return UNIT_TRANSITIONS[row.state, event]


def _may(row: UnitRow, event: UnitEvent) -> bool:
    return (row.state, event) in UNIT_TRANSITIONS


# At the source.


def fence(row: UnitRow, *, move_id: str, to_cell: str, now_us: Instant, stands_us: int) -> Verdict:
    """The fence of this move, once more, as long as it stands."""
    if row.state == "fenced":
        if (row.move_id, row.peer_cell) != (move_id, to_cell):
            return MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE
        return row if stands(row, now_us) else MoveReason.FENCE_MUST_STAND
    if not _may(row, UnitEvent.FENCE):
        return MoveReason.UNIT_MUST_BE_ACTIVE
    return replace(
        row,
        state=_after(row, UnitEvent.FENCE),
        move_id=move_id,
        fence_no=row.fence_no + 1,
        peer_cell=to_cell,
        deadline_us=Instant(now_us + stands_us),
        digest=None,
    )


def stands(row: UnitRow, now_us: Instant) -> bool:
    return row.state == "fenced" and row.deadline_us is not None and now_us < row.deadline_us


def unfence(row: UnitRow, *, move_id: str) -> UnitRow:
    """Anything that is not fenced by this move stays as it is."""
    if row.state != "fenced" or row.move_id != move_id:
        return row
    return _released(row, UnitEvent.UNFENCE)


def lapse(row: UnitRow, *, now_us: Instant) -> UnitRow:
    """What the watchdog does: a fence whose time is over falls, whoever set it."""
    if row.state != "fenced" or stands(row, now_us):
        return row
    return _released(row, UnitEvent.LAPSE)


def _released(row: UnitRow, event: UnitEvent) -> UnitRow:
    return replace(row, state=_after(row, event), move_id=None, peer_cell=None, deadline_us=None, digest=None)


def grant(
    row: UnitRow, *, move_id: str, to_cell: str, epoch: int, fence_no: int, digest: str, now_us: Instant
) -> Verdict:
    """The point of no return, while the very fence stands that the target has sealed."""
    if row.state in {"granted", "moved"}:
        is_same = (row.move_id, row.peer_cell, row.epoch, row.fence_no, row.digest) == (
            move_id,
            to_cell,
            epoch,
            fence_no,
            digest,
        )
        return row if is_same else MoveReason.UNIT_MUST_BE_FENCED
    if not _may(row, UnitEvent.GRANT):
        return MoveReason.UNIT_MUST_BE_FENCED
    if row.move_id != move_id:
        return MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE
    if row.peer_cell != to_cell:
        return MoveReason.GRANT_MUST_NAME_THIS_CELL
    if row.fence_no != fence_no or not stands(row, now_us):
        return MoveReason.FENCE_MUST_STAND
    if epoch != row.epoch + 1:
        return MoveReason.EPOCH_MUST_FOLLOW
    if digest != row.digest:
        return MoveReason.DIGESTS_MUST_MATCH
    return replace(row, state=_after(row, UnitEvent.GRANT), epoch=epoch, deadline_us=None)


def tombstone(row: UnitRow, *, move_id: str) -> Verdict:
    if row.state == "moved" and row.move_id == move_id:
        return row
    if not _may(row, UnitEvent.TOMBSTONE):
        return MoveReason.UNIT_MUST_BE_GRANTED
    if row.move_id != move_id:
        return MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE
    return replace(row, state=_after(row, UnitEvent.TOMBSTONE))


# At the target.


def stage(row: UnitRow, *, move_id: str, from_cell: str, epoch: int) -> Verdict:
    if row.state in {"staging", "staged"}:
        is_same = (row.move_id, row.peer_cell, row.epoch) == (move_id, from_cell, epoch)
        return row if is_same else MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE
    if not _may(row, UnitEvent.STAGE):
        return MoveReason.UNIT_MUST_BE_ABSENT
    if epoch <= max(row.epoch, 1):
        return MoveReason.EPOCH_MUST_FOLLOW
    state = _after(row, UnitEvent.STAGE)
    return UnitRow(unit=row.unit, state=state, epoch=epoch, move_id=move_id, peer_cell=from_cell)


def take_rows(row: UnitRow, *, move_id: str) -> Verdict:
    """Rows that arrive make a seal void."""
    problem = _not_staged_by(row, move_id)
    if problem is not None:
        return problem
    return row if row.state == "staging" else replace(row, state=_after(row, UnitEvent.TAKE_ROWS), digest=None)


def seal(
    row: UnitRow, *, move_id: str, from_cell: str, epoch: int, fence_no: int, digest: str, digest_here: str
) -> Verdict:
    """`epoch` is the source's; the target's is one more."""
    problem = _not_staged_by(row, move_id)
    if problem is not None:
        return problem
    if row.peer_cell != from_cell:
        return MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE
    if row.epoch != epoch + 1:
        return MoveReason.EPOCH_MUST_FOLLOW
    if fence_no < row.fence_no:
        return MoveReason.FENCE_MUST_STAND
    if digest != digest_here:
        return MoveReason.DIGESTS_MUST_MATCH
    return replace(row, state=_after(row, UnitEvent.SEAL), fence_no=fence_no, digest=digest)


def activate(
    row: UnitRow,
    *,
    move_id: str,
    this_cell: str,
    from_cell: str,
    to_cell: str,
    epoch: int,
    fence_no: int,
    digest: str,
) -> Verdict:
    """What the grant names must be what was sealed here."""
    if to_cell != this_cell:
        return MoveReason.GRANT_MUST_NAME_THIS_CELL
    if row.state in {"active", "fenced"} and row.epoch == epoch:
        return row
    if not _may(row, UnitEvent.ACTIVATE):
        return MoveReason.UNIT_MUST_BE_STAGED
    if row.move_id != move_id:
        return MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE
    if row.peer_cell != from_cell:
        return MoveReason.GRANT_MUST_NAME_THIS_CELL
    if row.epoch != epoch:
        return MoveReason.EPOCH_MUST_FOLLOW
    if row.fence_no != fence_no:
        return MoveReason.FENCE_MUST_STAND
    if row.digest != digest:
        return MoveReason.DIGESTS_MUST_MATCH
    return replace(row, state=_after(row, UnitEvent.ACTIVATE), move_id=None, peer_cell=None, digest=None)


def discard(row: UnitRow, *, move_id: str, before: UnitRow) -> Verdict:
    """As it was before the move; the caller has made sure that there is no grant and will be none."""
    if row.state in {None, "moved"}:
        return row
    problem = _not_staged_by(row, move_id)
    if problem is not None:
        return problem
    event = UnitEvent.DISCARD if before.state is None else UnitEvent.GIVE_BACK
    return replace(before, state=_after(row, event))


def _not_staged_by(row: UnitRow, move_id: str) -> MoveReason | None:
    if row.state not in {"staging", "staged"}:
        return MoveReason.UNIT_MUST_BE_STAGING
    return None if row.move_id == move_id else MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE


# In a cell that was restored to before it gave a unit away, and in one that gave a unit to it since.


def supersede(row: UnitRow, *, to_cell: str, epoch: int, grant: UnitRow | None = None) -> Verdict:
    """What this cell would say of the unit if it had not forgotten; `grant` is its own word, where others kept it.

    An owner gives way to a higher epoch; what was staged here never was an owner, and gives way to its own epoch too.
    """
    if row.state == "moved" and row.epoch >= epoch:
        return row
    if not _may(row, UnitEvent.SUPERSEDE):
        return MoveReason.UNIT_MUST_BE_ACTIVE
    if epoch < row.epoch or (epoch == row.epoch and row.state in {"active", "fenced"}):
        return MoveReason.EPOCH_MUST_FOLLOW
    said = grant or UnitRow(unit=row.unit, fence_no=row.fence_no)
    return UnitRow(
        unit=row.unit,
        state=_after(row, UnitEvent.SUPERSEDE),
        epoch=epoch,
        move_id=said.move_id,
        fence_no=max(said.fence_no, row.fence_no) if said.digest is None else said.fence_no,
        peer_cell=to_cell,
        digest=said.digest,
    )


def revive(row: UnitRow, *, lost_by: str, epoch: int, digest_here: str) -> Verdict:
    """The giver serves the unit again, above the epoch of its grant, from the very rows that it had granted."""
    if row.state in {"active", "fenced"} and row.epoch == epoch + 1:
        return row
    if not _may(row, UnitEvent.REVIVE):
        return MoveReason.UNIT_MUST_BE_MOVED
    if row.peer_cell != lost_by:
        return MoveReason.UNIT_MUST_HAVE_GONE_THERE
    if row.epoch != epoch:
        return MoveReason.EPOCH_MUST_FOLLOW
    if row.digest is None or row.digest != digest_here:
        return MoveReason.ROWS_MUST_BE_RETAINED
    return UnitRow(unit=row.unit, state=_after(row, UnitEvent.REVIVE), epoch=epoch + 1, fence_no=row.fence_no)


# Within the cell.


def isolate(row: UnitRow) -> Verdict:
    """The new unit of one wallet; its number was never used before."""
    if not _may(row, UnitEvent.ISOLATE):
        return MoveReason.UNIT_MUST_BE_ABSENT
    return replace(row, state=_after(row, UnitEvent.ISOLATE), epoch=1)


def rejoin(row: UnitRow, *, this_cell: str) -> Verdict:
    """The unit that its wallet leaves again: known as moved for ever, to where it was."""
    if not _may(row, UnitEvent.REJOIN):
        return MoveReason.UNIT_MUST_BE_ACTIVE
    return replace(row, state=_after(row, UnitEvent.REJOIN), epoch=row.epoch + 1, peer_cell=this_cell)
