"""The audit of a cell's database, in one snapshot: every invariant that stored data can show (docs/INVARIANTS.md).

The quick audit compares sums and ends in SQL; the full one folds every wallet's log again and recomputes every hash.
It reads in small pages and steps aside between them, so that an audit in a serving process does not slow money.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow

from cell.ledger.invariants import (
    FINDINGS_MAX,
    STUCK,
    AuditedEntry,
    AuditedWallet,
    Finding,
    LogAudit,
)
from cell.ledger.posting import NO_CURRENCY
from cell.store import arrays
from cell.store.checkpoint_audit import check_checkpoints
from cell.store.saga_audit import check_groups, check_set_aside, check_transfers, find_stuck, holds_of, on_its_way
from contract.chain import CanonicalEntry
from contract.signing import PublicKeys
from contract.values import value

PAGE = 500
MIGRATED = "migrated"
"""The other side of wallets that came or went: no entry moved it, and over all cells it is zero."""

STUCK_AFTER_S = 3_600.0
"""Longer than any outage that needs nobody; a transfer that is open then waits for a person."""

LAST_ENTRIES = """
SELECT w.wallet_id, w.seq, w.balance, w.held, w.head_hash, w.overdraft_limit, w.status,
       coalesce(s.entries, 0), coalesce(s.last_seq, 0), coalesce(s.amounts, 0), coalesce(s.held_deltas, 0),
       l.balance_after, l.held_after, l.hash, l.overdraft_limit_after, l.status_after
FROM owned_wallets w
LEFT JOIN (
    SELECT wallet_id, count(*) AS entries, max(seq) AS last_seq, sum(amount)::bigint AS amounts,
           sum(held_delta)::bigint AS held_deltas
    FROM entries GROUP BY wallet_id
) s USING (wallet_id)
LEFT JOIN entries l ON l.wallet_id = w.wallet_id AND l.posted_at = w.posted_at AND l.seq = w.seq
"""

WALLETS = """
SELECT wallet_id, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit, seq, head_hash,
       posted_at, metadata, pinned, coalesce(t.away, 0)::bigint
FROM owned_wallets w
LEFT JOIN (SELECT wallet_id, sum(amount) AS away FROM transfers WHERE state = 'in_transit' GROUP BY wallet_id) t
    USING (wallet_id)
"""
ALL_WALLETS = WALLETS + "ORDER BY wallet_id"

ENTRIES = """
SELECT wallet_id, seq, posted_at, kind, amount, held_delta, balance_after, held_after, overdraft_limit_after,
       status_after, transaction_id, vendor_id, counter_account, subject_id, subject_vendor_id, expires_at,
       requested_kind, requested_amount, reason, sealed, hash, salt, details, context
FROM entries
"""
ALL_ENTRIES = ENTRIES + "ORDER BY wallet_id, posted_at, seq"

ORPHANS = """
SELECT e.wallet_id, e.seq FROM entries e LEFT JOIN wallets w USING (wallet_id) WHERE w.wallet_id IS NULL LIMIT 100
"""

UNRECORDED = """
SELECT wallet_id, seq, e.posted_at IS NULL, t.posted_at IS NULL
FROM entries e FULL JOIN transactions t USING (wallet_id, seq)
LEFT JOIN (SELECT wallet_id, currency FROM wallets) w USING (wallet_id)
WHERE e.posted_at IS NULL OR t.posted_at IS NULL
   OR (e.posted_at, e.transaction_id, e.amount, e.held_delta, e.balance_after, e.held_after, e.overdraft_limit_after,
       e.hash, e.reason, coalesce(e.requested_kind, e.kind),
       CASE WHEN e.reason IS NOT NULL THEN coalesce(e.requested_amount, 0)
            WHEN e.amount <> 0 THEN abs(e.amount) WHEN e.held_delta <> 0 THEN abs(e.held_delta)
            ELSE coalesce(e.requested_amount, 0) END)
      IS DISTINCT FROM
      (t.posted_at, t.transaction_id, t.delta, t.held_delta, t.balance_after, t.held_after, t.overdraft_limit_after,
       t.hash, t.reason, t.kind, t.amount)
   OR t.vendor_id NOT IN (e.vendor_id, '@cell', '@transfer', '@group')
   OR t.requested_amount <> t.amount
   OR (t.currency <> w.currency AND coalesce(t.reason, '') <> 'currency_must_match_wallet'
       AND e.status_after <> 'unopened' AND NOT (t.kind = 'group' AND t.reason IS NOT NULL)
       AND NOT (t.vendor_id = '@group' AND coalesce(t.reason, '') = 'hold_must_be_open'))
