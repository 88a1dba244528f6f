"""Which units a restored cell still has: each held against what the directory, the other cells and its own grants say.

One ladder per unit, and nothing is guessed: what the others say of a unit either puts this cell at its place, or sends
the unit to where it is, or calls for a person. Knows no SQL; the edges are those of cell/ledger/unit_life.py.
"""

from collections.abc import Iterable
from enum import StrEnum

from cell.ledger.model import UnitStateName
from cell.ledger.unit_life import UnitRow, supersede
from contract.slots import ISOLATED_UNIT_FIRST, Unit
from contract.values import value

OWNING = frozenset({"active", "fenced"})
GIVEN = frozenset({"granted", "moved"})
STAGED = frozenset({"staging", "staged"})


class Contradiction(StrEnum):
    """What no rule can decide: the cell stays closed as long as there is one."""

    TWO_OTHERS_OWN_IT = "two_other_cells_own_it"
    ANOTHER_OWNS_IT_TOO = "another_cell_owns_it_at_the_same_epoch"
    DIRECTORY_NAMES_A_CELL_WITHOUT_IT = "the_directory_names_a_cell_that_does_not_own_it"
    GRANTED_TO_A_CELL_WITHOUT_IT = "granted_to_a_cell_that_has_not_got_it"
    NOBODY_KNOWS_WHO_GAVE_IT = "it_came_here_and_nobody_knows_from_where"


@value
class Claim:
    """What another cell says of the unit."""

    cell: str
    state: UnitStateName
    epoch: int


@value
class Evidence:
    """All that is known of one unit outside of this cell."""

    claims: tuple[Claim, ...] = ()
    directory: tuple[str, int] | None = None
    """Its cell and epoch, as recorded by the control plane."""
    grant: UnitRow | None = None
    """The newest grant of it that was kept elsewhere, as the row that its source then had."""
    granted_by: str = ""


NOTHING_KNOWN = Evidence()


@value
class Kept:
    """As this cell has it."""


@value
class Superseded:
    """Another cell has it: here it becomes `after`."""

    after: UnitRow


@value
class Missing:
    """It was here at `epoch`, and this database does not know that.

    `after` is what the unit becomes here, so that nobody takes old rows for the present ones; None = it is no owner's.
    """

    epoch: int
    from_cell: str | None
    """Who gave it, and may still have the rows of then; None = it was an isolated unit of a wallet opened since."""
    after: UnitRow | None


Judgement = Kept | Superseded | Missing | Contradiction


def judge(row: UnitRow, evidence: Evidence, *, this_cell: str) -> Judgement:
    """In this order: who owns it, to whom this cell gave it, whether it came here since, what does not fit."""
    owners = sorted((one for one in evidence.claims if one.state in OWNING), key=lambda one: -one.epoch)
    owner = owners[0] if owners else None
    if len(owners) > 1 and owners[0].epoch == owners[1].epoch:
        return Contradiction.TWO_OTHERS_OWN_IT
    came = _came_here(evidence, this_cell)
    is_beyond = came > row.epoch or (came == row.epoch and row.state in STAGED)
    if is_beyond and came > (owner.epoch if owner else 0):
        return _missing(row, evidence, came, this_cell)
    if owner is not None and owner.epoch == row.epoch and row.state in OWNING:
        return Contradiction.ANOTHER_OWNS_IT_TOO
    if owner is not None and owner.epoch >= row.epoch:
        return _superseded(row, owner.cell, owner.epoch, evidence.grant)
    return _not_owned_elsewhere(row, evidence, this_cell)


def _came_here(evidence: Evidence, this_cell: str) -> int:
    """The highest epoch at which somebody outside saw the unit here, or given to here."""
    at_epochs = [0]
    if evidence.directory is not None and evidence.directory[0] == this_cell:
        at_epochs.append(evidence.directory[1])
    if evidence.grant is not None and evidence.grant.peer_cell == this_cell:
        at_epochs.append(evidence.grant.epoch)
    return max(at_epochs)


def _missing(row: UnitRow, evidence: Evidence, epoch: int, this_cell: str) -> Judgement:
    if row.state == "staged" and _is_of(evidence.grant, row, this_cell):
        return Kept()  # its grant stands, and what it names is sealed here: it will be pulled
    givers = [one.cell for one in evidence.claims if one.state in GIVEN and one.epoch == epoch]
    if evidence.grant is not None and evidence.grant.epoch == epoch and evidence.granted_by:
        givers.append(evidence.granted_by)
    if len(set(givers)) != 1:
        if not givers and row.state is None and row.unit >= ISOLATED_UNIT_FIRST:
            return Missing(epoch=epoch, from_cell=None, after=None)
        return Contradiction.NOBODY_KNOWS_WHO_GAVE_IT
    after = supersede(row, to_cell=givers[0], epoch=epoch + 1)
    is_changed = isinstance(after, UnitRow) and after != row
    return Missing(epoch=epoch, from_cell=givers[0], after=after if is_changed and isinstance(after, UnitRow) else None)


def _is_of(grant: UnitRow | None, row: UnitRow, this_cell: str) -> bool:
    return grant is not None and (grant.peer_cell, grant.move_id, grant.epoch, grant.fence_no, grant.digest) == (
        this_cell,
        row.move_id,
        row.epoch,
        row.fence_no,
        row.digest,
    )


def _superseded(row: UnitRow, cell: str, epoch: int, grant: UnitRow | None) -> Judgement:
    is_its_grant = grant is not None and (grant.peer_cell, grant.epoch) == (cell, epoch)
    after = supersede(row, to_cell=cell, epoch=epoch, grant=grant if is_its_grant else None)
    return Superseded(after=after) if isinstance(after, UnitRow) and after != row else Kept()


def _not_owned_elsewhere(row: UnitRow, evidence: Evidence, this_cell: str) -> Judgement:
    """Nobody else is its owner at this epoch or above."""
    if row.state not in OWNING:
        return Kept()
    grant = evidence.grant
    if grant is not None and grant.epoch > row.epoch and grant.peer_cell is not None and grant.peer_cell != this_cell:
        waits = any((one.cell, one.epoch) == (grant.peer_cell, grant.epoch) for one in _staged(evidence.claims))
        if not waits:
            return Contradiction.GRANTED_TO_A_CELL_WITHOUT_IT
        return _superseded(row, grant.peer_cell, grant.epoch, grant)
    if evidence.directory is not None and evidence.directory[0] != this_cell and evidence.directory[1] >= row.epoch:
        return Contradiction.DIRECTORY_NAMES_A_CELL_WITHOUT_IT
    if any(one.state in GIVEN and one.epoch > row.epoch for one in evidence.claims):
        return Contradiction.GRANTED_TO_A_CELL_WITHOUT_IT
    return Kept()


def _staged(claims: Iterable[Claim]) -> Iterable[Claim]:
    return (one for one in claims if one.state in STAGED)


# Wallets with a unit of their own.


def isolated_since(unit: Unit, *, owner: tuple[str, int], this_cell: str) -> UnitRow:
    """The row of a unit of which this cell does not know that one of its wallets stands in it by now."""
    cell, epoch = owner
    if cell == this_cell:
        return UnitRow(unit=unit, state="active", epoch=epoch)
    return UnitRow(unit=unit, state="moved", epoch=epoch, peer_cell=cell)


def rejoined_since(row: UnitRow, slot: UnitRow) -> UnitRow:
    """A unit that is nobody's by now: its wallet rejoined its slot, and went where that went."""
    after = supersede(row, to_cell=str(slot.peer_cell), epoch=row.epoch + 1)
    return after if isinstance(after, UnitRow) else row
