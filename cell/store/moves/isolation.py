"""Isolating a hot wallet, and taking it back: a unit of its own within the cell, by its row's `unit` alone.

No row of history changes and nobody waits. The exile row says for ever where the wallet went; it goes only when the
wallet rejoins its slot here.
"""

from typing import Final

from cell.ledger import unit_life
from cell.store.moves.sessions import Connection, MoveRefusedError, Sessions, rows
from cell.store.moves.unit_rows import allowed, lock_for_writers, lock_units, save_units, told
from contract.ids import WalletId
from contract.moves import MoveReason, UnitsNow
from contract.slots import Unit, slot_of

_LOCK: Final = "SELECT unit FROM wallets WHERE wallet_id = %s FOR UPDATE"
_SET_UNIT: Final = "UPDATE wallets SET unit = %s WHERE wallet_id = %s"
_EXILE: Final = """
INSERT INTO isolated (wallet_id, slot, unit, cell, epoch) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (wallet_id) DO UPDATE SET unit = excluded.unit, cell = excluded.cell, epoch = excluded.epoch
"""
_FORGET_EXILE: Final = "SELECT forget_exile(%s)"


class WalletMustExistError(Exception):
    """The cell has no such wallet."""


class Isolation:
    def __init__(self, sessions: Sessions, *, cell_id: str) -> None:
        self._sessions = sessions
        self._cell_id = cell_id

    async def isolate(self, wallet_id: WalletId, unit: Unit) -> UnitsNow:
        """The wallet leaves its slot for `unit`.

        Raises:
            MoveRefusedError: the slot is not active here, or the number was used before.
            WalletMustExistError: there is no such wallet.

        """
        slot = slot_of(wallet_id)
        async with self._sessions.transaction() as connection:
            stands_in = await self._locked(connection, wallet_id, slot, unit)
            rows_of = {one.unit: one for one in await lock_units(connection, (slot, unit))}
            if stands_in == unit:
                return told([rows_of[unit]])
            if stands_in != slot:
                detail = f"The wallet has left its slot before, for unit {stands_in}."
                raise MoveRefusedError(MoveReason.UNIT_MUST_BE_ABSENT, detail)
            if rows_of[slot].state != "active":
                allowed(rows_of[slot], MoveReason.UNIT_MUST_BE_ACTIVE)
            own = allowed(rows_of[unit], unit_life.isolate(rows_of[unit]))
            await save_units(connection, [own])
            await rows(connection, _SET_UNIT, unit, wallet_id)
            await rows(connection, _EXILE, wallet_id, slot, unit, self._cell_id, own.epoch)
        return told([own])

    async def rejoin(self, wallet_id: WalletId, unit: Unit) -> UnitsNow:
        """The wallet returns to its slot, which must be here too; its unit stays known as moved.

        Raises:
            MoveRefusedError: one of the two units is not active here.
            WalletMustExistError: there is no such wallet.

        """
        slot = slot_of(wallet_id)
        async with self._sessions.transaction() as connection:
            stands_in = await self._locked(connection, wallet_id, slot, unit)
            rows_of = {one.unit: one for one in await lock_units(connection, (slot, unit))}
            if stands_in == slot and rows_of[unit].state == "moved":
                return told([rows_of[slot]])
            if stands_in != unit:
                raise MoveRefusedError(MoveReason.UNIT_MUST_BE_ACTIVE, f"The wallet stands in unit {stands_in}.")
            if rows_of[slot].state != "active":
                allowed(rows_of[slot], MoveReason.UNIT_MUST_BE_ACTIVE)
            left = allowed(rows_of[unit], unit_life.rejoin(rows_of[unit], this_cell=self._cell_id))
            await save_units(connection, [left])
            await rows(connection, _SET_UNIT, slot, wallet_id)
            await rows(connection, _FORGET_EXILE, wallet_id)
        return told([rows_of[slot]])

    async def _locked(self, connection: Connection, wallet_id: WalletId, *units: Unit) -> int:
        """In which unit the wallet stands, which nobody changes until the end of this transaction."""
        await lock_for_writers(connection, units)
        found = await rows(connection, _LOCK, wallet_id)
        if not found:
            raise WalletMustExistError(wallet_id)
        unit: int = found[0][0]
        return unit
