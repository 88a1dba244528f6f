"""Cells with one protection of moves taken away: a matrix that does not report them is worth nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from faults.mutants import _put


def activate_without_a_grant() -> None:
    """Who has sealed a unit and hears nothing for a second takes it for granted."""
    from cell.moves import Moves  # noqa: PLC0415 - only the mutated program needs it
    from contract.moves import Grant  # noqa: PLC0415

    async def pull(moves: Any, *, older_s: float) -> None:
        for intent in await moves.deletion.waiting(older_s=older_s):
            async with moves.target._sessions.transaction() as connection:
                from cell.store.moves.unit_rows import lock_units  # noqa: PLC0415

                (row,) = await lock_units(connection, [intent.unit])
            grant = Grant(
                move_id=intent.move_id,
                unit=intent.unit,
                from_cell=intent.from_cell,
                to_cell=moves.target._cell_id,
                epoch=row.epoch,
                fence_no=row.fence_no,
                digest=row.digest,
            )
            await moves._activate_pulled(grant)

    _put(Moves, pull=pull)


def grant_whatever_stands() -> None:
    """A grant that asks neither for the fence, nor for its number, nor for the time."""
    from cell.ledger import unit_life  # noqa: PLC0415

    def grant(row: Any, *, move_id: str, to_cell: str, epoch: int, fence_no: int, digest: str, now_us: Any) -> Any:
        del now_us
        return replace(
            row,
            state="granted",
            move_id=move_id,
            peer_cell=to_cell,
            epoch=epoch,
            fence_no=fence_no,
            digest=digest,
            deadline_us=None,
        )

    _put(unit_life, grant=grant)


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant for mutant in (activate_without_a_grant, grant_whatever_stands)
}
