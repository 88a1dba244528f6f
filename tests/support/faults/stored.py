"""What the cells hold of some wallets, read from their databases past every process of the platform."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import psycopg
from faults.vendors import LoadWallet, by_cell
from history.model import CellTotal, Ledger, StoredEntry, StoredWallet
from psycopg.rows import TupleRow

WALLETS = """
SELECT wallet_id::text, balance, seq, encode(head_hash, 'hex') FROM wallets WHERE wallet_id = ANY(%s::uuid[])
"""

ENTRIES = """
SELECT wallet_id::text, seq, kind, amount, balance_after, held_after, overdraft_limit_after, transaction_id::text,
       vendor_id, counter_account, to_char(posted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       encode(hash, 'hex'), subject_id::text, reason
FROM entries WHERE wallet_id = ANY(%s::uuid[]) ORDER BY wallet_id, seq, posted_at
"""

TOTALS = """
SELECT currency, sum(wallets)::bigint, sum(accounts)::bigint
FROM (SELECT currency, balance AS wallets, 0 AS accounts FROM wallets JOIN unit_state USING (unit)
      WHERE state IN ('active', 'fenced')
      UNION ALL SELECT currency, 0, delta FROM account_deltas) AS books
GROUP BY currency
"""


def read_ledger(databases: Mapping[str, str], wallets: Sequence[LoadWallet]) -> Ledger:
    """Each cell in one snapshot."""
    stored: dict[str, StoredWallet] = {}
    entries: dict[str, tuple[StoredEntry, ...]] = {}
    totals: list[CellTotal] = []
    for cell, wallet_ids in by_cell(wallets).items():
        with psycopg.connect(databases[cell]) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for row in connection.execute(WALLETS, (wallet_ids,)):
                stored[row[0]] = StoredWallet(wallet_id=row[0], cell=cell, balance=row[1], seq=row[2], head_hash=row[3])
            for wallet_id, log in groupby(_entries(connection, wallet_ids), key=lambda one: one.wallet_id):
                entries[wallet_id] = tuple(log)
            totals += [
                CellTotal(cell=cell, currency=row[0], wallets=row[1], accounts=row[2])
                for row in connection.execute(TOTALS)
            ]
    return Ledger(wallets=stored, entries=entries, totals=tuple(totals))


def _entries(connection: psycopg.Connection[TupleRow], wallet_ids: Sequence[str]) -> Iterator[StoredEntry]:
    for row in connection.execute(ENTRIES, (list(wallet_ids),)):
        named: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
        yield StoredEntry(**named)


_COLUMNS = (
    *("wallet_id", "seq", "kind", "delta", "balance_after", "held_after", "overdraft_limit_after", "transaction_id"),
    *("vendor_id", "counter_account", "posted_at", "hash", "subject_id", "reason"),
)