LIMIT 100
"""
"""Reserved vendors are the platform's own scopes of ids (cell/ledger/footprint.py). What an extension and a pin are
about is neither in the balance nor in the held sum, but in what was requested. A refusal may name another currency: of
a group another leg may have been refused, and a wallet that is not opened has none."""

REVERSALS = """
SELECT wallet_id, seq
FROM (SELECT wallet_id, seq, subject_vendor_id, subject_id, abs(amount) AS amount
      FROM entries WHERE kind = 'reversal') e
FULL JOIN reversals r USING (wallet_id, seq)
WHERE (e.subject_vendor_id, e.subject_id, e.amount) IS DISTINCT FROM (r.vendor_id, r.original, r.amount)
LIMIT 100
"""

TOTALS = """
SELECT currency, sum(balance)::text, count(*) FROM owned_wallets WHERE status <> 'unopened' OR balance <> 0
GROUP BY currency ORDER BY currency
"""

ACCOUNTS = """
SELECT currency, account, sum(delta)::text FROM account_deltas GROUP BY currency, account ORDER BY currency, account
"""

POSTED_HERE = """
SELECT currency, account, sum(delta)::text FROM (
    SELECT w.currency, CASE WHEN e.counter_account LIKE 'wallet:%' THEN 'wallets' ELSE e.counter_account END AS account,
           -sum(e.amount) AS delta
    FROM entries e JOIN wallets w USING (wallet_id) WHERE e.xid <> '0'::xid8 GROUP BY 1, 2
    UNION ALL SELECT currency, account, delta FROM departed
) told GROUP BY currency, account
"""
"""By entries that were posted in this cell, wherever their wallets are by now; copied ones moved nothing here."""

MARKS = """
SELECT w.wallet_id, w.unit, coalesce(u.state, 'unknown'), w.frozen_by IS NOT NULL
FROM wallets w LEFT JOIN unit_state u USING (unit)
WHERE u.state IS NULL OR (u.state = 'active') <> (w.frozen_by IS NULL)
   OR (u.state IN ('fenced', 'granted') AND w.frozen_by <> u.move_id)
