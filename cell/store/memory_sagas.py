"""What is still open between cells, of a memory store: the questions and marks of cell/store/sagas.py, for simulations.

`chance` in 0..1 spreads the tries; both stores pass one conformance suite.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from cell.ledger.model import Group, Hold, Recorded, TransactionKey, Transfer
from cell.store.memory import MemoryLedger, Tries
from cell.store.sagas import BACKOFF_MAX_S
from contract.ids import WalletId

SECOND_US = 1_000_000
FIRST_TRY_S = 10
"""Whoever sent it goes on with it at once; after so long nobody does."""

T = TypeVar("T", Transfer, Group)


class MemorySagas:
    def __init__(self, store: MemoryLedger, chance: Callable[[], float]) -> None:
        self._store = store
        self._chance = chance

    async def close(self) -> None:
        """Nothing is kept open."""

    async def due_transfers(self, limit: int) -> list[Transfer]:
        async with self._store.transaction():
            return self._due(self._transfers(), limit)

    async def due_groups(self, limit: int) -> list[Group]:
        async with self._store.transaction():
            return self._due(self._groups(), limit)

    async def old_legs(self, *, older_than_s: float, limit: int) -> list[Hold]:
        async with self._store.transaction():
            before_us = self._store.clock() - older_than_s * SECOND_US
            legs = (hold for hold in self._store.holds.values() if hold.state == "open" and hold.kind != "vendor")
            old = [hold for hold in legs if hold.placed_at_us < before_us and self._is_ours(hold.key.wallet_id)]
            return sorted(old, key=lambda hold: hold.placed_at_us)[:limit]

    async def transfer(self, key: TransactionKey) -> Transfer | None:
        async with self._store.transaction():
            return self._store.transfers.get(key)

    async def group(self, key: TransactionKey) -> Group | None:
        async with self._store.transaction():
            return self._store.groups.get(key)

    async def recorded(self, key: TransactionKey) -> Recorded | None:
        async with self._store.transaction():
            return self._store.recorded.get(key)

    async def group_by_id(self, wallet_id: str, group_id: str) -> Group | None:
        async with self._store.transaction():
            groups = self._store.groups.items()
            return next((one for key, one in groups if (key.wallet_id, one.group_id) == (wallet_id, group_id)), None)

    async def try_later(self, table: str, keys: Sequence[TransactionKey]) -> None:
        if table not in {"transfers", "groups"}:
            raise ValueError(table)
        async with self._store.transaction():
            for key in keys:
                attempts = self._attempts(key)
                pause_s = min(BACKOFF_MAX_S, 0.2 * 2 ** min(attempts, 10)) * (0.5 + self._chance() / 2)
                next_at_us = self._store.clock() + int(pause_s * SECOND_US)
                self._store.tries[key] = Tries(attempts=attempts + 1, next_at_us=next_at_us)

    async def open(self) -> tuple[int, int, float]:
        """Transfers and groups that are not finished, and the age in seconds of the oldest of them."""
        async with self._store.transaction():
            transfers, groups = self._transfers(), self._groups()
            began = [one.sent_at_us for one in transfers] + [one.started_at_us for one in groups]
            age_us = self._store.clock() - min(began) if began else 0
            return len(transfers), len(groups), age_us / SECOND_US

    def _transfers(self) -> list[Transfer]:
        found = self._store.transfers.values()
        return [one for one in found if one.state == "in_transit" and self._is_ours(one.key.wallet_id)]

    def _groups(self) -> list[Group]:
        found = self._store.groups.values()
        return [one for one in found if not one.is_finished and self._is_ours(one.key.wallet_id)]

    def _due(self, found: list[T], limit: int) -> list[T]:
        now_us = self._store.clock()
        return sorted((one for one in found if self._next_at_us(one) <= now_us), key=self._next_at_us)[:limit]

    def _next_at_us(self, one: Transfer | Group) -> int:
        tries = self._store.tries.get(one.key)
        if tries is not None:
            return tries.next_at_us
        began_us = one.sent_at_us if isinstance(one, Transfer) else one.started_at_us
        return began_us + FIRST_TRY_S * SECOND_US

    def _attempts(self, key: TransactionKey) -> int:
        tries = self._store.tries.get(key)
        return 0 if tries is None else tries.attempts

    def _is_ours(self, wallet_id: WalletId) -> bool:
        """Under a fence, staged or gone, the wallet takes no command here; its new owner goes on with it."""
        wallet = self._store.wallets.get(wallet_id)
        return wallet is not None and wallet.frozen_by is None
