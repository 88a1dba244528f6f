"""The cell's schema as SQLAlchemy Core tables: the one file to read. The migrations give the same (a test compares).

Only `wallets` carries `unit`; every other table of a wallet leads with `wallet_id`, so a wallet can move.
`entries` is partitioned by month of `posted_at`; triggers, grants and functions stand in the migrations.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.types import UserDefinedType

metadata = MetaData()


class Xid8(UserDefinedType[int]):
    """PostgreSQL's full transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def _instant() -> DateTime:
    return DateTime(timezone=True)


def _id() -> Uuid[str]:
    return Uuid(as_uuid=False)


wallets = Table(
    "wallets",
    metadata,
    Column("wallet_id", _id(), primary_key=True),
    Column("unit", Integer, nullable=False),
    Column("owner_type", Text, nullable=False),
    Column("owner_ref", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("overdraft_limit", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("opened_at", _instant(), nullable=False),
    Column("posted_at", _instant(), nullable=False),
    Column("frozen_by", _id()),
    Column("blocked_by", Text),
    Column("metadata", Text, nullable=False),
    UniqueConstraint("owner_type", "owner_ref", "kind", "currency", name="wallets_owner"),
    CheckConstraint("balance - held >= -overdraft_limit", name="wallets_are_covered"),
    CheckConstraint("balance BETWEEN -9007199254740991 AND 9007199254740991", name="wallets_stay_within_bounds"),
    CheckConstraint("held >= 0 AND overdraft_limit >= 0", name="wallets_hold_no_negative"),
    Index("wallets_unit", "unit"),
    postgresql_with={"fillfactor": 50},
)
"""A wallet is the fold of its entries; half of each page is left free, so that updates stay in their page."""

entries = Table(
    "entries",
    metadata,
    Column("wallet_id", _id(), nullable=False),
    Column("posted_at", _instant(), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("held_delta", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    Column("held_after", BigInteger, nullable=False),
    Column("overdraft_limit_after", BigInteger, nullable=False),
    Column("status_after", Text, nullable=False),
    Column("transaction_id", _id(), nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("counter_account", Text, nullable=False),
    Column("subject_id", _id()),
    Column("subject_vendor_id", Text),
    Column("expires_at", _instant()),
    Column("requested_kind", Text),
    Column("requested_amount", BigInteger),
    Column("reason", Text),
    Column("sealed", LargeBinary, nullable=False),
    Column("details", Text),
    Column("context", Text),
    Column("salt", LargeBinary),
    Column("hash", LargeBinary, nullable=False),
    Column("xid", Xid8(), nullable=False, server_default=text("pg_current_xact_id()")),
    PrimaryKeyConstraint("wallet_id", "posted_at", "seq"),
    postgresql_partition_by="RANGE (posted_at)",
)
"""`amount` is signed: what the balance changed by. details, context and salt may be erased, nothing else changes."""

transactions = Table(
    "transactions",
    metadata,
    Column("wallet_id", _id(), nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("transaction_id", _id(), nullable=False),
    Column("kind", Text, nullable=False),
    Column("requested_amount", BigInteger),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("terms", Text),
    Column("reason", Text),
    Column("posted_at", _instant(), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("delta", BigInteger, nullable=False),
    Column("held_delta", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    Column("held_after", BigInteger, nullable=False),
    Column("overdraft_limit_after", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("wallet_id", "vendor_id", "transaction_id"),
)
"""The recorded outcomes: idempotency for ever, without needing the entry."""

reversals = Table(
    "reversals",
    metadata,
    Column("wallet_id", _id(), nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("original", _id(), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    PrimaryKeyConstraint("wallet_id", "vendor_id", "original", "seq"),
)
"""`vendor_id` is the original's vendor."""

account_deltas = Table(
    "account_deltas",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("delta", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),
    Column("xid", Xid8(), nullable=False, server_default=text("pg_current_xact_id()")),
)
"""The other side of the wallets: one row per batch and account, folded in the background, so no row is hot."""

unit_state = Table(
    "unit_state",
    metadata,
    Column("unit", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("move_id", _id()),
    Column("fence_no", Integer, nullable=False, server_default=text("0")),
    Column("peer_cell", Text),
    Column("deadline", _instant()),
    Column("digest", Text),
)

isolated = Table(
    "isolated",
    metadata,
    Column("wallet_id", _id(), primary_key=True),
    Column("slot", Integer, nullable=False),
    Column("unit", Integer, nullable=False),
    Column("cell", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
)
"""Wallets isolated from their slot, kept for ever."""

api_processes = Table(
    "api_processes",
    metadata,
    Column("process_id", Text, primary_key=True),
    Column("written_at", _instant(), nullable=False),
)
"""The proof of each API process that this primary commits its writes."""
