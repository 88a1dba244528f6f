"""A wallet's log in plain dictionaries: the pure core needs nothing more to be exercised."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cell.ledger.commands import (
    CancelLeg,
    CaptureHold,
    ChangeWallet,
    Command,
    ConfirmLeg,
    Credit,
    Debit,
    DecideGroup,
    ExpireHold,
    ExtendHold,
    LegAsked,
    MarkLegs,
    OpenWallet,
    PlaceHold,
    PrepareLeg,
    ReceiveTransfer,
    RefundTransfer,
    ReleaseHold,
    Reverse,
    SendTransfer,
    SettleTransfer,
    StartGroup,
)
from cell.ledger.decide import decide
from cell.ledger.derived_ids import (
    cancel_id_of,
    confirm_id_of,
    expire_id_of,
    group_id_of,
    refund_id_of,
    transfer_id_of,
)
from cell.ledger.footprint import footprint, key_of
from cell.ledger.grouping import coordinator_text
from cell.ledger.limits import Caps
from cell.ledger.model import Entry, Group, Hold, Instant, Transfer, UnitState
from cell.ledger.outcomes import Accepted, Marked, Outcome, Refused, Rejected
from cell.ledger.view import Loaded, View, apply
from contract.ids import INTERNAL_VENDOR, TransactionId, VendorId, WalletId, wallet_id_of
from contract.slots import SLOTS, Unit, slot_of

_ALL_UNITS = {Unit(unit): UnitState(unit=Unit(unit), state="active", epoch=1) for unit in range(SLOTS)}
_TABLES = ("wallets", "recorded", "reversed_amounts", "holds", "transfers", "groups", "spent")


class Book:
    """Decides commands one after the other and keeps everything that they write."""

    def __init__(self) -> None:
        self.loaded = Loaded(
            now_us=Instant(1_700_000_000_000_000),
            wallets={},
            recorded={},
            reversed_amounts={},
            unit_states=dict(_ALL_UNITS),
            exiles={},
        )
        self.entries: list[Entry] = []
        self.account_deltas: list[tuple[str, str, int]] = []
        self._numbers = itertools.count(1)

    def copy(self) -> "Book":
        """What is decided in the copy is not decided here. The rows themselves are shared: they never change."""
        other = Book()
        tables = {name: dict(getattr(self.loaded, name)) for name in _TABLES}
        other.loaded = replace(self.loaded, **tables)
        other.entries, other.account_deltas = list(self.entries), list(self.account_deltas)
        return other

    def decide(self, command: Command, *, now_us: int | None = None) -> Outcome:
        view = View(self.loaded, footprint(command))
        outcome = decide(view, command, Instant(now_us if now_us is not None else self.loaded.now_us))
        if isinstance(outcome, Accepted | Refused | Marked):
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

    def held(self, wallet_id: WalletId) -> int:
        return self.loaded.wallets[wallet_id].held

    def pinned(self, wallet_id: WalletId) -> int:
        return self.loaded.wallets[wallet_id].pinned

    def hold_of(self, command: PlaceHold) -> Hold:
        return self.loaded.holds[key_of(command)]

    def leg_of(self, wallet_id: WalletId, group: StartGroup) -> Hold | None:
        return next(
            (
                hold
                for key, hold in self.loaded.holds.items()
                if (key.wallet_id, key.vendor_id, key.transaction_id) == (wallet_id, "@group", group.group_id)
            ),
            None,
        )

    def transfer_of(self, command: SendTransfer) -> Transfer:
        return self.loaded.transfers[key_of(command)]

    def group_of(self, command: StartGroup) -> Group:
        return self.loaded.groups[key_of(command)]

    def log(self, wallet_id: WalletId) -> list[Entry]:
        return [entry for entry in self.entries if entry.wallet_id == wallet_id]

    def lose_unit(self, wallet_id: WalletId) -> None:
        """The wallet's slot is another cell's from now on."""
        self.loaded.unit_states.pop(slot_of(wallet_id), None)

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
        common = self._common() | more
        fields = {
            "wallet_id": wallet_id,
            "to_wallet_id": to,
            "transfer_id": transfer_id_of(wallet_id, common["vendor_id"], common["transaction_id"]),
            "amount": amount,
            "currency": currency,
        }
        return SendTransfer(**common | fields | more)

    def hold(
        self, wallet_id: WalletId, amount: int, *, currency: str = "EUR", expires_in_s: int = 60, **more: Any
    ) -> PlaceHold:
        fields = {"wallet_id": wallet_id, "amount": amount, "currency": currency, "expires_in_s": expires_in_s}
        return PlaceHold(**self._common() | fields | more)

    def capture(self, hold: PlaceHold, amount: int | None = None, *, is_final: bool = True, **more: Any) -> CaptureHold:
        fields = {"wallet_id": hold.wallet_id, "hold_id": hold.transaction_id, "amount": amount, "is_final": is_final}
        return CaptureHold(**self._common() | fields | more)

    def release(self, hold: PlaceHold, **more: Any) -> ReleaseHold:
        return ReleaseHold(**self._common() | {"wallet_id": hold.wallet_id, "hold_id": hold.transaction_id} | more)

    def extend(self, hold: PlaceHold, expires_in_s: int = 600, **more: Any) -> ExtendHold:
        fields = {"wallet_id": hold.wallet_id, "hold_id": hold.transaction_id, "expires_in_s": expires_in_s}
        return ExtendHold(**self._common() | fields | more)

    def expire(self, hold: PlaceHold) -> ExpireHold:
        fields = {
            "wallet_id": hold.wallet_id,
            "vendor_id": INTERNAL_VENDOR,
            "transaction_id": expire_id_of(hold.vendor_id, hold.transaction_id),
            "hold_vendor_id": hold.vendor_id,
            "hold_id": hold.transaction_id,
        }
        return ExpireHold(**self._common() | fields)

    def receive(self, sent: SendTransfer, **more: Any) -> ReceiveTransfer:
        """What the sender's cell asks of the receiver's."""
        fields = {
            "wallet_id": sent.to_wallet_id,
            "vendor_id": sent.vendor_id,
            "transaction_id": sent.transfer_id,
            "from_wallet_id": sent.wallet_id,
            "amount": sent.amount,
            "currency": sent.currency,
        }
        return ReceiveTransfer(**self._common() | fields | more)

    def settle(self, sent: SendTransfer) -> SettleTransfer:
        return SettleTransfer(**self._finishing(sent) | {"transaction_id": sent.transfer_id})

    def refund(self, sent: SendTransfer) -> RefundTransfer:
        return RefundTransfer(**self._finishing(sent) | {"transaction_id": refund_id_of(sent.transfer_id)})

    def _finishing(self, sent: SendTransfer) -> dict[str, Any]:
        return self._common() | {
            "wallet_id": sent.wallet_id,
            "vendor_id": INTERNAL_VENDOR,
            "sent_by": sent.vendor_id,
            "sent_as": sent.transaction_id,
        }

    def group(
        self,
        legs: Sequence[tuple[WalletId, int]],
        *,
        currency: str = "EUR",
        within_us: int = 1_000_000,
        caps_of: Mapping[WalletId, Caps] | None = None,
        **more: Any,
    ) -> StartGroup:
        """The first leg's wallet is the anchor."""
        common = self._common() | more
        anchor = legs[0][0]
        fields = {
            "wallet_id": anchor,
            "group_id": group_id_of(anchor, common["vendor_id"], common["transaction_id"]),
            "currency": currency,
            "legs": tuple(
                LegAsked(wallet_id=wallet_id, amount=amount, caps=(caps_of or {}).get(wallet_id))
                for wallet_id, amount in legs
            ),
            "decide_within_us": within_us,
        }
        return StartGroup(**common | fields | more)

    def prepare(self, group: StartGroup, wallet_id: WalletId, **more: Any) -> PrepareLeg:
        """What the anchor's cell asks of a leg's."""
        fields = {
            "wallet_id": wallet_id,
            "vendor_id": group.vendor_id,
            "transaction_id": group.group_id,
            "amount": next(leg.amount for leg in group.legs if leg.wallet_id == wallet_id),
            "currency": group.currency,
            "coordinator": coordinator_text(key_of(group)),
        }
        return PrepareLeg(**self._common() | fields | more)

    def decide_group(
        self, group: StartGroup, *, prepared: Iterable[WalletId] = (), refused: Iterable[tuple[WalletId, str]] = ()
    ) -> DecideGroup:
        return DecideGroup(
            **self._coordinating(group),
            group_id=group.group_id,
            leg_wallet_ids=tuple(leg.wallet_id for leg in group.legs),
            prepared=frozenset(prepared),
            refused=tuple(refused),
        )

    def mark(self, group: StartGroup, *followed: WalletId) -> MarkLegs:
        return MarkLegs(**self._coordinating(group), followed=frozenset(followed))

    def confirm(self, group: StartGroup, wallet_id: WalletId) -> ConfirmLeg:
        return ConfirmLeg(**self._ending(group, wallet_id) | {"transaction_id": confirm_id_of(group.group_id)})

    def cancel(self, group: StartGroup, wallet_id: WalletId) -> CancelLeg:
        return CancelLeg(**self._ending(group, wallet_id) | {"transaction_id": cancel_id_of(group.group_id)})

    def _coordinating(self, group: StartGroup) -> dict[str, Any]:
        return self._common() | {
            "wallet_id": group.wallet_id,
            "vendor_id": INTERNAL_VENDOR,
            "started_by": group.vendor_id,
            "started_as": group.transaction_id,
        }

    def _ending(self, group: StartGroup, wallet_id: WalletId) -> dict[str, Any]:
        return self._common() | {
            "wallet_id": wallet_id,
            "vendor_id": INTERNAL_VENDOR,
            "group_id": group.group_id,
        }

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
