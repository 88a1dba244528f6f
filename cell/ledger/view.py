"""What a decision may see: the rows of its footprint as the batch has left them so far.

`Loaded` is what the store brings; the batch applies each decision's changes to it before the next one looks.
"""

from dataclasses import field

from cell.ledger.footprint import Footprint
from cell.ledger.limits import SpentKey
from cell.ledger.model import Exile, Group, Hold, Instant, Recorded, TransactionKey, Transfer, UnitState, Wallet
from cell.ledger.outcomes import Changes
from contract.ids import WalletId
from contract.slots import Unit, slot_of
from contract.values import value


class LockMustBeHeldError(Exception):
    """A decision looked at a row that is not in its footprint: a bug, found before it is a race."""


@value
class Loaded:
    """The rows of a batch's footprint, locked, and the database's clock read after the lock."""

    now_us: Instant
    wallets: dict[WalletId, Wallet]
    recorded: dict[TransactionKey, Recorded]
    reversed_amounts: dict[TransactionKey, int]
    unit_states: dict[Unit, UnitState]
    """Units of absent and frozen wallets only; the others are owned as their rows are."""
    exiles: dict[WalletId, Exile]
    holds: dict[TransactionKey, Hold] = field(default_factory=dict)
    transfers: dict[TransactionKey, Transfer] = field(default_factory=dict)
    groups: dict[TransactionKey, Group] = field(default_factory=dict)
    spent: dict[tuple[SpentKey, int], int] = field(default_factory=dict)
    """By key and day."""


class View:
    """`Loaded`, narrowed to one command's footprint."""

    __slots__ = ("_footprint", "_loaded")

    def __init__(self, loaded: Loaded, footprint: Footprint) -> None:
        self._loaded = loaded
        self._footprint = footprint

    def wallet(self, wallet_id: WalletId) -> Wallet | None:
        if wallet_id not in self._footprint.wallet_ids:
            raise LockMustBeHeldError(f"wallet {wallet_id} is not in the footprint")
        return self._loaded.wallets.get(wallet_id)

    def recorded(self, key: TransactionKey) -> Recorded | None:
        if key not in self._footprint.transactions:
            raise LockMustBeHeldError(f"transaction {key} is not in the footprint")
        return self._loaded.recorded.get(key)

    def reversed_amount(self, original: TransactionKey) -> int:
        if original not in self._footprint.originals:
            raise LockMustBeHeldError(f"reversals of {original} are not in the footprint")
        return self._loaded.reversed_amounts.get(original, 0)

    def hold(self, key: TransactionKey) -> Hold | None:
        if key not in self._footprint.holds:
            raise LockMustBeHeldError(f"hold {key} is not in the footprint")
        return self._loaded.holds.get(key)

    def transfer(self, key: TransactionKey) -> Transfer | None:
        if key not in self._footprint.transfers:
            raise LockMustBeHeldError(f"transfer {key} is not in the footprint")
        return self._loaded.transfers.get(key)

    def group(self, key: TransactionKey) -> Group | None:
        if key not in self._footprint.groups:
            raise LockMustBeHeldError(f"group {key} is not in the footprint")
        return self._loaded.groups.get(key)

    def spent(self, key: SpentKey, day: int) -> int:
        if key not in self._footprint.spendings:
            raise LockMustBeHeldError(f"the daily sum {key} is not in the footprint")
        return self._loaded.spent.get((key, day), 0)

    def unit_state_of(self, wallet_id: WalletId) -> UnitState | None:
        """State of the unit that an absent or frozen wallet belongs to."""
        wallet = self.wallet(wallet_id)
        unit = slot_of(wallet_id) if wallet is None else wallet.unit
        return self._loaded.unit_states.get(unit)

    def exile(self, wallet_id: WalletId) -> Exile | None:
        if wallet_id not in self._footprint.wallet_ids:
            raise LockMustBeHeldError(f"wallet {wallet_id} is not in the footprint")
        return self._loaded.exiles.get(wallet_id)


def apply(loaded: Loaded, changes: Changes) -> None:
    """Let the next decision of the batch see what this one will write."""
    for wallet in changes.wallets:
        loaded.wallets[wallet.wallet_id] = wallet
    for recorded in changes.recorded:
        loaded.recorded[recorded.key] = recorded
    for hold in changes.holds:
        loaded.holds[hold.key] = hold
    for transfer in changes.transfers:
        loaded.transfers[transfer.key] = transfer
    for group in changes.groups:
        loaded.groups[group.key] = group
    for one in changes.spendings:
        loaded.spent[one.key, one.day] = loaded.spent.get((one.key, one.day), 0) + one.amount
    if changes.reversal is not None:
        original = changes.reversal.original
        loaded.reversed_amounts[original] = loaded.reversed_amounts.get(original, 0) + changes.reversal.amount
