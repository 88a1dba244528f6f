"""Rows that arrive at the target: entries are folded, with what they began; what changes in place is replaced.

What travels is believed only as far as it can be computed again: every hash from its predecessor, every wallet and
hold from its entries, by the functions of the write path. Arriving twice changes nothing. Copied entries carry xid 0,
so that nobody takes them for news. Knows no state of units beyond the one that may take rows.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import groupby
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from cell.ledger.begun import Saga, begins_group, saga_begun_by
from cell.ledger.holding import fold_hold, subject_of
from cell.ledger.model import Entry, Group, Hold, TransactionKey, Transfer, Wallet
from cell.ledger.outcomes import Changes
from cell.ledger.posting import InvariantBrokenError, fold
from cell.ledger.unit_life import take_rows
from cell.store import arrays, promises
from cell.store.audit import audited_entry
from cell.store.moves.parcels import (
    ARRIVED,
    BEGUN_COLUMNS,
    ENTRY_COLUMNS,
    GROUP_IS_OPEN,
    RECORD_COLUMNS,
    TRANSFER_IS_OPEN,
    sections,
)
from cell.store.moves.sessions import Connection, MoveRefusedError, Sessions, rows
from cell.store.moves.unit_rows import allowed, lock_units, save_units
from cell.store.statements import LOCK_WALLETS, UPDATE_WALLETS, wallet_columns, wallet_of
from contract.chain import ZERO_HASH, CanonicalEntry, sealed_hash
from contract.ids import TransactionId, VendorId, WalletId
from contract.moves import MoveReason, Positions, RowsTaken

_POSITIONS: Final = "SELECT wallet_id, seq FROM wallets WHERE unit = %s ORDER BY wallet_id"

TOUCH: Final = "UPDATE cleanups SET touched_at = clock_timestamp() WHERE unit = ANY(%s) AND cause = 'staging'"

_ARRIVED_IDS: Final = "SELECT wallet_id FROM arrived_wallets ORDER BY wallet_id"

_HELD_ELSEWHERE: Final = """
SELECT w.wallet_id FROM wallets w JOIN arrived_wallets USING (wallet_id) LEFT JOIN unit_state u ON u.unit = w.unit
WHERE w.unit <> %s AND u.state IS DISTINCT FROM 'moved' LIMIT 1
"""

_NAME_WALLETS: Final = """
INSERT INTO wallets (wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit,
                     seq, head_hash, opened_at, posted_at, frozen_by, blocked_by, metadata)
SELECT wallet_id, %s, owner_type, owner_ref, kind, currency, 'unopened', 0, 0, 0, 0, %s, opened_at,
       '1970-01-01 00:00:00+00', %s, blocked_by, metadata
FROM arrived_wallets ORDER BY wallet_id
ON CONFLICT (wallet_id) DO UPDATE
SET unit = excluded.unit, owner_type = excluded.owner_type, owner_ref = excluded.owner_ref, kind = excluded.kind,
    currency = excluded.currency, opened_at = excluded.opened_at, frozen_by = excluded.frozen_by,
    blocked_by = excluded.blocked_by, metadata = excluded.metadata
WHERE (wallets.unit, wallets.owner_type, wallets.owner_ref, wallets.kind, wallets.currency, wallets.opened_at,
       wallets.frozen_by, wallets.blocked_by, wallets.metadata)
    IS DISTINCT FROM (excluded.unit, excluded.owner_type, excluded.owner_ref, excluded.kind, excluded.currency,
                      excluded.opened_at, excluded.frozen_by, excluded.blocked_by, excluded.metadata)
"""

_ARRIVED_ENTRIES: Final = (
    f"SELECT {ENTRY_COLUMNS}, {RECORD_COLUMNS}, {BEGUN_COLUMNS} FROM arrived_entries ORDER BY wallet_id, seq"  # noqa: S608
)

_ABOVE: Final = "FROM arrived_entries a JOIN wallets w ON w.wallet_id = a.wallet_id AND a.seq > w.seq"
"""Before the wallets are brought up to date: what is here already stays as it is."""

_INSERT_ENTRIES: Final = f"""
INSERT INTO entries ({ENTRY_COLUMNS}, xid)
SELECT {", ".join(f"a.{name}" for name in ENTRY_COLUMNS.split(", "))}, '0'::xid8 {_ABOVE}
"""

_INSERT_TRANSACTIONS: Final = f"""
INSERT INTO transactions (wallet_id, vendor_id, transaction_id, kind, requested_amount, amount, currency, terms,
                          reason, posted_at, seq, delta, held_delta, balance_after, held_after,
                          overdraft_limit_after, hash)
