"""The target's steps: stage, seal, activate, discard; each a compare-and-set on the unit's row.

The cleanup intent is written before anything is staged and goes with the activation, or with the last row of what was
discarded. Whether a sealed unit may be discarded only the source can say; who calls brings its word.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from psycopg.rows import TupleRow

from cell.crash_points import CrashPoints
from cell.ledger import unit_life
from cell.ledger.unit_life import UnitRow
from cell.store import arrays
from cell.store.event_waits import note_arrival
from cell.store.moves.digest import digests
from cell.store.moves.sessions import Connection, MoveRefusedError, Sessions, rows
from cell.store.moves.source import POST_MIGRATED, UNFREEZE
from cell.store.moves.unit_rows import allowed, lock_for_writers, lock_units, save_units, told
from cell.store.moves.verdicts import activated, sealed
from contract.ids import CellId
from contract.moves import Fences, Grant, MoveReason, StagedUnit, StagedUnits, StageOrder, UnitsNow
from contract.values import value

INTEND: Final = """
INSERT INTO cleanups (unit, cause, move_id, from_cell, source_admin_urls, before_state, before_epoch, before_move_id,
                      before_fence_no, before_peer_cell, before_digest)
VALUES (%s, 'staging', %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

_INTENTS: Final = """
SELECT unit, cause, move_id, from_cell, source_admin_urls, was_sealed, before_state, before_epoch, before_move_id,
       before_fence_no, before_peer_cell, before_digest
FROM cleanups WHERE unit = ANY(%s) ORDER BY unit
"""

_FREEZE_RETAINED: Final = "UPDATE wallets SET frozen_by = %s WHERE unit = ANY(%s)"
_SEALED: Final = """
UPDATE cleanups SET was_sealed = true, sealed_at = clock_timestamp(), touched_at = clock_timestamp()
WHERE unit = ANY(%s) AND cause = 'staging'
"""
_INTENT_IS_OVER: Final = "DELETE FROM cleanups WHERE unit = ANY(%s)"
_NOBODYS: Final = "UPDATE unit_state SET state = 'staging', move_id = NULL, digest = NULL WHERE unit = ANY(%s)"
_GIVE_UP: Final = "UPDATE cleanups SET cause = 'discarded' WHERE unit = ANY(%s)"
OWN_EXILES: Final = "UPDATE isolated SET cell = %s, epoch = %s WHERE unit = %s"


@value
class Intent:
    """What was begun with a unit here, and how the unit was before."""

    unit: int
    cause: str
    move_id: str
    from_cell: str
    source_admin_urls: tuple[str, ...]
    was_sealed: bool
    before: UnitRow


class Target:
    def __init__(self, sessions: Sessions, *, cell_id: str, crash_points: CrashPoints) -> None:
        self._sessions = sessions
        self._cell_id = CellId(cell_id)
        self._crash_points = crash_points

    async def stage(self, order: StageOrder, *, move_id: str) -> UnitsNow:
        epochs = dict(order.units)
        urls = orjson.dumps(order.source_admin_urls).decode()
        async with self._sessions.transaction() as connection:
            before = await lock_units(connection, epochs)
            intents = await read_intents(connection, epochs)
            after = []
            for one in before:
                intent = intents.get(one.unit)
                if intent is not None and intent.cause != "staging":
                    raise MoveRefusedError(
                        MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, f"Rows of unit {one.unit} are being deleted here."
                    )
                verdict = unit_life.stage(one, move_id=move_id, from_cell=order.from_cell, epoch=epochs[one.unit])
                after.append(allowed(one, verdict))
            new = [(old, row) for old, row in zip(before, after, strict=True) if row != old]
            for old, _ in new:
                await rows(connection, INTEND, old.unit, move_id, order.from_cell, urls, *_columns_of(old))
            await save_units(connection, [row for _, row in new])
            await rows(connection, _FREEZE_RETAINED, move_id, arrays.int4s([row.unit for _, row in new]))
        await self._crash_points.reach("move.staging")
        return told(after)

    async def seal(self, fences: Fences, *, move_id: str) -> StagedUnits:
        """Every row of the digests is committed here, and what is written now is durable with it.

        Raises:
            MoveRefusedError: a unit does not take a seal now, or says something else than the source.

        """
        fence_of = {one.unit: one for one in fences.fences}
        async with self._sessions.transaction() as connection:
            before = await lock_units(connection, fence_of)
            here = await digests(connection, sorted(fence_of))
            after = [
                sealed(
                    one,
                    fence_of[one.unit],
                    move_id=move_id,
                    from_cell=fences.from_cell,
                    digest_here=here[one.unit],
                )
                for one in before
            ]
            await save_units(connection, [new for old, new in zip(before, after, strict=True) if new != old])
            await rows(connection, _SEALED, arrays.int4s(sorted(fence_of)))
        await self._crash_points.reach("move.staged")
        staged = (
            StagedUnit(unit=one.unit, epoch=one.epoch, fence_no=one.fence_no, digest=str(one.digest)) for one in after
        )
        return StagedUnits(staged=tuple(staged))

    async def activate(self, grants: Sequence[Grant], *, move_id: str) -> UnitsNow:
        """From here on this cell is the owner. The grants are believed: who calls has seen that they were made.

        Raises:
            MoveRefusedError: a grant is for somebody else, or does not name what was sealed here.

        """
        grant_of = {one.unit: one for one in grants}
        async with self._sessions.transaction() as connection:
            await lock_for_writers(connection, grant_of)
            before = await lock_units(connection, grant_of)
            after = [activated(one, grant_of[one.unit], move_id=move_id, this_cell=self._cell_id) for one in before]
            new = [row for old, row in zip(before, after, strict=True) if row != old]
            if new:
                units = arrays.int4s([one.unit for one in new])
                await rows(connection, POST_MIGRATED, -1, f"in:{move_id}", units)
                await rows(connection, UNFREEZE, units, arrays.uuids([move_id]))
                await save_units(connection, new)
                for one in new:
                    await rows(connection, OWN_EXILES, self._cell_id, one.epoch, one.unit)
                await note_arrival(connection, [one.unit for one in new])
                await rows(connection, _INTENT_IS_OVER, units)
        await self._crash_points.reach("move.activated")
        return told(after)

    async def discard(self, units: Sequence[int], *, move_id: str, never_granted: Mapping[int, int]) -> UnitsNow:
        """As before the move; rows that nobody needs any more are deleted later, by `cell/store/moves/deletion.py`.

        `never_granted` names the seals, by the number of their fence, of which the source has said that it did not
        grant them and never will.

        Raises:
            MoveRefusedError: a unit was sealed, and it is not known that no grant was made of it.

        """
        async with self._sessions.transaction() as connection:
            before = await lock_units(connection, units)
            intents = await read_intents(connection, units)
            after = [_discarded(one, intents.get(one.unit), move_id, never_granted) for one in before]
            changed = [new for old, new in zip(before, after, strict=True) if new.state != old.state]
            await self._give_up(connection, [one for one in changed if not _is_given_up(intents.get(one.unit), one)])
        return told(after)

    async def _give_up(self, connection: Connection, after: Sequence[UnitRow]) -> None:
        """A unit that goes back to its tombstone keeps its rows; any other is nobody's staging until they are gone."""
        kept = [one for one in after if one.state is not None]
        await save_units(connection, kept)
        await rows(connection, _INTENT_IS_OVER, arrays.int4s([one.unit for one in kept]))
        going = arrays.int4s([one.unit for one in after if one.state is None])
        await rows(connection, _NOBODYS, going)
        await rows(connection, _GIVE_UP, going)

    async def intents(self, units: Sequence[int]) -> dict[int, Intent]:
        async with self._sessions.transaction() as connection:
            return await read_intents(connection, units)


async def read_intents(connection: Connection, units: Mapping[int, object] | Sequence[int]) -> dict[int, Intent]:
    found = await rows(connection, f"{_INTENTS} FOR UPDATE", arrays.int4s(sorted(set(units))))
    return {row[0]: intent_of(row) for row in found}


def intent_of(row: TupleRow) -> Intent:
    return Intent(
        unit=row[0],
        cause=row[1],
        move_id=row[2],
        from_cell=row[3] or "",
        source_admin_urls=tuple(orjson.loads(row[4] or "[]")),
        was_sealed=row[5],
        before=UnitRow(
            unit=row[0],
            state=row[6],
            epoch=row[7],
            move_id=row[8],
            fence_no=row[9],
            peer_cell=row[10],
            digest=row[11],
        ),
    )


def _discarded(one: UnitRow, intent: Intent | None, move_id: str, never_granted: Mapping[int, int]) -> UnitRow:
    if _is_given_up(intent, one) and intent is not None and intent.move_id == move_id:
        return UnitRow(unit=one.unit)
    before = UnitRow(unit=one.unit) if intent is None else intent.before
    after = allowed(one, unit_life.discard(one, move_id=move_id, before=before))
    if intent is not None and intent.was_sealed and never_granted.get(one.unit) != one.fence_no:
        raise MoveRefusedError(
            MoveReason.UNIT_MUST_BE_STAGING,
            f"Unit {one.unit} was sealed here, and its source has not said that it did not grant it.",
        )
    return after


def _is_given_up(intent: Intent | None, one: UnitRow) -> bool:
    return intent is not None and intent.cause == "discarded" and intent.unit == one.unit


def _columns_of(before: UnitRow) -> tuple[object, ...]:
    return (before.state, before.epoch, before.move_id, before.fence_no, before.peer_cell, before.digest)
