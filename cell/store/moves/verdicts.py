"""What the messages of a move say of one unit, held against its row: the rows after grant, seal and activation.

The same for every store; the rules are those of cell/ledger/unit_life.py. Each raises MoveRefusedError where the step
is not allowed.
"""

from cell.ledger import unit_life
from cell.ledger.model import Instant
from cell.ledger.unit_life import UnitRow
from cell.store.moves.unit_rows import allowed
from contract.moves import Fence, Grant, MoveReason, StagedUnit


def granted(row: UnitRow, staged: StagedUnit, *, move_id: str, to_cell: str, now_us: Instant) -> UnitRow:
    verdict = unit_life.grant(
        row,
        move_id=move_id,
        to_cell=to_cell,
        epoch=staged.epoch,
        fence_no=staged.fence_no,
        digest=staged.digest,
        now_us=now_us,
    )
    return allowed(row, verdict)


def sealed(row: UnitRow, fence: Fence, *, move_id: str, from_cell: str, digest_here: str) -> UnitRow:
    verdict = unit_life.seal(
        row,
        move_id=move_id,
        from_cell=from_cell,
        epoch=fence.epoch,
        fence_no=fence.fence_no,
        digest=fence.digest,
        digest_here=digest_here,
    )
    return allowed(row, verdict)


def activated(row: UnitRow, grant: Grant, *, move_id: str, this_cell: str) -> UnitRow:
    if grant.move_id != move_id:
        return allowed(row, MoveReason.GRANT_MUST_NAME_THIS_CELL)
    verdict = unit_life.activate(
        row,
        move_id=move_id,
        this_cell=this_cell,
        from_cell=grant.from_cell,
        to_cell=grant.to_cell,
        epoch=grant.epoch,
        fence_no=grant.fence_no,
        digest=grant.digest,
    )
    return allowed(row, verdict)
