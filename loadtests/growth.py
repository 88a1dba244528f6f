"""A log of millions of entries, written by PostgreSQL itself: what the cell would have written, many times as fast.

One wallet is opened and posted to through the API; what it left in the tables is the pattern, and only what differs
from wallet to wallet is made here: ids, instants, amounts, balances, salts, seals and hashes. All wallets get their
first entry, then all their second, and so on, as a log grows in time, and the indexes grow with them instead of being
built afterwards. What makes the rows honest is that the cell's own audit has nothing to object to.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
from psycopg import sql

from contract.ids import WalletId
from contract.slots import slot_of
from contract.values import value

SHARDS = 2
"""Grown at the same time, each by a connection of its own."""

SESSION = "-c synchronous_commit=off -c max_parallel_workers_per_gather=0 -c work_mem=64MB -c timezone=UTC"

STAGING: LiteralString = "CREATE UNLOGGED TABLE growing (number int, wallet_id uuid, owner_ref text, unit int)"

PATTERN: LiteralString = """
CREATE UNLOGGED TABLE growth_pattern AS
SELECT e.seq, e.kind, e.amount, e.held_delta, e.held_after, e.overdraft_limit_after, e.status_after, e.vendor_id,
       e.counter_account, e.details, e.context, t.vendor_id AS recorded_under, t.kind AS recorded_kind,
       t.requested_amount, t.currency, t.terms,
       (e.subject_id IS NULL AND e.subject_vendor_id IS NULL AND e.expires_at IS NULL AND e.requested_kind IS NULL
        AND e.requested_amount IS NULL AND e.reason IS NULL AND t.reason IS NULL
        AND t.amount = abs(e.amount)) AS is_plain
FROM entries e JOIN transactions t USING (wallet_id, seq) WHERE e.wallet_id = %s
"""

FIRST_LAYER: LiteralString = """
CREATE UNLOGGED TABLE {layer} AS
SELECT wallet_id, NULL::timestamptz AS opened_at, NULL::timestamptz AS posted_at, 0::bigint AS amount,
       0::bigint AS balance, NULL::uuid AS transaction_id, NULL::bytea AS salt, NULL::bytea AS sealed,
       decode(repeat('00', 32), 'hex') AS hash
FROM growing WHERE number % {shards} = {shard} ORDER BY wallet_id
"""
"""In the order of the index, so that it fits into memory piece by piece."""

NEXT_LAYER: LiteralString = """
CREATE UNLOGGED TABLE {layer} AS
SELECT wallet_id, coalesce(opened_at, posted_at) AS opened_at, posted_at, amount, balance, transaction_id, salt, sealed,
       sha256(previous || convert_to(concat_ws(E'\\n',
           'v1', wallet_id, {seq}::bigint, (extract(epoch FROM posted_at) * 1000000)::bigint, kind, currency, amount,
           held_delta, balance, held_after, overdraft_limit_after, status_after, transaction_id, vendor_id,
           counter_account, '', '', '', '', '', '', encode(sealed, 'hex')), 'UTF8')) AS hash
FROM (
    SELECT *, sha256(salt || convert_to(octet_length(details) || E'\\n' || details || context, 'UTF8')) AS sealed
    FROM (
        SELECT g.wallet_id, g.opened_at, g.hash AS previous, clock_timestamp() AS posted_at, g.amount,
               g.balance + g.amount AS balance,
               CASE p.kind WHEN 'opened' THEN g.wallet_id ELSE
                   (lpad(to_hex({seq}), 8, '0') || '-0000-7000-8000-' || right(g.wallet_id::text, 12))::uuid
               END AS transaction_id,
               substring(sha256(uuid_send(g.wallet_id) || int8send({seq})) FOR 16) AS salt, p.*
        FROM (
            SELECT wallet_id, opened_at, hash, balance,
                   {sign} * (100 + ((uuid_hash(wallet_id) & 8191) + {seq} * 37) % 900)::bigint AS amount
            FROM {before}
        ) g, (
            SELECT kind, currency, held_delta, held_after, overdraft_limit_after, status_after, vendor_id,
                   counter_account, details, context
            FROM growth_pattern WHERE seq = {pattern}
        ) p
    ) written
) closed
"""
"""Ids ascend as those of version 7 do. They and the salts are computed: chance costs more than all the rest."""

ENTRIES: LiteralString = """
INSERT INTO entries (wallet_id, posted_at, seq, kind, amount, held_delta, balance_after, held_after,
                     overdraft_limit_after, status_after, transaction_id, vendor_id, counter_account, sealed, details,
                     context, salt, hash)
SELECT l.wallet_id, l.posted_at, {seq}, p.kind, l.amount, p.held_delta, l.balance, p.held_after,
       p.overdraft_limit_after, p.status_after, l.transaction_id, p.vendor_id, p.counter_account, l.sealed, p.details,
       p.context, l.salt, l.hash
