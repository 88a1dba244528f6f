"""The two ledger stores behind one face, for the suite that both must pass, and what tests do to them from the side."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from cell_databases import CellDatabase

from cell.ledger.model import Exile, UnitStateName, Wallet
from cell.ledger.unit_life import UnitRow
from cell.ports import LedgerSession
from cell.store.ledger_store import PostgresLedger
from cell.store.memory import MemoryLedger
from contract.ids import WalletId
from contract.slots import SLOTS, Unit

MOVE_ID = "00000000-0000-4000-8000-00000000aaaa"


def postgres_ledger(url: str, *, lock_timeout_ms: int = 10_000, idle_timeout_ms: int = 20_000) -> PostgresLedger:
    return PostgresLedger(
        url, process_id="test", lock_timeout_ms=lock_timeout_ms, idle_timeout_ms=idle_timeout_ms, connect_timeout_s=3
    )


class StoreUnderTest(Protocol):
    is_in_memory: bool

    def session(self, name: str) -> LedgerSession: ...

    def freeze(self, wallet_id: WalletId) -> None: ...

    def set_unit(self, unit: Unit, state: UnitStateName, *, epoch: int, peer_cell: str | None = None) -> None: ...

    def exile(self, exile: Exile, *, slot: Unit) -> None: ...

    def entries_of(self, wallet_id: WalletId) -> list[tuple[int, str, int, bytes]]:
        """(seq, kind, amount, hash) in order of seq."""

    def account_totals(self) -> dict[tuple[str, str], int]: ...


class PostgresUnderTest:
    is_in_memory = False

    def __init__(self, database: CellDatabase) -> None:
        self._database = database
        self._ledger = postgres_ledger(database.app_url)

    def session(self, name: str) -> LedgerSession:
        return self._ledger.session(name)

    def freeze(self, wallet_id: WalletId) -> None:
        self._database.sql("UPDATE wallets SET frozen_by = %s WHERE wallet_id = %s", MOVE_ID, wallet_id)

    def set_unit(self, unit: Unit, state: UnitStateName, *, epoch: int, peer_cell: str | None = None) -> None:
        self._database.sql(
            "INSERT INTO unit_state (unit, state, epoch, peer_cell) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (unit) DO UPDATE SET state = excluded.state, epoch = excluded.epoch, "
            "peer_cell = excluded.peer_cell",
            unit,
            state,
            epoch,
            peer_cell,
        )

    def exile(self, exile: Exile, *, slot: Unit) -> None:
        self._database.sql(
            "INSERT INTO isolated (wallet_id, slot, unit, cell, epoch) VALUES (%s, %s, %s, %s, %s)",
            exile.wallet_id,
            slot,
            exile.unit,
            exile.cell,
            exile.epoch,
        )

    def entries_of(self, wallet_id: WalletId) -> list[tuple[int, str, int, bytes]]:
        return self._database.sql(
            "SELECT seq, kind, amount, hash FROM entries WHERE wallet_id = %s ORDER BY seq", wallet_id
        )

    def account_totals(self) -> dict[tuple[str, str], int]:
        rows = self._database.sql(
            "SELECT account, currency, sum(delta)::bigint FROM account_deltas GROUP BY account, currency"
        )
        return {(account, currency): total for account, currency, total in rows}


class MemoryUnderTest:
    is_in_memory = True

    def __init__(self, clock: Callable[[], int]) -> None:
        self.ledger = MemoryLedger(clock)
        for unit in map(Unit, range(SLOTS)):
            self.ledger.units[unit] = UnitRow(unit=unit, state="active", epoch=1)

    def session(self, name: str) -> LedgerSession:
        return self.ledger.session(name)

    def freeze(self, wallet_id: WalletId) -> None:
        self.ledger.wallets[wallet_id] = changed(self.ledger.wallets[wallet_id], frozen_by=MOVE_ID)

    def set_unit(self, unit: Unit, state: UnitStateName, *, epoch: int, peer_cell: str | None = None) -> None:
        self.ledger.units[unit] = UnitRow(unit=unit, state=state, epoch=epoch, peer_cell=peer_cell)

    def exile(self, exile: Exile, *, slot: Unit) -> None:
        del slot  # only moves ask for it
        self.ledger.exiles[exile.wallet_id] = exile

    def entries_of(self, wallet_id: WalletId) -> list[tuple[int, str, int, bytes]]:
        return [(entry.seq, entry.kind, entry.delta, entry.hash) for entry in self.ledger.entries[wallet_id]]

    def account_totals(self) -> dict[tuple[str, str], int]:
        return dict(self.ledger.account_totals)


def changed(wallet: Wallet, **fields: Any) -> Wallet:
    return replace(wallet, **fields)
