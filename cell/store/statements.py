"""The statements of the write path and the columns they take: all of its data access, to be read in one go.

Each takes whole columns as arrays, so its text is one text for every batch and is planned once per connection.
"""

from collections.abc import Sequence

from psycopg.rows import TupleRow

from cell.ledger.model import Entry, OpenedWallet, Recorded, TransactionKey, Wallet
from cell.store.arrays import Array, byteas, instants, int4s, int8s, texts, uuids

PROBE = """
INSERT INTO api_processes (process_id, written_at) VALUES (%s, clock_timestamp())
ON CONFLICT (process_id) DO UPDATE SET written_at = excluded.written_at
"""

CLOCK = "SELECT clock_timestamp()"

LOCK_UNITS = "SELECT pg_advisory_xact_lock_shared(1, unit) FROM unnest(%s) AS unit"
"""Openings hold their units shared, so that a fence (exclusive) waits for them and they for it."""

LOCK_WALLETS = """
SELECT wallet_id, unit, owner_type, currency, status, balance, held, overdraft_limit, seq, head_hash, posted_at,
       frozen_by, blocked_by, pinned
FROM wallets WHERE wallet_id = ANY(%s) ORDER BY wallet_id FOR UPDATE
"""

SELECT_FREE_WALLETS = """
SELECT wallet_id FROM wallets WHERE wallet_id = ANY(%s) ORDER BY wallet_id FOR UPDATE SKIP LOCKED
"""

SELECT_WALLET_IDS = "SELECT wallet_id FROM wallets WHERE wallet_id = ANY(%s)"

SELECT_RECORDED = """
SELECT t.wallet_id, t.vendor_id, t.transaction_id, t.kind, t.requested_amount, t.amount, t.currency, t.terms, t.reason,
       t.posted_at, t.seq, t.delta, t.held_delta, t.balance_after, t.held_after, t.overdraft_limit_after, t.hash
FROM unnest(%s, %s, %s) AS k (wallet_id, vendor_id, transaction_id)
JOIN transactions t USING (wallet_id, vendor_id, transaction_id)
"""

SELECT_REVERSED = """
SELECT r.wallet_id, r.vendor_id, r.original, sum(r.amount)::bigint
FROM unnest(%s, %s, %s) AS k (wallet_id, vendor_id, original)
JOIN reversals r USING (wallet_id, vendor_id, original)
GROUP BY r.wallet_id, r.vendor_id, r.original
"""

SELECT_UNIT_STATES = "SELECT unit, state, epoch, peer_cell FROM unit_state WHERE unit = ANY(%s)"

SELECT_EXILES = "SELECT wallet_id, unit, cell, epoch FROM isolated WHERE wallet_id = ANY(%s)"

INSERT_WALLETS = """
INSERT INTO wallets (wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit,
                     seq, head_hash, opened_at, posted_at, metadata)
SELECT wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit,
       seq, head_hash, posted_at, posted_at, metadata
FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
     AS b (wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit,
           seq, head_hash, posted_at, metadata)
ORDER BY wallet_id
ON CONFLICT DO NOTHING RETURNING wallet_id
"""

UPDATE_WALLETS = """
UPDATE wallets w
SET status = b.status, balance = b.balance, held = b.held, overdraft_limit = b.overdraft_limit, seq = b.seq,
    head_hash = b.head_hash, posted_at = b.posted_at, pinned = b.pinned
FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s)
     AS b (wallet_id, status, balance, held, overdraft_limit, seq, head_hash, posted_at, pinned)
WHERE w.wallet_id = b.wallet_id
"""

NAME_WALLETS = """
UPDATE wallets w
SET owner_type = b.owner_type, owner_ref = b.owner_ref, kind = b.kind, currency = b.currency,
    opened_at = b.opened_at, metadata = b.metadata
FROM unnest(%s, %s, %s, %s, %s, %s, %s)
     AS b (wallet_id, owner_type, owner_ref, kind, currency, opened_at, metadata)
WHERE w.wallet_id = b.wallet_id AND w.owner_type = ''
"""
"""An unopened wallet gets the owner that it is opened for; its figures are written as any wallet's."""