SELECT a.wallet_id, a.recorded_under, a.transaction_id, coalesce(a.requested_kind, a.kind), a.asked_amount,
       a.recorded_amount, a.recorded_currency, a.terms, a.reason, a.posted_at, a.seq, a.amount, a.held_delta,
       a.balance_after, a.held_after, a.overdraft_limit_after, a.hash
{_ABOVE}
"""

_INSERT_REVERSALS: Final = f"""
INSERT INTO reversals (wallet_id, vendor_id, original, seq, amount)
SELECT a.wallet_id, a.subject_vendor_id, a.subject_id, a.seq, abs(a.amount) {_ABOVE} WHERE a.kind = 'reversal'
"""

_CONTRADICTED: Final = """
SELECT t.wallet_id, t.transaction_id
FROM arrived_transfers a JOIN transfers t USING (wallet_id, vendor_id, transaction_id)
WHERE t.state <> 'missing' AND (t.transfer_id, t.to_wallet_id, t.amount, t.currency, t.sent_at)
    IS DISTINCT FROM (a.transfer_id, a.to_wallet_id, a.amount, a.currency, a.sent_at)
UNION ALL
SELECT t.wallet_id, t.transaction_id
FROM arrived_groups a JOIN groups t USING (wallet_id, vendor_id, transaction_id)
WHERE t.state <> 'missing' AND (t.group_id, t.currency, t.started_at, t.decide_by)
    IS DISTINCT FROM (a.group_id, a.currency, a.started_at, a.decide_by)
