"""Rows of moving units in a memory store: what leaves, what arrives, and the digest both cells must agree on.

The same is believed and the same is computed as with PostgreSQL (cell/store/moves/): entries are folded, with what they
began; what changes in place is replaced; no figure is copied. Rows travel as JSON lines of their own form; two stores
of a kind speak to each other only.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cell.ledger.begun import Saga, saga_begun_by
from cell.ledger.holding import fold_hold, subject_of
from cell.ledger.model import (
    Entry,
    Exile,
    Hold,
    Instant,
    OpenedWallet,
    Recorded,
    TransactionKey,
    Wallet,
)
from cell.ledger.posting import InvariantBrokenError, fold, unopened
from cell.ledger.unit_life import UnitRow, take_rows
from cell.store.memory import MemoryLedger, Tries
from cell.store.memory_open import (
    key_of,
    must_go_on,
    open_groups,
    open_keys,
    open_transfers,
    put_saga,
    recently_spent,
    saga_of,
    with_tries,
)
from cell.store.moves.departures import Parcel
from cell.store.moves.parcels import ParcelBrokenError
from cell.store.moves.sessions import MoveRefusedError
from cell.store.moves.unit_rows import allowed
from cell.store.revision import SCHEMA_REVISION
from contract.chain import CanonicalEntry, sealed_hash
from contract.ids import WalletId
from contract.moves import MoveReason, Positions, RowsTaken, SagaName, Survey, Surveys
from contract.slots import Unit, slot_of

_CANONICAL: Final = tuple(field.name for field in fields(CanonicalEntry))
_PARTS: Final = {
    "entries": ("wallets", "entries"),
    "state": ("wallets", "legs", "transfers", "groups", "spent", "exiles"),
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


class MemoryDepartures:
    def __init__(self, store: MemoryLedger) -> None:
        self._store = store

    async def survey(self, units: Sequence[int]) -> Surveys:
        async with self._store.transaction():
            return Surveys(
                schema_revision=SCHEMA_REVISION,
                database_now=(_EPOCH + timedelta(microseconds=self._store.clock())).isoformat(),
                is_synchronous=False,
                units=tuple(self._survey(row_of(self._store, unit)) for unit in sorted(set(units))),
            )

    def _survey(self, row: UnitRow) -> Survey:
        wallets = wallets_of(self._store, [row.unit])
        return Survey(
            unit=row.unit,
            state=row.state,
            epoch=row.epoch or None,
            wallets=len(wallets),
            entries=sum(wallet.seq for wallet in wallets),
        )

    async def positions(self, unit: int) -> Positions:
        async with self._store.transaction():
            return positions_of(self._store, unit)

    async def entries(self, unit: int, positions: Sequence[tuple[str, int]], *, rows_max: int) -> Parcel:
        async with self._store.transaction():
            store = self._store
            found: list[Json] = []
            for wallet_id, after_seq in positions:
                wallet = store.wallets.get(WalletId(wallet_id))
                if wallet is not None and wallet.unit == unit:
                    above = store.entries[wallet.wallet_id][after_seq:]
                    outcomes = _outcomes_of(store, wallet.wallet_id) if above else {}
                    found += [_told(store, entry, outcomes[entry.seq]) for entry in above[: rows_max - len(found)]]
            named = sorted({entry["wallet_id"] for entry in found})
            parcel = {"wallets": [_named(store, store.wallets[one]) for one in named], "entries": found}
        return Parcel(content=json.dumps(parcel).encode(), rows=len(found))

    async def state(self, unit: int, open_sagas: Sequence[SagaName] = ()) -> Parcel:
        async with self._store.transaction():
            store = self._store
            wallets = wallets_of(store, [unit])
            ids = {wallet.wallet_id for wallet in wallets}
            keys = set(open_keys(store, ids)) | {key for key in map(key_of, open_sagas) if key.wallet_id in ids}
            parcel: dict[str, list[Any]] = {
                "wallets": [_named(store, wallet) for wallet in wallets],
                "legs": [
                    [*hold.key, hold.terms]
                    for hold in store.holds.values()
                    if hold.key.wallet_id in ids and hold.state == "open" and hold.terms is not None
                ],
                "transfers": [with_tries(store, one) for key, one in store.transfers.items() if key in keys],
                "groups": [with_tries(store, one) for key, one in store.groups.items() if key in keys],
                "spent": [[*key, day, amount] for (key, day), amount in recently_spent(store, wallets)],
                "exiles": [asdict(one) for one in store.exiles.values() if unit in (slot_of(one.wallet_id), one.unit)],
            }
        return Parcel(content=json.dumps(parcel).encode(), rows=sum(map(len, parcel.values())))


class MemoryArrivals:
    def __init__(self, store: MemoryLedger) -> None:
        self._store = store

    async def positions(self, unit: int, *, move_id: str) -> Positions:
        async with self._store.transaction():
            row = row_of(self._store, unit)
            allowed(row, take_rows(row, move_id=move_id))
            touch(self._store, [row.unit])
            ids = {wallet.wallet_id for wallet in wallets_of(self._store, [unit])}
            open_sagas = tuple(map(tuple, sorted(open_keys(self._store, ids))))
            return positions_of(self._store, unit).model_copy(update={"open_sagas": open_sagas})

    async def take(self, unit: int, body: bytes, *, part: str, move_id: str) -> RowsTaken:
        """Rows of one part.

        Raises:
            ParcelBrokenError: the bytes are no rows.
            MoveRefusedError: they may not come now, or do not continue what is here.

        """
        parcel = _opened(body, part)
        async with self._store.transaction():
            row = row_of(self._store, unit)
            after = allowed(row, take_rows(row, move_id=move_id))
            try:
                arriving = _Arriving(self._store, row.unit, parcel, move_id=move_id)
                for told in (*parcel.get("transfers", ()), *parcel.get("groups", ())):
                    must_go_on(self._store, saga_of(told))
                taken = arriving.fold() if part == "entries" else sum(map(len, parcel.values()))
            except (InvariantBrokenError, KeyError, TypeError, ValueError) as error:
                raise MoveRefusedError(MoveReason.ROWS_MUST_FOLD, str(error)) from error
            arriving.write()
            if part == "state":
                self._replace(row.unit, parcel)
            self._store.units[row.unit] = after
            touch(self._store, [row.unit])
        wallets = sorted(arriving.wallets.items())
        return RowsTaken(unit=unit, rows=taken, positions=tuple((one, wallet.seq) for one, wallet in wallets))

    def _replace(self, unit: Unit, parcel: Mapping[str, list[Any]]) -> None:
        store = self._store
        for wallet_id, vendor_id, hold_id, terms in parcel["legs"]:
            key = TransactionKey(wallet_id, vendor_id, hold_id)
            if key in store.holds:  # else its entry comes later, and the whole state once more behind it
                store.holds[key] = replace(store.holds[key], terms=terms)
        for told in (*parcel["transfers"], *parcel["groups"]):
            one = saga_of(told)
            put_saga(store, one)
            store.tries.pop(one.key, None)
            if told["tries"] is not None:
                store.tries[one.key] = Tries(**told["tries"])
        for wallet_id, vendor_id, day, amount in parcel["spent"]:
            store.spent[(wallet_id, vendor_id), day] = amount
        self._replace_exiles(unit, [Exile(**told) for told in parcel["exiles"]])
        for wallet in wallets_of(store, [unit]):
            store.wallets[wallet.wallet_id] = replace(wallet, pinned=_pins_of(store, wallet.wallet_id))

    def _replace_exiles(self, unit: Unit, arrived: Sequence[Exile]) -> None:
        exiles = self._store.exiles
        for exile in arrived:
            known = exiles.get(exile.wallet_id)
            if known is None or known.unit != exile.unit or known.epoch < exile.epoch:
                exiles[exile.wallet_id] = exile
        rejoined = {one for one in exiles if slot_of(one) == unit} - {exile.wallet_id for exile in arrived}
        for wallet_id in rejoined:
            del exiles[wallet_id]


class _Arriving:
    """What a parcel makes of the store: nothing is written before all of it has been folded."""

    def __init__(self, store: MemoryLedger, unit: Unit, parcel: Mapping[str, list[Any]], *, move_id: str) -> None:
        self._store = store
        self._parcel = parcel
        self._opened: list[OpenedWallet] = []
        self._entries: list[Entry] = []
        self._recorded: list[Recorded] = []
        self._holds: dict[TransactionKey, Hold] = {}
        self._sagas: list[Saga] = []
        self.wallets: dict[WalletId, Wallet] = {}
        for told in parcel["wallets"]:
            known = store.wallets.get(told["wallet_id"])
            if known is not None and known.unit != unit and row_of(store, known.unit).state != "moved":
                raise InvariantBrokenError(f"Wallet {known.wallet_id} stands in another unit here.")
            wallet = replace(
                known or unopened(told["wallet_id"]),
                unit=unit,
                owner_type=told["owner_type"],
                currency=told["currency"],
                blocked_by=told["blocked_by"],
                frozen_by=move_id,
                pinned=0,
            )
            self.wallets[wallet.wallet_id] = wallet
            if told["kind"] is not None:
                named = {name: told[name] for name in ("owner_ref", "kind", "metadata")}
                self._opened.append(OpenedWallet(wallet=wallet, **named))

    def fold(self) -> int:
        """Brings the wallets up to date; the number of entries that are new here."""
        for told in self._parcel["entries"]:
            wallet = self.wallets[told["wallet_id"]]
            if told["seq"] <= wallet.seq:
                continue
            entry = _entry_after(wallet, told)
            self.wallets[wallet.wallet_id] = fold(wallet, entry)
            self._entries.append(entry)
            recorded = _recorded_of(entry, told)
            self._recorded.append(recorded)
            saga = saga_begun_by(entry, recorded.key, recorded.terms, told["saga"] and saga_of(told["saga"]))
            if saga is not None:
                self._sagas.append(saga)
            about = subject_of(entry)
            if about is not None:
                before = self._holds.get(about) or self._store.holds.get(about)
                self._holds[about] = fold_hold(before, entry, terms=told["leg_terms"])
        return len(self._entries)

    def write(self) -> None:
        store = self._store
        store.wallets |= self.wallets
        store.opened |= {one.wallet.wallet_id: one for one in self._opened}
        store.holds |= self._holds
        for saga in self._sagas:
            put_saga(store, saga)
        for entry, recorded in zip(self._entries, self._recorded, strict=True):
            store.entries[WalletId(entry.wallet_id)].append(entry)
            store.recorded[recorded.key] = recorded
            if entry.kind == "reversal":
                original = (entry.wallet_id, entry.subject_vendor_id, entry.subject_id)
                store.reversed_amounts[TransactionKey(*original)] += abs(entry.delta)  # type: ignore[arg-type]


def digest_of(store: MemoryLedger, unit: Unit) -> str:
    """The same in both cells if and only if they say the same of the unit; what only one cell knows is left out."""
    wallets = wallets_of(store, [unit])
    ids = {wallet.wallet_id for wallet in wallets}
    money: dict[str, list[int]] = {}
    for wallet in wallets:
        sums = money.setdefault(wallet.currency, [0] * 5)
        for place, figure in enumerate((1, wallet.balance, wallet.held, wallet.pinned, wallet.seq)):
            sums[place] += figure
    opened = ((one.wallet.wallet_id, one.owner_ref, one.kind, one.metadata) for one in store.opened.values())
    holds = (hold for hold in store.holds.values() if hold.state == "open" and hold.key.wallet_id in ids)
    sections: tuple[Iterable[object], ...] = (
        money.items(),
        (replace(wallet, frozen_by=None) for wallet in wallets),
        (one for one in opened if one[0] in ids),
        holds,
        open_transfers(store, ids),
        open_groups(store, ids),
        recently_spent(store, wallets),
        ((one.wallet_id, one.unit) for one in store.exiles.values() if slot_of(one.wallet_id) == unit),
    )
    lines = [f"unit {unit}", *("\n".join(sorted(map(repr, section))) for section in sections)]
    return hashlib.sha256("\n\n".join(lines).encode()).hexdigest()


def row_of(store: MemoryLedger, unit: int) -> UnitRow:
    return store.units.get(Unit(unit)) or UnitRow(unit=Unit(unit))


def save_rows(store: MemoryLedger, rows: Iterable[UnitRow]) -> None:
    store.units |= {row.unit: row for row in rows}


def wallets_of(store: MemoryLedger, units: Iterable[int]) -> list[Wallet]:
    """In order of id."""
    wanted = set(units)
    return sorted((one for one in store.wallets.values() if one.unit in wanted), key=lambda one: one.wallet_id)


def positions_of(store: MemoryLedger, unit: int) -> Positions:
    wallets = wallets_of(store, [unit])
    return Positions(unit=unit, positions=tuple((wallet.wallet_id, wallet.seq) for wallet in wallets))


def touch(store: MemoryLedger, units: Iterable[Unit]) -> None:
    for unit in units:
        begun = store.intents.get(unit)
        if begun is not None and begun.intent.cause == "staging":
            store.intents[unit] = replace(begun, touched_at_us=store.clock())


def _opened(body: bytes, part: str) -> dict[str, list[Any]]:
    try:
        parcel = json.loads(body)
    except ValueError as error:
        raise ParcelBrokenError("the bytes are no rows") from error
    if not isinstance(parcel, dict) or tuple(parcel) != _PARTS[part]:
        raise ParcelBrokenError(f"the sections must be {_PARTS[part]}")
    return parcel


def _outcomes_of(store: MemoryLedger, wallet_id: WalletId) -> dict[int, Recorded]:
    return {one.seq: one for key, one in store.recorded.items() if key.wallet_id == wallet_id}


def _told(store: MemoryLedger, entry: Entry, recorded: Recorded) -> Json:
    saga = store.transfers.get(recorded.key) or store.groups.get(recorded.key)
    leg = subject_of(entry) if entry.kind == "hold" else None
    return {
        **{name: getattr(entry, name) for name in _CANONICAL},
        "salt": entry.salt.hex(),
        "details": entry.details,
        "context": entry.context,
        "hash": entry.hash.hex(),
        "recorded_under": recorded.key.vendor_id,
        "asked_amount": recorded.requested_amount,
        "recorded_amount": recorded.amount,
        "recorded_currency": recorded.currency,
        "terms": recorded.terms,
        "leg_terms": None if leg is None else store.holds[leg].terms,
        "saga": saga and asdict(saga),
    }


def _entry_after(wallet: Wallet, told: Json) -> Entry:
    """The entry as it follows from the wallet's head: its hash is computed, and must be the one that came."""
    stated = {name: told[name] for name in _CANONICAL}
    free = {"salt": bytes.fromhex(told["salt"]), "details": told["details"], "context": told["context"]}
    entry = Entry(**{**stated, "currency": wallet.currency}, **free, previous_hash=wallet.head_hash)
    if entry.hash.hex() != told["hash"]:
        raise InvariantBrokenError(f"L6: entry {entry.seq} of {entry.wallet_id} does not have its hash")
    if sealed_hash(**free) != entry.sealed:
        raise InvariantBrokenError(f"L6: entry {entry.seq} of {entry.wallet_id} does not have its seal")
    return entry