UPDATE_METADATA = """
UPDATE wallets w SET metadata = b.metadata FROM unnest(%s, %s) AS b (wallet_id, metadata)
WHERE w.wallet_id = b.wallet_id
"""

INSERT_ENTRIES_AND_TRANSACTIONS = """
WITH batch AS MATERIALIZED (
    SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
                         %s, %s, %s, %s, %s, %s)
    AS b (wallet_id, posted_at, seq, kind, amount, held_delta, balance_after, held_after, overdraft_limit_after,
          status_after, transaction_id, vendor_id, counter_account, subject_id, subject_vendor_id, expires_at,
          requested_kind, requested_amount, reason, sealed, details, context, salt, hash,
          recorded_under, asked_amount, recorded_amount, currency, terms)
), new_entries AS (
    INSERT INTO entries (wallet_id, posted_at, seq, kind, amount, held_delta, balance_after, held_after,
                         overdraft_limit_after, status_after, transaction_id, vendor_id, counter_account, subject_id,
                         subject_vendor_id, expires_at, requested_kind, requested_amount, reason, sealed, details,
                         context, salt, hash)
    SELECT wallet_id, posted_at, seq, kind, amount, held_delta, balance_after, held_after,
           overdraft_limit_after, status_after, transaction_id, vendor_id, counter_account, subject_id,
           subject_vendor_id, expires_at, requested_kind, requested_amount, reason, sealed, details,
           context, salt, hash
    FROM batch RETURNING 1
), new_transactions AS (
    INSERT INTO transactions (wallet_id, vendor_id, transaction_id, kind, requested_amount, amount, currency, terms,
                              reason, posted_at, seq, delta, held_delta, balance_after, held_after,
                              overdraft_limit_after, hash)
    SELECT wallet_id, recorded_under, transaction_id, coalesce(requested_kind, kind), asked_amount, recorded_amount,
           currency, terms, reason, posted_at, seq, amount, held_delta, balance_after, held_after,
           overdraft_limit_after, hash
    FROM batch RETURNING 1
)
SELECT (SELECT count(*) FROM new_entries), (SELECT count(*) FROM new_transactions)
"""

INSERT_ACCOUNT_DELTAS = """
INSERT INTO account_deltas (account, currency, delta, cause)
SELECT account, currency, delta, cause FROM unnest(%s, %s, %s) AS b (account, currency, delta), (SELECT %s) AS c (cause)
"""

INSERT_REVERSALS = """
INSERT INTO reversals (wallet_id, vendor_id, original, seq, amount) SELECT * FROM unnest(%s, %s, %s, %s, %s)
"""


def entry_columns(written: Sequence[tuple[Entry, Recorded]]) -> tuple[Array, ...]:
    """Columns of INSERT_ENTRIES_AND_TRANSACTIONS: each entry with the outcome that is recorded for it."""
    entries = [entry for entry, _ in written]
    records = [record for _, record in written]
    return (
        uuids([entry.wallet_id for entry in entries]),
        instants([entry.posted_at_us for entry in entries]),
        int8s([entry.seq for entry in entries]),
        texts([entry.kind for entry in entries]),
        int8s([entry.delta for entry in entries]),
        int8s([entry.held_delta for entry in entries]),
        int8s([entry.balance_after for entry in entries]),
        int8s([entry.held_after for entry in entries]),
        int8s([entry.overdraft_limit_after for entry in entries]),
        texts([entry.status_after for entry in entries]),
        uuids([entry.transaction_id for entry in entries]),
        texts([entry.vendor_id for entry in entries]),
        texts([entry.counter_account for entry in entries]),
        uuids([entry.subject_id for entry in entries]),
        texts([entry.subject_vendor_id for entry in entries]),
        instants([entry.expires_at_us for entry in entries]),
        texts([entry.requested_kind for entry in entries]),
        int8s([entry.requested_amount for entry in entries]),
        texts([entry.reason for entry in entries]),
        byteas([bytes.fromhex(entry.sealed) for entry in entries]),
        texts([entry.details for entry in entries]),
        texts([entry.context for entry in entries]),
        byteas([entry.salt for entry in entries]),
        byteas([entry.hash for entry in entries]),
        texts([record.key.vendor_id for record in records]),
        int8s([record.requested_amount for record in records]),
        int8s([record.amount for record in records]),
        texts([record.currency for record in records]),
        texts([record.terms for record in records]),
    )


