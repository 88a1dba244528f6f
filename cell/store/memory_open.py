"""What of a wallet is open or recent, of a memory store, and how sagas travel: for cell/store/memory_rows.py."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from cell.ledger.begun import Saga
from cell.ledger.limits import DAY_US, SpentKey
from cell.ledger.model import Group, Leg, TransactionKey, Transfer, Wallet
from cell.ledger.posting import InvariantBrokenError
from cell.store.memory import MemoryLedger
from contract.ids import TransactionId, VendorId, WalletId

Json = dict[str, Any]


def open_transfers(store: MemoryLedger, ids: Container[WalletId]) -> list[Transfer]:
    return [one for one in store.transfers.values() if one.key.wallet_id in ids and one.state == "in_transit"]


def open_groups(store: MemoryLedger, ids: Container[WalletId]) -> list[Group]:
    return [one for one in store.groups.values() if one.key.wallet_id in ids and not one.is_finished]


def open_keys(store: MemoryLedger, ids: Container[WalletId]) -> list[TransactionKey]:
    transfers = [one.key for one in open_transfers(store, ids)]
    return transfers + [one.key for one in open_groups(store, ids)]


def recently_spent(store: MemoryLedger, wallets: Iterable[Wallet]) -> list[tuple[tuple[SpentKey, int], int]]:
    """Sums of days no earlier than two before the wallet's last entry: the others nobody reads again."""
    first_day = {wallet.wallet_id: wallet.posted_at_us // DAY_US - 2 for wallet in wallets}
    return [
        ((key, day), amount)
        for (key, day), amount in store.spent.items()
        if day >= first_day.get(WalletId(key[0]), day + 1)
    ]


def must_go_on(store: MemoryLedger, saga: Saga) -> None:
    """Raises InvariantBrokenError: what is known here under its name is another one."""
    known = store.transfers.get(saga.key) or store.groups.get(saga.key)
    if known is not None and _begun_as(known) != _begun_as(saga):
        raise InvariantBrokenError(f"saga {saga.key.transaction_id} of {saga.key.wallet_id} is another one here")


def _begun_as(saga: Saga) -> tuple[object, ...]:
    if isinstance(saga, Transfer):
        return saga.transfer_id, saga.to_wallet_id, saga.amount, saga.currency, saga.sent_at_us
    return saga.group_id, saga.currency, saga.started_at_us, saga.decide_by_us


def put_saga(store: MemoryLedger, saga: Saga) -> None:
    if isinstance(saga, Transfer):
        store.transfers[saga.key] = saga
    else:
        store.groups[saga.key] = saga


def with_tries(store: MemoryLedger, one: Saga) -> Json:
    tries = store.tries.get(one.key)
    return {**asdict(one), "tries": None if tries is None else asdict(tries)}


def saga_of(told: Json) -> Saga:
    plain = {name: told[name] for name in told if name not in {"key", "legs", "tries"}}
    if "transfer_id" in told:
        return Transfer(**plain, key=key_of(told["key"]))
    return Group(**plain, key=key_of(told["key"]), legs=tuple(Leg(**leg) for leg in told["legs"]))


def key_of(name: Sequence[str]) -> TransactionKey:
    wallet_id, vendor_id, transaction_id = name
    return TransactionKey(WalletId(wallet_id), VendorId(vendor_id), TransactionId(transaction_id))
