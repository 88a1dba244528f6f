"""Serving again what was given to a cell that has lost it: from the retained rows, if they are what was granted.

Whether it is lost, the control plane has heard from that cell (contract/quarantine.py); here is looked only at what is
here. The books take back what they gave: the `migrated` account of this cell, which nobody else had booked against.
"""

from typing import Final

from cell.ledger import unit_life
from cell.store import arrays
from cell.store.moves.digest import digests
from cell.store.moves.sessions import MoveRefusedError, Sessions, rows
from cell.store.moves.source import POST_MIGRATED
from cell.store.moves.target import OWN_EXILES, read_intents
from cell.store.moves.unit_rows import allowed, lock_for_writers, lock_units, save_units, told
from contract.moves import MoveReason, UnitsNow
from contract.quarantine import ReviveOrder

_THAW: Final = "UPDATE wallets SET frozen_by = NULL WHERE unit = ANY(%s)"


class Revival:
    def __init__(self, sessions: Sessions, *, cell_id: str) -> None:
        self._sessions = sessions
        self._cell_id = cell_id

    async def revive(self, order: ReviveOrder) -> UnitsNow:
        """All of the units or none; the same order again changes nothing.

        Raises:
            MoveRefusedError: a unit did not go there at that epoch, or its rows are not what was granted.

        """
        epochs = dict(order.units)
        async with self._sessions.transaction() as connection:
            await lock_for_writers(connection, epochs)
            before = await lock_units(connection, epochs)
            begun = await read_intents(connection, epochs)
            if begun:
                detail = f"Rows of unit {min(begun)} are being deleted here, or staged once more."
                raise MoveRefusedError(MoveReason.ROWS_MUST_BE_RETAINED, detail)
            here = await digests(connection, sorted(epochs))
            after = [
                allowed(
                    one,
                    unit_life.revive(one, lost_by=order.lost_by, epoch=epochs[one.unit], digest_here=here[one.unit]),
                )
                for one in before
            ]
            new = [row for old, row in zip(before, after, strict=True) if row != old]
            if new:
                units = arrays.int4s([one.unit for one in new])
                await rows(connection, POST_MIGRATED, -1, f"revived:{order.lost_by}", units)
                await rows(connection, _THAW, units)
                await save_units(connection, new)
                for one in new:
                    await rows(connection, OWN_EXILES, self._cell_id, one.epoch, one.unit)
        return told(after)
