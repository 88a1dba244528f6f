"""Deleting rows of units that are not this cell's, of a memory store: as cell/store/moves/deletion.py promises it."""

from collections.abc import Callable, Sequence
from typing import Final

from cell.ledger.unit_life import UnitRow
from cell.ports import StoreRefusedError
from cell.store.memory import Begun, MemoryLedger
from cell.store.memory_rows import row_of, wallets_of
from cell.store.moves.sessions import MoveRefusedError
from cell.store.moves.target import Intent
from cell.store.moves.unit_rows import allowed
from contract.ids import WalletId
from contract.moves import Cleaned, MoveReason

BATCH_MAX: Final = 5_000


class MemoryDeletion:
    def __init__(self, store: MemoryLedger) -> None:
        self._store = store

    async def clean(self, units: Sequence[int], *, move_id: str) -> Cleaned:
        store = self._store
        async with store.transaction():
            rows = [row_of(store, unit) for unit in sorted(set(units))]
            for one in rows:
                if one.state != "moved":
                    allowed(one, MoveReason.UNIT_MUST_BE_MOVED)
                if one.move_id != move_id:
                    detail = f"Unit {one.unit} left by another move."
                    raise MoveRefusedError(MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, detail)
            for one in rows:
                intent = _leaving(one, move_id)
                store.intents.setdefault(one.unit, Begun(intent=intent, touched_at_us=store.clock()))
        deleted = 0
        for unit in units:
            deleted += await self.delete_batch(unit, rows_max=BATCH_MAX - deleted)
            if deleted >= BATCH_MAX:
                break
        async with store.transaction():
            left = wallets_of(store, units)
        return Cleaned(deleted=deleted, left=sum(wallet.seq for wallet in left) + len(left))

    async def delete_batch(self, unit: int, *, rows_max: int = BATCH_MAX) -> int:
        """Wallet by wallet; how many rows went."""
        store = self._store
        async with store.transaction():
            row = row_of(store, unit)
            if row.state is None:
                return 0
            if row.state not in {"staging", "moved"}:
                raise StoreRefusedError(f"unit {unit} is {row.state or 'unknown'} here: its rows stay")
            deleted = 0
            for wallet in wallets_of(store, [unit]):
                if deleted >= rows_max:
                    return deleted
                deleted += 1 + _forget_wallet(store, wallet.wallet_id)
            begun = store.intents.get(row.unit)
            if begun is not None and begun.intent.cause in {"discarded", "moved"}:
                del store.intents[row.unit]
                if row.state == "staging" and begun.intent.before.state is None:
                    del store.units[row.unit]
        return deleted

    async def begun(self) -> list[int]:
        async with self._store.transaction():
            return sorted(unit for unit, one in self._store.intents.items() if one.intent.cause != "staging")

    async def stale(self, *, older_s: float) -> list[Intent]:
        return await self._staging(lambda one, before_us: one.touched_at_us < before_us, older_s)

    async def waiting(self, *, older_s: float) -> list[Intent]:
        def is_waiting(one: Begun, before_us: float) -> bool:
            is_staged = row_of(self._store, one.intent.unit).state == "staged"
            return is_staged and one.sealed_at_us is not None and one.sealed_at_us <= before_us

        return await self._staging(is_waiting, older_s)

    async def _staging(self, is_meant: Callable[[Begun, float], bool], older_s: float) -> list[Intent]:
        async with self._store.transaction():
            before_us = self._store.clock() - older_s * 1_000_000
            found = (one for _, one in sorted(self._store.intents.items()) if one.intent.cause == "staging")
            return [one.intent for one in found if is_meant(one, before_us)]


def _leaving(row: UnitRow, move_id: str) -> Intent:
    return Intent(
        unit=row.unit,
        cause="moved",
        move_id=move_id,
        from_cell="",
        source_admin_urls=(),
        was_sealed=False,
        before=row,
    )


def _forget_wallet(store: MemoryLedger, wallet_id: WalletId) -> int:
    """Everything of a wallet; how many entries it had."""
    for rows in (store.recorded, store.reversed_amounts, store.holds, store.transfers, store.groups, store.tries):
        for key in [key for key in rows if key.wallet_id == wallet_id]:
            del rows[key]
    for spent in [key for key in store.spent if key[0][0] == wallet_id]:
        del store.spent[spent]
    store.opened.pop(wallet_id, None)
    del store.wallets[wallet_id]
    return len(store.entries.pop(wallet_id, []))
