"""A ledger store in memory: the same promises as PostgreSQL's (one conformance suite), for simulations of fleets.

Batches and steps of moves (cell/store/memory_moves.py) are serialised by one lock instead of rows; what a batch would
write is applied at once at `save`, so it is all or nothing as well. Holds nothing over a restart.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from cell.ledger.footprint import Footprint
from cell.ledger.limits import SpentKey
from cell.ledger.model import (
    Entry,
    Exile,
    Group,
    Hold,
    Instant,
    OpenedWallet,
    Recorded,
    TransactionKey,
    Transfer,
    UnitState,
    Wallet,
)
from cell.ledger.outcomes import Changes
from cell.ledger.unit_life import UnitRow
from cell.ledger.view import Loaded
from cell.ports import StoreBusyError, StoreLostError, StoreRefusedError
from cell.store.moves.target import Intent
from contract.ids import WalletId
from contract.slots import Unit, slot_of
from contract.values import value


class MemoryLedger:
    """`LedgerStore` in memory. `clock` gives microseconds since 1970."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.lock = asyncio.Lock()
        self.wallets: dict[WalletId, Wallet] = {}
        self.opened: dict[WalletId, OpenedWallet] = {}
        self.entries: defaultdict[WalletId, list[Entry]] = defaultdict(list)
        self.recorded: dict[TransactionKey, Recorded] = {}
        self.reversed_amounts: defaultdict[TransactionKey, int] = defaultdict(int)
        self.account_totals: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.units: dict[Unit, UnitRow] = {}
        self.exiles: dict[WalletId, Exile] = {}
        self.holds: dict[TransactionKey, Hold] = {}
        self.transfers: dict[TransactionKey, Transfer] = {}
        self.groups: dict[TransactionKey, Group] = {}
        self.spent: defaultdict[tuple[SpentKey, int], int] = defaultdict(int)
        self.intents: dict[Unit, Begun] = {}
        self.tries: dict[TransactionKey, Tries] = {}
        """Of transfers and groups that were tried in vain."""

    @asynccontextmanager
    async def transaction(self, *, wait_s: float | None = None) -> AsyncIterator[None]:
        """Alone in the store. Whoever is in here decides first and then writes, without a wait: all or nothing.

        Raises:
            TimeoutError: somebody else was in here for so long.

        """
        async with asyncio.timeout(wait_s):
            await self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    def states_of(self, units: Iterable[Unit]) -> dict[Unit, UnitState]:
        known = (self.units[unit] for unit in units if unit in self.units)
        return {
            row.unit: UnitState(unit=row.unit, state=row.state, epoch=row.epoch, peer_cell=row.peer_cell)
            for row in known
            if row.state is not None
        }

    def session(self, name: str) -> "MemorySession":
        return MemorySession(self, name)


@value
class Begun:
    """What was begun with a unit here, and when somebody last went on with it."""

    intent: Intent
    touched_at_us: int
    sealed_at_us: int | None = None


@value
class Tries:
    attempts: int
    next_at_us: int


class MemorySession:
    def __init__(self, store: MemoryLedger, name: str) -> None:
        self.name = name
        self._store = store
        self._is_connected = False
        self._holds_lock = False

    async def connect(self) -> None:
        self._is_connected = True

    async def load(self, footprint: Footprint) -> Loaded:
        if not self._is_connected:
            raise StoreLostError("not connected")
        await self._store.lock.acquire()
        self._holds_lock = True
        store = self._store
        wallets = {one: store.wallets[one] for one in footprint.wallet_ids if one in store.wallets}
        frozen = [one for one, wallet in wallets.items() if wallet.frozen_by is not None]
        doubtful = [*(one for one in footprint.wallet_ids if one not in wallets), *frozen]
        units = {wallets[one].unit if one in wallets else slot_of(one) for one in doubtful}
        return Loaded(
            now_us=Instant(store.clock()),
            wallets=wallets,
            recorded={key: store.recorded[key] for key in footprint.transactions if key in store.recorded},
            reversed_amounts={
                key: store.reversed_amounts[key] for key in footprint.originals if key in store.reversed_amounts
            },
            unit_states=store.states_of(units),
            exiles={one: store.exiles[one] for one in doubtful if one in store.exiles},
            holds={key: store.holds[key] for key in footprint.holds if key in store.holds},
            transfers={key: store.transfers[key] for key in footprint.transfers if key in store.transfers},
            groups={key: store.groups[key] for key in footprint.groups if key in store.groups},
            spent={one: sum_ for one, sum_ in store.spent.items() if one[0] in footprint.spendings},
        )

    async def save(self, changes: Sequence[Changes]) -> None:
        store = self._store
        if not self._holds_lock:
            raise StoreLostError("no batch is open")
        self._refuse_bad_data(changes)
        for change in changes:
            for entry, recorded in zip(change.entries, change.recorded, strict=True):
                store.entries[WalletId(entry.wallet_id)].append(entry)
                store.recorded[recorded.key] = recorded
            for wallet in change.wallets:
                store.wallets[wallet.wallet_id] = wallet
            for account, currency, delta in change.account_deltas:
                store.account_totals[account, currency] += delta
            store.holds |= {hold.key: hold for hold in change.holds}
            store.transfers |= {one.key: one for one in change.transfers}
            store.groups |= {group.key: group for group in change.groups}
            for spending in change.spendings:
                store.spent[spending.key, spending.day] += spending.amount
            for opened in (change.opened, change.continued):
                if opened is not None:
                    store.opened[opened.wallet.wallet_id] = opened
            if change.metadata is not None:
                own = change.wallets[0].wallet_id
                store.opened[own] = replace(store.opened[own], metadata=change.metadata)
            if change.reversal is not None:
                store.reversed_amounts[change.reversal.original] += change.reversal.amount
        self._release()

    async def held_wallets(self, wallet_ids: Sequence[WalletId]) -> frozenset[WalletId]:
        """One lock serves all, and nobody keeps it."""
        del wallet_ids
        return frozenset()

    async def confirm(self) -> None:
        self._release()

    async def abandon(self) -> None:
        self._release()

    async def close(self) -> None:
        self._release()
        self._is_connected = False

    def _refuse_bad_data(self, changes: Sequence[Changes]) -> None:
        """What PostgreSQL's constraints and encodings refuse, in the order in which it meets them."""
        if any(
            change.opened is not None and change.opened.wallet.wallet_id in self._store.wallets for change in changes
        ):
            raise StoreBusyError("a wallet was opened by somebody else meanwhile")
        entries = [entry for change in changes for entry in change.entries]
        if any("\x00" in text for entry in entries for text in (entry.details, entry.context, entry.vendor_id)):
            raise StoreRefusedError("a text holds a NUL character")
        keys = [recorded.key for change in changes for recorded in change.recorded]
        if len(keys) != len(set(keys)) or any(key in self._store.recorded for key in keys):
            raise StoreRefusedError("a transaction is recorded already")

    def _release(self) -> None:
        if self._holds_lock:
            self._holds_lock = False
            self._store.lock.release()
