"""Deleting rows of units that are not this cell's: moved away, or staged and given up. Batch by batch, resumable.

The database itself refuses any other unit (the function of migration 0006). A partly deleted unit is never staged
again: its intent stands until nothing is left.
"""

from collections.abc import Sequence
from typing import Final

from cell.store import arrays
from cell.store.event_waits import untold_units
from cell.store.moves.sessions import MoveRefusedError, Sessions, rows
from cell.store.moves.target import Intent, intent_of
from cell.store.moves.unit_rows import allowed, lock_units
from contract.moves import Cleaned, MoveReason

BATCH_MAX: Final = 5_000
"""Entries per transaction: some hundred milliseconds, in which nobody waits for any of them."""

_INTEND: Final = """
INSERT INTO cleanups (unit, cause, move_id) SELECT unnest(%s), 'moved', %s ON CONFLICT (unit) DO NOTHING
"""
_DELETE: Final = "SELECT delete_rows_of_unit(%s, %s)"
_LEFT: Final = "SELECT coalesce(sum(seq) + count(*), 0)::bigint FROM wallets WHERE unit = ANY(%s)"
_OVER: Final = "DELETE FROM cleanups WHERE unit = %s AND cause = ANY(%s)"
_OPEN: Final = "SELECT unit, cause FROM cleanups WHERE cause <> 'staging' ORDER BY unit LIMIT 100"

_STALE: Final = """
SELECT c.unit, c.cause, c.move_id, c.from_cell, c.source_admin_urls, c.was_sealed, c.before_state, c.before_epoch,
       c.before_move_id, c.before_fence_no, c.before_peer_cell, c.before_digest
FROM cleanups c WHERE c.cause = 'staging' AND c.touched_at < clock_timestamp() - make_interval(secs => %s)
ORDER BY c.unit LIMIT 100
"""

_WAITING: Final = """
SELECT c.unit, c.cause, c.move_id, c.from_cell, c.source_admin_urls, c.was_sealed, c.before_state, c.before_epoch,
       c.before_move_id, c.before_fence_no, c.before_peer_cell, c.before_digest
FROM cleanups c JOIN unit_state u USING (unit)
WHERE c.cause = 'staging' AND u.state = 'staged' AND c.sealed_at <= clock_timestamp() - make_interval(secs => %s)
ORDER BY c.unit LIMIT 512
"""


class Deletion:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def clean(self, units: Sequence[int], *, move_id: str) -> Cleaned:
        """One batch of the rows of moved units.

        Raises:
            MoveRefusedError: a unit is not moved away from here by this move, or events of it are still to be told.

        """
        async with self._sessions.transaction(commits_locally=True) as connection:
            for one in await lock_units(connection, units):
                if one.state != "moved":
                    allowed(one, MoveReason.UNIT_MUST_BE_MOVED)
                if one.move_id != move_id:
                    raise MoveRefusedError(
                        MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, f"Unit {one.unit} left by another move."
                    )
            untold = await untold_units(connection, units)
            if untold:
                detail = f"Events of {len(untold)} of the units are still to be told here, the first of {untold[0]}."
                raise MoveRefusedError(MoveReason.EVENTS_MUST_BE_PUBLISHED, detail)
            await rows(connection, _INTEND, arrays.int4s(units), move_id)
        deleted = 0
        for unit in units:
            deleted += await self.delete_batch(unit, rows_max=BATCH_MAX - deleted)
            if deleted >= BATCH_MAX:
                break
        async with self._sessions.transaction() as connection:
            ((left,),) = await rows(connection, _LEFT, arrays.int4s(units))
        return Cleaned(deleted=deleted, left=left)

    async def delete_batch(self, unit: int, *, rows_max: int = BATCH_MAX) -> int:
        """How many rows went; when none is left the intent goes, and a unit that was unknown is unknown again."""
        async with self._sessions.transaction(commits_locally=True) as connection:
            ((deleted,),) = await rows(connection, _DELETE, unit, rows_max)
            number: int = deleted
            if number < rows_max:
                await rows(connection, "SELECT forget_staging(%s)", unit)
                await rows(connection, _OVER, unit, ["discarded", "moved"])
        return number

    async def begun(self) -> list[int]:
        """Units whose rows are being deleted."""
        async with self._sessions.transaction() as connection:
            return [unit for unit, _ in await rows(connection, _OPEN)]

    async def stale(self, *, older_s: float) -> list[Intent]:
        """Stagings that nobody has touched for so long."""
        async with self._sessions.transaction() as connection:
            return [intent_of(row) for row in await rows(connection, _STALE, older_s)]

    async def waiting(self, *, older_s: float) -> list[Intent]:
        """Sealed units that have waited for their grant for so long."""
        async with self._sessions.transaction() as connection:
            return [intent_of(row) for row in await rows(connection, _WAITING, older_s)]