LIMIT 1
"""
"""A saga goes on and never becomes another one. What has ended enters no digest: it is held against what was open."""

_REPLACE: Final = (
    (
        "UPDATE holds h SET terms = a.terms FROM arrived_legs a "
        "WHERE (h.wallet_id, h.vendor_id, h.hold_id) = (a.wallet_id, a.vendor_id, a.hold_id)"
    ),
    (
        "INSERT INTO transfers SELECT * FROM arrived_transfers ON CONFLICT (wallet_id, vendor_id, transaction_id) "
        "DO UPDATE SET transfer_id = excluded.transfer_id, to_wallet_id = excluded.to_wallet_id, "
        "amount = excluded.amount, currency = excluded.currency, state = excluded.state, details = excluded.details, "
        "sent_at = excluded.sent_at, attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at "
        "WHERE transfers IS DISTINCT FROM excluded"
    ),
    (
        "INSERT INTO groups SELECT * FROM arrived_groups ON CONFLICT (wallet_id, vendor_id, transaction_id) "
        "DO UPDATE SET group_id = excluded.group_id, currency = excluded.currency, state = excluded.state, "
        "is_finished = excluded.is_finished, legs = excluded.legs, details = excluded.details, "
        "started_at = excluded.started_at, decide_by = excluded.decide_by, attempts = excluded.attempts, "
        "next_attempt_at = excluded.next_attempt_at WHERE groups IS DISTINCT FROM excluded"
    ),
    (
        "INSERT INTO spent SELECT * FROM arrived_spent ON CONFLICT (wallet_id, vendor_id, day) "
        "DO UPDATE SET amount = excluded.amount WHERE spent.amount <> excluded.amount"
    ),
    (
        "INSERT INTO isolated SELECT * FROM arrived_isolated ON CONFLICT (wallet_id) "
        "DO UPDATE SET unit = excluded.unit, cell = excluded.cell, epoch = excluded.epoch "
        "WHERE isolated.unit <> excluded.unit OR isolated.epoch < excluded.epoch"
    ),
)

_FORGET_REJOINED: Final = "SELECT forget_exiles_but(%s, ARRAY(SELECT wallet_id FROM arrived_isolated))"

_COUNT_PINS: Final = f"""
UPDATE wallets w SET pinned = counted.pinned
FROM (
    SELECT o.wallet_id, (
        coalesce((SELECT sum(h.remaining) FROM holds h
                  WHERE h.wallet_id = o.wallet_id AND h.state = 'open' AND h.kind = 'pin'), 0)
        + coalesce((SELECT sum(t.amount) FROM transfers t
                    WHERE t.wallet_id = o.wallet_id AND {TRANSFER_IS_OPEN} AND t.state = 'in_transit'), 0)
    )::bigint AS pinned
    FROM wallets o WHERE o.unit = %s
) counted
WHERE w.wallet_id = counted.wallet_id AND w.pinned <> counted.pinned
"""  # noqa: S608 - our own words

_OPEN_SAGAS: Final = f"""
SELECT t.wallet_id, t.vendor_id, t.transaction_id FROM wallets w JOIN transfers t USING (wallet_id)
WHERE w.unit = %s AND {TRANSFER_IS_OPEN}
UNION ALL
SELECT t.wallet_id, t.vendor_id, t.transaction_id FROM wallets w JOIN groups t USING (wallet_id)
WHERE w.unit = %s AND {GROUP_IS_OPEN}
ORDER BY 1, 2, 3
"""  # noqa: S608 - our own words

_RECORD: Final = len(ENTRY_COLUMNS.split(", "))
"""Where in a row that arrived stands what was recorded for its entry, and then what it began."""
_FIELDS: Final = tuple(field.name for field in fields(CanonicalEntry))


class Arrivals:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def positions(self, unit: int, *, move_id: str) -> Positions:
        async with self._sessions.transaction() as connection:
            (row,) = await lock_units(connection, [unit])
            allowed(row, take_rows(row, move_id=move_id))
            await rows(connection, TOUCH, arrays.int4s([unit]))
            found = await rows(connection, _POSITIONS, unit)
            sagas = await rows(connection, _OPEN_SAGAS, unit, unit)
        return Positions(
            unit=unit,
            positions=tuple((wallet_id, seq) for wallet_id, seq in found),
            open_sagas=tuple((wallet_id, vendor_id, name) for wallet_id, vendor_id, name in sagas),
        )

    async def take(self, unit: int, body: bytes, *, part: str, move_id: str) -> RowsTaken:
        """Rows of one part.

        Raises:
            ParcelBrokenError: the bytes are no rows.
            MoveRefusedError: they may not come now, or do not continue what is here.

        """
        parcel = list(sections(body, part=part))
        async with self._sessions.transaction(commits_locally=True) as connection:
            (row,) = await lock_units(connection, [unit])
            after = allowed(row, take_rows(row, move_id=move_id))
            if after != row:
                await save_units(connection, [after])
            await rows(connection, TOUCH, arrays.int4s([unit]))
            try:
                return await _take(connection, unit, parcel, part=part, move_id=move_id)
            except (psycopg.DataError, psycopg.IntegrityError, InvariantBrokenError) as error:
                raise _not_folding(str(error).strip()) from error


def _not_folding(detail: str) -> MoveRefusedError:
    return MoveRefusedError(MoveReason.ROWS_MUST_FOLD, detail)


async def _take(
    connection: Connection, unit: int, parcel: Sequence[tuple[str, bytes]], *, part: str, move_id: str
) -> RowsTaken:
    await connection.execute(ARRIVED)
    counts = {name: await _copy_in(connection, name, lines) for name, lines in parcel}
    wallets = await _lock_wallets(connection, unit, move_id=move_id)
    if part == "state":
        contradicted = await rows(connection, _CONTRADICTED)
        if contradicted:
            raise _not_folding(f"Saga {contradicted[0][1]} of wallet {contradicted[0][0]} is another one here.")
        for statement in _REPLACE:
            await rows(connection, statement)
        await rows(connection, _FORGET_REJOINED, unit)
        await rows(connection, _COUNT_PINS, unit)
        taken = sum(counts.values())
    else:
        taken = await _fold_entries(connection, wallets)
    positions = tuple((wallet_id, wallet.seq) for wallet_id, wallet in sorted(wallets.items()))
    return RowsTaken(unit=unit, rows=taken, positions=positions)


async def _copy_in(connection: Connection, name: str, lines: bytes) -> int:
    if not lines:
        return 0
    cursor = connection.cursor()
    async with cursor.copy(f"COPY arrived_{name} FROM STDIN".encode()) as copy:
        await copy.write(lines)
    return cursor.rowcount


async def _lock_wallets(connection: Connection, unit: int, *, move_id: str) -> dict[str, Wallet]:
    """The arriving wallets, locked in order of id, with the names they came with."""
    ids = [row[0] for row in await rows(connection, _ARRIVED_IDS)]
    await rows(connection, LOCK_WALLETS, arrays.uuids(ids))
    held = await rows(connection, _HELD_ELSEWHERE, unit)
    if held:
        raise _not_folding(f"Wallet {held[0][0]} stands in another unit here.")
    await rows(connection, _NAME_WALLETS, unit, ZERO_HASH, move_id)
    # Without pins: they are counted when the state has come.
    locked = await rows(connection, LOCK_WALLETS, arrays.uuids(ids))
    return {row[0]: replace(wallet_of(row), pinned=0) for row in locked}


async def _fold_entries(connection: Connection, wallets: dict[str, Wallet]) -> int:
    """Brings `wallets` up to date, and writes what their new entries began; gives the number of those."""
    arrived = await rows(connection, _ARRIVED_ENTRIES)
    unknown = {row[0] for row in arrived} - wallets.keys()
    if unknown:
        raise _not_folding(f"Wallet {min(unknown)} has entries and no name.")
    before = dict(wallets)
    folded: list[tuple[Entry, str | None]] = []
    sagas: list[Saga] = []
    for wallet_id, of_wallet in groupby(arrived, key=lambda row: row[0]):
        wallet = wallets[wallet_id]
        for row in of_wallet:
            if row[1] > wallet.seq:
                entry = _entry_after(wallet, row)
                wallet = fold(wallet, entry)
                recorded_under, _, _, _, terms, leg_terms, told = row[_RECORD:]
                folded.append((entry, leg_terms))
                sagas += _saga_begun_by(entry, recorded_under, terms, told)
        wallets[wallet_id] = wallet
    count = len(folded)
    holds = await _folded_holds(connection, folded)
    for statement in (_INSERT_ENTRIES, _INSERT_TRANSACTIONS):
        if (await connection.execute(statement.encode())).rowcount != count:
            raise _not_folding("An entry came twice.")
    await connection.execute(_INSERT_REVERSALS.encode())
    transfers = tuple(saga for saga in sagas if isinstance(saga, Transfer))
    groups = tuple(saga for saga in sagas if isinstance(saga, Group))
    for statement, columns in promises.writes([Changes(holds=tuple(holds), transfers=transfers, groups=groups)]):
        await rows(connection, statement, *columns)
    grown = [wallet for wallet_id, wallet in wallets.items() if wallet.seq != before[wallet_id].seq]
    if grown:
        await rows(connection, UPDATE_WALLETS, *wallet_columns(grown))
    return count


def _entry_after(wallet: Wallet, row: TupleRow) -> Entry:
    """The entry as it follows from the wallet's head: its hash is computed, and must be the one that came."""
    audited = audited_entry(row, wallet.currency)
    stated = {name: getattr(audited.canonical, name) for name in _FIELDS}
    entry = Entry(**stated, previous_hash=wallet.head_hash, salt=b"", details="", context="")
    if entry.hash != audited.hash:
        raise InvariantBrokenError(f"L6: entry {entry.seq} of {entry.wallet_id} does not have its hash")
    if audited.salt is not None and audited.details is not None and audited.context is not None:
        sealed = sealed_hash(salt=audited.salt, details=audited.details, context=audited.context)
        if sealed != entry.sealed:
            raise InvariantBrokenError(f"L6: entry {entry.seq} of {entry.wallet_id} does not have its seal")
    return entry