def _recorded_of(entry: Entry, told: Json) -> Recorded:
    return Recorded(
        key=TransactionKey(WalletId(entry.wallet_id), told["recorded_under"], entry.transaction_id),  # type: ignore[arg-type]
        kind=entry.requested_kind or entry.kind,
        requested_amount=told["asked_amount"],
        amount=told["recorded_amount"],
        currency=told["recorded_currency"],
        terms=told["terms"],
        reason=entry.reason,
        posted_at_us=Instant(entry.posted_at_us),
        seq=entry.seq,
        delta=entry.delta,
        held_delta=entry.held_delta,
        balance_after=entry.balance_after,
        held_after=entry.held_after,
        overdraft_limit_after=entry.overdraft_limit_after,
        hash=entry.hash,
    )


def _named(store: MemoryLedger, wallet: Wallet) -> Json:
    """What of a wallet no entry states, or only an erasable text."""
    opened = store.opened.get(wallet.wallet_id)
    return {
        "wallet_id": wallet.wallet_id,
        "owner_type": wallet.owner_type,
        "currency": wallet.currency,
        "blocked_by": wallet.blocked_by,
        "owner_ref": opened and opened.owner_ref,
        "kind": opened and opened.kind,
        "metadata": opened and opened.metadata,
    }


def _pins_of(store: MemoryLedger, wallet_id: WalletId) -> int:
    holds = (hold for hold in store.holds.values() if hold.key.wallet_id == wallet_id)
    pins = sum(hold.remaining for hold in holds if hold.state == "open" and hold.kind == "pin")
    sent = (one for one in store.transfers.values() if one.key.wallet_id == wallet_id)
    return pins + sum(one.amount for one in sent if one.state == "in_transit")
