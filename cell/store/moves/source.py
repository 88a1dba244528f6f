"""The source's steps: fence, grant, tombstone; and the fence's fall when nobody comes back.

Order of locks, the same everywhere: the units' advisory lock, the wallets' rows by id, the units' rows. Whatever is
decided is read again after its lock, in a later statement. The rules stand in cell/ledger/unit_life.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import psycopg

from cell.crash_points import CrashPoints
from cell.ledger import unit_life
from cell.ledger.model import Instant
from cell.ledger.unit_life import UnitRow
from cell.store import arrays
from cell.store.event_waits import note_departure
from cell.store.moves.digest import digests
from cell.store.moves.sessions import Connection, MoveRefusedError, Sessions, clock_us, rows
from cell.store.moves.unit_rows import allowed, lock_for_writers, lock_units, read_units, save_units, told
from cell.store.moves.verdicts import granted
from contract.moves import Fence, FenceOrder, Fences, Grant, GrantOrder, Grants, MoveReason, UnitsNow

MILLISECOND_US: Final = 1_000
TAKEDOWN_TIMEOUT_MS: Final = 2_000

_LOCK_WALLETS: Final = "SELECT wallet_id FROM wallets WHERE unit = ANY(%s) ORDER BY wallet_id FOR UPDATE"
"""By id, as every batch of the write path takes them."""
_FREEZE: Final = "UPDATE wallets SET frozen_by = %s WHERE unit = ANY(%s)"
UNFREEZE: Final = "UPDATE wallets SET frozen_by = NULL WHERE unit = ANY(%s) AND frozen_by = ANY(%s)"
_STANDING: Final = "SELECT unit, deadline, clock_timestamp() FROM unit_state WHERE state = 'fenced' ORDER BY deadline"

POST_MIGRATED: Final = """
INSERT INTO account_deltas (account, currency, delta, cause)
SELECT 'migrated', currency, %s * sum(balance), %s
FROM (SELECT unit, currency, balance, row_number() OVER (PARTITION BY unit, currency) / 1000 AS part
      FROM wallets WHERE unit = ANY(%s)) w