def _saga_begun_by(entry: Entry, recorded_under: VendorId, terms: str | None, told: list[Any] | None) -> list[Saga]:
    key = TransactionKey(WalletId(entry.wallet_id), recorded_under, TransactionId(entry.transaction_id))
    read = promises.group_of if begins_group(entry) else promises.transfer_of
    try:
        saga = saga_begun_by(entry, key, terms, None if told is None else read(told))  # type: ignore[arg-type]
    except (LookupError, TypeError, ValueError) as error:
        raise InvariantBrokenError(f"P7: what entry {entry.seq} of {entry.wallet_id} began cannot be read") from error
    return [] if saga is None else [saga]


async def _folded_holds(connection: Connection, entries: Sequence[tuple[Entry, str | None]]) -> list[Hold]:
    """Each entry with the terms of the leg that it places."""
    about = [(key, entry, terms) for entry, terms in entries if (key := subject_of(entry)) is not None]
    if not about:
        return []
    keys = list(dict.fromkeys(key for key, _, _ in about))
    stored = await rows(connection, promises.SELECT_HOLDS, *promises.key_columns(keys))
    holds: dict[TransactionKey, Hold] = {hold.key: hold for hold in map(promises.hold_of, stored)}
    for key, entry, terms in about:
        holds[key] = fold_hold(holds.get(key), entry, terms=terms)
    return list(holds.values())
