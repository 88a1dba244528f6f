"""A wallet's log in plain dictionaries: the pure core needs nothing more to be exercised."""

import itertools
from typing import Any

from cell.ledger.commands import ChangeWallet, Command, Credit, Debit, OpenWallet, Reverse, SendTransfer
from cell.ledger.decide import decide
from cell.ledger.footprint import footprint
from cell.ledger.model import Entry, Instant, UnitState
from cell.ledger.outcomes import Accepted, Outcome, Refused, Rejected
from cell.ledger.view import Loaded, View, apply
from contract.ids import TransactionId, VendorId, WalletId, wallet_id_of
from contract.slots import SLOTS, Unit


class Book:
    """Decides commands one after the other and keeps everything that they write."""

    def __init__(self) -> None:
        self.loaded = Loaded(
            now_us=Instant(1_700_000_000_000_000),
            wallets={},
            recorded={},
            reversed_amounts={},
            unit_states={Unit(unit): UnitState(unit=Unit(unit), state="active", epoch=1) for unit in range(SLOTS)},
            exiles={},
        )
        self.entries: list[Entry] = []
        self.account_deltas: list[tuple[str, str, int]] = []
        self._numbers = itertools.count(1)

    def decide(self, command: Command, *, now_us: int | None = None) -> Outcome:
        view = View(self.loaded, footprint(command))
        outcome = decide(view, command, Instant(now_us if now_us is not None else self.loaded.now_us))
        if isinstance(outcome, Accepted | Refused):
            apply(self.loaded, outcome.changes)
            self.entries += outcome.changes.entries
            self.account_deltas += outcome.changes.account_deltas
        return outcome

    def reason(self, command: Command) -> str:
        """The wire code of a "no", recorded or not; `accepted` or `replayed` otherwise."""
        outcome = self.decide(command)
        if isinstance(outcome, Refused):
            return str(outcome.recorded.reason)
        if isinstance(outcome, Rejected):
            return outcome.problem.code
        return type(outcome).__name__.lower()

    def wallet(
        self, ref: str = "alice", *, currency: str = "EUR", overdraft_limit: int = 0, balance: int = 0
    ) -> WalletId:
        wallet_id = wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency=currency)
        assert self.reason(self.opening(ref, currency=currency, overdraft_limit=overdraft_limit)) == "accepted"
        if balance:
            assert self.reason(self.credit(wallet_id, balance, currency=currency)) == "accepted"
        return wallet_id

    def balance(self, wallet_id: WalletId) -> int:
        return self.loaded.wallets[wallet_id].balance

    def opening(
        self, ref: str = "alice", *, currency: str = "EUR", overdraft_limit: int = 0, **more: Any
    ) -> OpenWallet:
        wallet_id = wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency=currency)
        fields: dict[str, Any] = {
            "wallet_id": wallet_id,
            **self._common(),
            "transaction_id": TransactionId(wallet_id),
            "owner_type": "person",
            "owner_ref": ref,
            "kind": "main",
            "currency": currency,
            "overdraft_limit": overdraft_limit,
            "metadata": "{}",
        }
        return OpenWallet(**fields | more)

    def debit(self, wallet_id: WalletId, amount: int, *, currency: str = "EUR", **more: Any) -> Debit:
        return Debit(**self._common() | {"wallet_id": wallet_id, "amount": amount, "currency": currency} | more)

    def credit(self, wallet_id: WalletId, amount: int, *, currency: str = "EUR", **more: Any) -> Credit:
        return Credit(**self._common() | {"wallet_id": wallet_id, "amount": amount, "currency": currency} | more)

    def reverse(self, wallet_id: WalletId, original: Command, amount: int | None = None, **more: Any) -> Reverse:
        fields = {
            "wallet_id": wallet_id,
            "original_transaction_id": original.transaction_id,
            "original_vendor_id": original.vendor_id,
            "amount": amount,
        }
        return Reverse(**self._common() | fields | more)

    def transfer(
        self, wallet_id: WalletId, to: WalletId, amount: int, *, currency: str = "EUR", **more: Any
    ) -> SendTransfer:
        fields = {
            "wallet_id": wallet_id,
            "to_wallet_id": to,
            "transfer_id": self._id(),
            "amount": amount,
            "currency": currency,
        }
        return SendTransfer(**self._common() | fields | more)

    def change(self, wallet_id: WalletId, **more: Any) -> ChangeWallet:
        fields = {"wallet_id": wallet_id, "status": None, "overdraft_limit": None, "metadata": None}
        return ChangeWallet(**self._common() | fields | more)

    def _common(self) -> dict[str, Any]:
        return {
            "vendor_id": VendorId("acme"),
            "transaction_id": self._id(),
            "details": "{}",
            "context": "{}",
            "salt": bytes(16),
        }

    def _id(self) -> TransactionId:
        return TransactionId(f"00000000-0000-7000-8000-{next(self._numbers):012d}")