FROM {layer} l, growth_pattern p WHERE p.seq = {pattern}
"""

TRANSACTIONS: LiteralString = """
INSERT INTO transactions (wallet_id, vendor_id, transaction_id, kind, requested_amount, amount, currency, terms,
                          posted_at, seq, delta, held_delta, balance_after, held_after, overdraft_limit_after, hash)
SELECT l.wallet_id, p.recorded_under, l.transaction_id, p.recorded_kind,
       CASE WHEN p.requested_amount IS NOT NULL THEN abs(l.amount) END, abs(l.amount), p.currency, p.terms,
       l.posted_at, {seq}, l.amount, p.held_delta, l.balance, p.held_after, p.overdraft_limit_after, l.hash
FROM {layer} l, growth_pattern p WHERE p.seq = {pattern}
"""

ACCOUNT_DELTAS: LiteralString = """
INSERT INTO account_deltas (account, currency, delta, cause)
SELECT p.counter_account, p.currency, -sum(l.amount), 'growth' FROM {layer} l, growth_pattern p
WHERE p.seq = {pattern} GROUP BY p.counter_account, p.currency HAVING sum(l.amount) <> 0
"""

WALLETS: LiteralString = """
INSERT INTO wallets (wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit,
                     seq, head_hash, opened_at, posted_at, metadata)
SELECT l.wallet_id, g.unit, w.owner_type, g.owner_ref, w.kind, w.currency, w.status, l.balance, w.held,
       w.overdraft_limit, {seq}, l.hash, l.opened_at, l.posted_at, w.metadata
FROM {layer} l JOIN growing g USING (wallet_id), wallets w WHERE w.wallet_id = {wallet} ORDER BY g.number
"""


class PatternMustBePlainError(Exception):
    """The pattern's wallet has not exactly the three entries that a growth repeats; the schema may have changed."""


@value
class _Shard:
    """A part of the wallets: those whose number leaves `number` over."""

    number: int
    database_url: str
    pattern_wallet: WalletId

    def begin(self) -> None:
        with self._connection() as connection:
            connection.execute(sql.SQL(FIRST_LAYER).format(layer=self._layer(0), shards=SHARDS, shard=self.number))

    def grow(self, seq: int) -> None:
        """One entry more for each wallet."""
        pattern = 1 if seq == 1 else 2 + seq % 2
        words = {
            "layer": self._layer(seq),
            "before": self._layer(seq - 1),
            "seq": sql.Literal(seq),
            "pattern": sql.Literal(pattern),
            "sign": sql.Literal((0, 1, -1)[pattern - 1]),
        }
        with self._connection() as connection:
            for statement in (NEXT_LAYER, ENTRIES, TRANSACTIONS, ACCOUNT_DELTAS, "DROP TABLE {before}"):
                connection.execute(sql.SQL(statement).format(**words))

    def end(self, seq: int) -> None:
        """The wallets, as the fold of their entries."""
        words = {"layer": self._layer(seq), "seq": sql.Literal(seq), "wallet": sql.Literal(self.pattern_wallet)}
        with self._connection() as connection:
            connection.execute(sql.SQL(WALLETS).format(**words))
            connection.execute(sql.SQL("DROP TABLE {layer}").format(**words))

    def _layer(self, seq: int) -> sql.Identifier:
        return sql.Identifier(f"growing_{self.number}_{seq}")

    def _connection(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.database_url, options=SESSION)


def grow(
    database_url: str,
    wallets: dict[str, WalletId],
    *,
    pattern: WalletId,
    entries_each: int,
    told: Callable[[], object] = lambda: None,
) -> None:
    """These wallets by their owners, with so many entries each; `told` is called after each entry of all wallets.

    Raises:
        PatternMustBePlainError: see there.

    """
    _prepare(database_url, wallets, pattern)
    shards = [_Shard(number=number, database_url=database_url, pattern_wallet=pattern) for number in range(SHARDS)]
    with ThreadPoolExecutor(SHARDS) as pool:
        list(pool.map(_Shard.begin, shards))
        for seq in range(1, entries_each + 1):
            list(pool.map(lambda shard, seq=seq: shard.grow(seq), shards))
            told()
        list(pool.map(lambda shard: shard.end(entries_each), shards))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE growing, growth_pattern")
        connection.execute("VACUUM ANALYZE")


def _prepare(database_url: str, wallets: dict[str, WalletId], pattern: WalletId) -> None:
    with psycopg.connect(database_url, options=SESSION) as connection:
        connection.execute(PATTERN, [pattern])
        found = connection.execute("SELECT seq, kind, is_plain FROM growth_pattern ORDER BY seq").fetchall()
        if found != [(1, "opened", True), (2, "credit", True), (3, "debit", True)]:
            raise PatternMustBePlainError(f"the pattern must be opened, credited and debited once: {found}")
        connection.execute(STAGING)
        with connection.cursor().copy("COPY growing FROM STDIN") as copy:
            for number, (owner, wallet_id) in enumerate(wallets.items()):
                copy.write_row((number, wallet_id, owner, slot_of(wallet_id)))
        connection.execute("ANALYZE growing")
