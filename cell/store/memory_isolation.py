"""Isolating a wallet of a memory store, and taking it back: as cell/store/moves/isolation.py promises it."""

from dataclasses import replace

from cell.ledger import unit_life
from cell.ledger.model import Exile, Wallet
from cell.ledger.unit_life import UnitRow
from cell.store.memory import MemoryLedger
from cell.store.memory_rows import row_of, save_rows
from cell.store.moves.isolation import WalletMustExistError
from cell.store.moves.sessions import MoveRefusedError
from cell.store.moves.unit_rows import allowed, told
from contract.ids import WalletId
from contract.moves import MoveReason, UnitsNow
from contract.slots import Unit, slot_of


class MemoryIsolation:
    def __init__(self, store: MemoryLedger, *, cell_id: str) -> None:
        self._store = store
        self._cell_id = cell_id

    async def isolate(self, wallet_id: WalletId, unit: Unit) -> UnitsNow:
        async with self._store.transaction():
            wallet, slot, own = self._found(wallet_id, unit)
            if wallet.unit == unit:
                return told([own])
            if wallet.unit != slot.unit:
                detail = f"The wallet has left its slot before, for unit {wallet.unit}."
                raise MoveRefusedError(MoveReason.UNIT_MUST_BE_ABSENT, detail)
            _must_be_active(slot)
            own = allowed(own, unit_life.isolate(own))
            save_rows(self._store, [own])
            self._store.wallets[wallet_id] = replace(wallet, unit=unit)
            exile = Exile(wallet_id=wallet_id, unit=unit, cell=self._cell_id, epoch=own.epoch)
            self._store.exiles[wallet_id] = exile
        return told([own])

    async def rejoin(self, wallet_id: WalletId, unit: Unit) -> UnitsNow:
        async with self._store.transaction():
            wallet, slot, own = self._found(wallet_id, unit)
            if wallet.unit == slot.unit and own.state == "moved":
                return told([slot])
            if wallet.unit != unit:
                raise MoveRefusedError(MoveReason.UNIT_MUST_BE_ACTIVE, f"The wallet stands in unit {wallet.unit}.")
            _must_be_active(slot)
            save_rows(self._store, [allowed(own, unit_life.rejoin(own, this_cell=self._cell_id))])
            self._store.wallets[wallet_id] = replace(wallet, unit=slot.unit)
            self._store.exiles.pop(wallet_id, None)
        return told([slot])

    def _found(self, wallet_id: WalletId, unit: Unit) -> tuple[Wallet, UnitRow, UnitRow]:
        wallet = self._store.wallets.get(wallet_id)
        if wallet is None:
            raise WalletMustExistError(wallet_id)
        return wallet, row_of(self._store, slot_of(wallet_id)), row_of(self._store, unit)


def _must_be_active(slot: UnitRow) -> None:
    if slot.state != "active":
        allowed(slot, MoveReason.UNIT_MUST_BE_ACTIVE)