LIMIT 100
"""

MISSING_PROTECTION = """
WITH guarded AS (
    SELECT oid, relname FROM pg_class
    WHERE oid IN ('entries'::regclass, 'transactions'::regclass, 'reversals'::regclass)
       OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'entries'::regclass)
), refusals AS (
    SELECT tgrelid, tgtype FROM pg_trigger
    WHERE tgenabled IN ('O', 'A') AND tgfoid IN ('refuse_change'::regproc, 'refuse_change_but_erasure'::regproc)
)
SELECT relname, 'update_or_delete_trigger' FROM guarded
WHERE NOT EXISTS (SELECT FROM refusals WHERE tgrelid = oid AND tgtype & 27 = 27)
UNION ALL
SELECT relname, 'truncate_trigger' FROM guarded
WHERE NOT EXISTS (SELECT FROM refusals WHERE tgrelid = oid AND tgtype & 34 = 34)
UNION ALL
SELECT relname, 'grants_of_' || role
FROM guarded, unnest(ARRAY['cell_app', 'cell_mover', 'cell_auditor', 'cell_eraser']) AS role
WHERE has_table_privilege(role, oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
   OR (role <> 'cell_eraser' AND has_any_column_privilege(role, oid, 'UPDATE'))
"""
"""27 = for each row, before, delete and update; 34 = before, truncate (pg_trigger.tgtype)."""


@value
class AuditReport:
    cell: str
    checked: dict[str, int]
    totals: dict[str, dict[str, Any]]
    """Per currency: Σ of the wallets, and of each system account; and what may be between this cell and others."""
    findings: tuple[Finding, ...]
    duration_s: float

    @property
    def is_clean(self) -> bool:
        """Whether every invariant holds; what is stuck breaks none."""
        return all(finding.invariant == STUCK for finding in self.findings)


class _Snapshot:
    """One audit's connection and what it gathers."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self.connection = connection
        self.findings: list[Finding] = []
        self.checked: defaultdict[str, int] = defaultdict(int)
        self.counter_sums: defaultdict[tuple[str, str], int] = defaultdict(int)

    def find(self, invariant: str, field: str, expected: object, found: object, **place: Any) -> None:
        if expected != found and len(self.findings) < FINDINGS_MAX:
            one = {"wallet_id": None, "seq": None, **place}
            self.findings.append(
                Finding(invariant=invariant, field=field, expected=_plain(expected), found=_plain(found), **one)
            )

    async def pages(self, statement: str) -> AsyncIterator[list[TupleRow]]:
        async with self.connection.cursor(f"audit_{abs(hash(statement))}", binary=True) as cursor:
            await cursor.execute(statement)
            while rows := await cursor.fetchmany(PAGE):
                yield rows
                await asyncio.sleep(0)


async def audit(
    database_url: str,
    *,
    cell: str,
    is_full: bool,
    checkpoint_keys: PublicKeys,
    stuck_after_s: float = STUCK_AFTER_S,
) -> AuditReport:
    """Check the whole cell in one REPEATABLE READ snapshot; in full, checkpoints too, by keys that are trusted.

    Raises:
        psycopg.Error: the database cannot be reached.

    """
    started_s = time.monotonic()
    connection = await AsyncConnection.connect(
        database_url, autocommit=False, options="-c application_name=cell-audit -c timezone=UTC"
    )
    async with connection:
        arrays.register(connection)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        snapshot = _Snapshot(connection)
        await _check_sums(snapshot)
        if is_full:
            await _check_logs(snapshot)
            snapshot.checked["transfers"] = await check_transfers(snapshot)
            snapshot.checked["groups"] = await check_groups(snapshot)
            snapshot.checked["checkpoints"] = await check_checkpoints(snapshot, checkpoint_keys)
            await _sum_what_was_posted_here(snapshot)
        await check_set_aside(snapshot)
        totals = await _check_trial_balance(snapshot, is_full=is_full)
        await _check_rows(snapshot)
        await find_stuck(snapshot, older_s=stuck_after_s)
    return AuditReport(
        cell=cell,
        checked=dict(snapshot.checked),
        totals=totals,
        findings=tuple(snapshot.findings),
        duration_s=round(time.monotonic() - started_s, 3),
    )


async def _check_sums(snapshot: _Snapshot) -> None:
    """L1, L2, L4 and the head of the chain, from sums and last entries."""
    async for rows in snapshot.pages(LAST_ENTRIES):
        for row in rows:
            wallet_id, seq, balance, held, head_hash, limit, status = row[:7]
            count, last_seq, amounts, held_deltas = row[7:11]
            place = {"wallet_id": wallet_id, "seq": seq}
            snapshot.find("L4", "entries", seq, count, **place)
            snapshot.find("L4", "last seq", seq, last_seq, **place)
            snapshot.find("L1", "balance", amounts, balance, **place)
            snapshot.find("L2", "held", held_deltas, held, **place)
            snapshot.find("L9", "row", tuple(row[11:16]), (balance, held, head_hash, limit, status), **place)
        snapshot.checked["wallets"] += len(rows)


async def _check_logs(snapshot: _Snapshot) -> None:
    """L1-L6 and L9 by folding every log again: two ordered streams, merged by wallet."""
    entries = _entries_by_wallet(snapshot)
    ahead = await anext(entries, None)
    async for rows in snapshot.pages(ALL_WALLETS):
        holds = await holds_of(snapshot.connection, [row[0] for row in rows])
        snapshot.checked["holds"] += sum(map(len, holds.values()))
        for row in rows:
            wallet = audited_wallet(row)
            log = LogAudit(wallet, holds[wallet.wallet_id])
            while ahead is not None and ahead[0] < wallet.wallet_id:  # of a wallet that another cell owns
                ahead = await anext(entries, None)
            while ahead is not None and ahead[0] == wallet.wallet_id:
                log.read(audited_entry(ahead, wallet.currency))
                snapshot.checked["entries"] += 1
                ahead = await anext(entries, None)
            found = log.finish()
            snapshot.findings.extend(found[: FINDINGS_MAX - len(snapshot.findings)])


async def _sum_what_was_posted_here(snapshot: _Snapshot) -> None:
    for currency, account, total in await _all(snapshot, POSTED_HERE):
        snapshot.counter_sums[currency, account] += int(total)


async def _entries_by_wallet(snapshot: _Snapshot) -> AsyncIterator[TupleRow]:
    async for rows in snapshot.pages(ALL_ENTRIES):
        for row in rows:
            yield row


async def _check_trial_balance(snapshot: _Snapshot, *, is_full: bool) -> dict[str, dict[str, Any]]:
    """L5: Σ wallets + Σ system accounts = 0; and, in full, each account equals what the entries sent to it."""
    totals: dict[str, dict[str, Any]] = {}
    for currency, balance, count in await _all(snapshot, TOTALS):
        totals[currency] = {"wallets": int(balance), "wallet_count": count, "accounts": {}}
    for currency, account, total in await _all(snapshot, ACCOUNTS):
        empty = {"wallets": 0, "wallet_count": 0, "accounts": {}}
        totals.setdefault(currency, empty)["accounts"][account] = int(total)
    for currency, amount in (await on_its_way(snapshot)).items():
        if currency in totals:
            totals[currency]["on_its_way"] = amount
    for currency, total in totals.items():
        snapshot.find("L5", f"trial balance {currency}", 0, total["wallets"] + sum(total["accounts"].values()))
    if is_full:
        stated = {(currency, name): sum_ for currency, one in totals.items() for name, sum_ in one["accounts"].items()}
        for key in sorted((stated.keys() | snapshot.counter_sums.keys()) - {(one, MIGRATED) for one in totals}):
            snapshot.find("L5", f"account {key[1]} {key[0]}", snapshot.counter_sums.get(key, 0), stated.get(key, 0))
    snapshot.checked["accounts"] = sum(len(total["accounts"]) for total in totals.values())
    return totals


async def _check_rows(snapshot: _Snapshot) -> None:
    """L7, L8 and I1: what protects the log is in place; log, outcomes and reversals, marks and units say the same."""
    for wallet_id, unit, state, is_frozen in await _all(snapshot, MARKS):
        expected, found = f"as unit {unit} is {state}", "frozen" if is_frozen else "not frozen"
        snapshot.find("I1", "frozen_by", expected, found, wallet_id=wallet_id)
    for wallet_id, seq in await _all(snapshot, ORPHANS):
        snapshot.find("L9", "wallet row", "present", "absent", wallet_id=wallet_id, seq=seq)
    for wallet_id, seq, has_no_entry, has_no_outcome in await _all(snapshot, UNRECORDED):
        found = (
            "outcome without entry" if has_no_entry else "entry without its outcome" if has_no_outcome else "another"
        )
        snapshot.find("L8", "recorded outcome", "as the entry", found, wallet_id=wallet_id, seq=seq)
    for wallet_id, seq in await _all(snapshot, REVERSALS):
        snapshot.find("L9", "reversed amount", "as the entry", "another", wallet_id=wallet_id, seq=seq)
    for table, what in await _all(snapshot, MISSING_PROTECTION):
        snapshot.find("L7", f"{what} of {table}", "append-only", "changeable")


async def _all(snapshot: _Snapshot, statement: str) -> list[TupleRow]:
    cursor = snapshot.connection.cursor(binary=True)
    await cursor.execute(statement)
    return await cursor.fetchall()


def audited_wallet(row: TupleRow) -> AuditedWallet:
    return AuditedWallet(
        wallet_id=row[0],
        owner_type=row[1],
        owner_ref=row[2],
        kind=row[3],
        currency=row[4],
        status=row[5],
        balance=row[6],
        held=row[7],
        overdraft_limit=row[8],
        seq=row[9],
        head_hash=row[10],
        posted_at_us=row[11],
        metadata=row[12],
        pinned=row[13],
        sent_away=row[14],
    )


def audited_entry(row: TupleRow, currency: str) -> AuditedEntry:
    canonical = CanonicalEntry(
        wallet_id=row[0],
        seq=row[1],
        posted_at_us=row[2],
        kind=row[3],
        currency=NO_CURRENCY if row[9] == "unopened" else currency,
        delta=row[4],
        held_delta=row[5],
        balance_after=row[6],
        held_after=row[7],
        overdraft_limit_after=row[8],
        status_after=row[9],
        transaction_id=row[10],
        vendor_id=row[11],
        counter_account=row[12],
        subject_id=row[13],
        subject_vendor_id=row[14],
        expires_at_us=row[15],
        requested_kind=row[16],
        requested_amount=row[17],
        reason=row[18],
        sealed=row[19].hex(),
    )
    return AuditedEntry(canonical=canonical, hash=row[20], salt=row[21], details=row[22], context=row[23])


def _plain(found: object) -> Any:
    """Bytes as hex, so that a finding is JSON."""
    if isinstance(found, bytes):
        return found.hex()
    if isinstance(found, tuple):
        return [_plain(one) for one in found]
    return found


AuditFailed = psycopg.Error
"""What `audit` raises when the database cannot be reached."""