GROUP BY unit, currency, part HAVING sum(balance) <> 0
"""
"""The other side of wallets that leave (+1) or come (-1): the trial balance of the cell stays zero. In parts, because
the sum of a thousand wallets is the largest that fits."""

_DRAW_EXILES: Final = """
UPDATE isolated i SET cell = u.peer_cell, epoch = u.epoch FROM unit_state u WHERE i.unit = u.unit AND u.unit = ANY(%s)
"""

_LOCKS_TIMED_OUT: Final = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)


class Source:
    def __init__(self, sessions: Sessions, *, cell_id: str, crash_points: CrashPoints) -> None:
        self._sessions = sessions
        self._cell_id = cell_id
        self._crash_points = crash_points

    async def fence(self, order: FenceOrder, *, move_id: str) -> Fences:
        """All of the units in one transaction, each with its digest; or a refusal, and none.

        Raises:
            MoveRefusedError: a unit may not be fenced, or a writer holds one of its wallets.

        """
        units = sorted(set(order.units))
        async with self._sessions.transaction() as connection:
            await self._stop_writers(connection, units, wait_ms=order.lock_wait_ms)
            before = await lock_units(connection, units)
            now_us = Instant(await clock_us(connection))
            stands_us = order.stands_ms * MILLISECOND_US
            fenced = [
                allowed(
                    one,
                    unit_life.fence(one, move_id=move_id, to_cell=order.to_cell, now_us=now_us, stands_us=stands_us),
                )
                for one in before
            ]
            new = [after for one, after in zip(before, fenced, strict=True) if after != one]
            if new and len(new) < len(fenced):
                raise MoveRefusedError(MoveReason.UNIT_MUST_BE_ACTIVE, "Some of the units are fenced already.")
            if new:
                await rows(connection, _FREEZE, move_id, arrays.int4s(units))
                found = await digests(connection, units)
                fenced = [replace(one, digest=found[one.unit]) for one in new]
                await save_units(connection, fenced)
            await self._crash_points.reach("move.fencing")
        await self._crash_points.reach("move.fenced")
        return Fences(from_cell=self._cell_id, fences=tuple(map(_fence_of, fenced)))

    async def _stop_writers(self, connection: Connection, units: Sequence[int], *, wait_ms: int) -> None:
        """No batch and no opening is under way in these units any more when this returns."""
        try:
            await rows(connection, f"SET LOCAL statement_timeout = {wait_ms}")
            await lock_for_writers(connection, units)
            await rows(connection, _LOCK_WALLETS, arrays.int4s(units))
            await rows(connection, "SET LOCAL statement_timeout = 5000")
        except _LOCKS_TIMED_OUT as error:
            detail = f"A wallet was held by a writer for {wait_ms} ms."
            raise MoveRefusedError(MoveReason.LOCKS_MUST_BE_FREE, detail) from error

    async def unfence(self, units: Sequence[int], *, move_id: str) -> UnitsNow:
        return told(await self._release(units, lambda one, _: unit_life.unfence(one, move_id=move_id)))

    async def lapse(self, units: Sequence[int]) -> None:
        """Take down those of the units' fences whose time is over."""
        await self._release(units, lambda one, now_us: unit_life.lapse(one, now_us=now_us))

    async def standing(self) -> list[tuple[int, int]]:
        """Every fence: its unit, and the microseconds that it still stands; the next to fall first."""
        return [(unit, deadline_us - now_us) for unit, deadline_us, now_us in await self._sessions.look(_STANDING)]

    async def _release(self, units: Sequence[int], verdict: Callable[[UnitRow, Instant], UnitRow]) -> list[UnitRow]:
        async with self._sessions.transaction() as connection:
            await rows(connection, f"SET LOCAL statement_timeout = {TAKEDOWN_TIMEOUT_MS}")
            await lock_for_writers(connection, units)
            before = await lock_units(connection, units)
            now_us = Instant(await clock_us(connection))
            after = [verdict(one, now_us) for one in before]
            released = [(old, new) for old, new in zip(before, after, strict=True) if new != old]
            if released:
                moves = arrays.uuids(sorted({str(old.move_id) for old, _ in released}))
                await rows(connection, UNFREEZE, arrays.int4s([new.unit for _, new in released]), moves)
                await save_units(connection, [new for _, new in released])
        return after

    async def grant(self, order: GrantOrder, *, move_id: str) -> Grants:
        """All or none; the point of no return. The same order again finds the grants that stand, durably.

        Raises:
            MoveRefusedError: one of the fences does not stand, or is not the one that was sealed.

        """
        staged = {one.unit: one for one in order.staged}
        await self._crash_points.reach("move.granting")
        async with self._sessions.transaction() as connection:
            await rows(connection, "SET LOCAL statement_timeout = 5000")
            before = await lock_units(connection, staged)
            now_us = Instant(await clock_us(connection))
            after = [
                granted(one, staged[one.unit], move_id=move_id, to_cell=order.to_cell, now_us=now_us) for one in before
            ]
            new = [row for old, row in zip(before, after, strict=True) if row != old]
            if new:
                units = arrays.int4s([one.unit for one in new])
                await save_units(connection, new)
                await rows(connection, POST_MIGRATED, 1, f"out:{move_id}", units)
                await rows(connection, _DRAW_EXILES, units)
                await note_departure(connection, [one.unit for one in new])
        await self._crash_points.reach("move.granted")
        return Grants(grants=tuple(self._grant_of(one) for one in after))

    async def tombstone(self, units: Sequence[int], *, move_id: str) -> UnitsNow:
        async with self._sessions.transaction() as connection:
            before = await lock_units(connection, units)
            after = [allowed(one, unit_life.tombstone(one, move_id=move_id)) for one in before]
            await save_units(connection, [new for old, new in zip(before, after, strict=True) if new != old])
        await self._crash_points.reach("move.tombstoned")
        return told(after)

    async def grant_of(self, unit: int) -> tuple[Grant | None, UnitRow]:
        """The grant of this unit that stands here, and the unit as it is.

        Read under a lock: a grant that is being committed is waited for, and what is told is on the standby too.
        """
        async with self._sessions.transaction() as connection:
            await rows(connection, "SET LOCAL statement_timeout = 2000")
            (row,) = await lock_units(connection, [unit])
        is_granted = row.state in {"granted", "moved"} and row.move_id is not None and row.digest is not None
        return (self._grant_of(row) if is_granted else None), row

    async def units_now(self, units: Sequence[int]) -> UnitsNow:
        async with self._sessions.transaction() as connection:
            return told(await read_units(connection, units))

    def _grant_of(self, row: UnitRow) -> Grant:
        return Grant(
            move_id=str(row.move_id),
            unit=row.unit,
            from_cell=self._cell_id,
            to_cell=str(row.peer_cell),
            epoch=row.epoch,
            fence_no=row.fence_no,
            digest=str(row.digest),
        )


def _fence_of(row: UnitRow) -> Fence:
    return Fence(unit=row.unit, epoch=row.epoch, fence_no=row.fence_no, digest=str(row.digest))