def wallet_columns(altered: Sequence[Wallet]) -> tuple[Array, ...]:
    """Columns of UPDATE_WALLETS."""
    return (
        uuids([wallet.wallet_id for wallet in altered]),
        texts([wallet.status for wallet in altered]),
        int8s([wallet.balance for wallet in altered]),
        int8s([wallet.held for wallet in altered]),
        int8s([wallet.overdraft_limit for wallet in altered]),
        int8s([wallet.seq for wallet in altered]),
        byteas([wallet.head_hash for wallet in altered]),
        instants([wallet.posted_at_us for wallet in altered]),
        int8s([wallet.pinned for wallet in altered]),
    )


def name_columns(continued: Sequence[OpenedWallet]) -> tuple[Array, ...]:
    """Columns of NAME_WALLETS."""
    return (
        uuids([one.wallet.wallet_id for one in continued]),
        texts([one.wallet.owner_type for one in continued]),
        texts([one.owner_ref for one in continued]),
        texts([one.kind for one in continued]),
        texts([one.wallet.currency for one in continued]),
        instants([one.wallet.posted_at_us for one in continued]),
        texts([one.metadata for one in continued]),
    )


def opened_columns(opened: Sequence[OpenedWallet]) -> tuple[Array, ...]:
    """Columns of INSERT_WALLETS."""
    wallets = [one.wallet for one in opened]
    return (
        uuids([wallet.wallet_id for wallet in wallets]),
        int4s([wallet.unit for wallet in wallets]),
        texts([wallet.owner_type for wallet in wallets]),
        texts([one.owner_ref for one in opened]),
        texts([one.kind for one in opened]),
        texts([wallet.currency for wallet in wallets]),
        texts([wallet.status for wallet in wallets]),
        int8s([wallet.balance for wallet in wallets]),
        int8s([wallet.held for wallet in wallets]),
        int8s([wallet.overdraft_limit for wallet in wallets]),
        int8s([wallet.seq for wallet in wallets]),
        byteas([wallet.head_hash for wallet in wallets]),
        instants([wallet.posted_at_us for wallet in wallets]),
        texts([one.metadata for one in opened]),
    )


def recorded_of(row: TupleRow) -> Recorded:
    """A row of SELECT_RECORDED."""
    return Recorded(
        key=TransactionKey(row[0], row[1], row[2]),
        kind=row[3],
        requested_amount=row[4],
        amount=row[5],
        currency=row[6],
        terms=row[7],
        reason=row[8],
        posted_at_us=row[9],
        seq=row[10],
        delta=row[11],
        held_delta=row[12],
        balance_after=row[13],
        held_after=row[14],
        overdraft_limit_after=row[15],
        hash=row[16],
    )


def wallet_of(row: TupleRow) -> Wallet:
    """A row of LOCK_WALLETS."""
    return Wallet(
        wallet_id=row[0],
        unit=row[1],
        owner_type=row[2],
        currency=row[3],
        status=row[4],
        balance=row[5],
        held=row[6],
        overdraft_limit=row[7],
        seq=row[8],
        head_hash=row[9],
        posted_at_us=row[10],
        frozen_by=row[11],
        blocked_by=row[12],
        pinned=row[13],
    )
