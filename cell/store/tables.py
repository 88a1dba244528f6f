"""The cell's schema as SQLAlchemy Core tables: the file to read, with event_tables.py for events. The migrations
give the same (a test compares).

Only `wallets` carries `unit`; every other table of a wallet leads with `wallet_id`, so a wallet can move.
`entries` is partitioned by month of `posted_at`; triggers, grants and functions stand in the migrations.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
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


_SOON = text("now() + interval '10 seconds'")
"""When a loop looks at what a request has begun: it is finished within the request as a rule."""


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
    Column("pinned", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("owner_type", "owner_ref", "kind", "currency", name="wallets_owner"),
    CheckConstraint("balance - held >= -overdraft_limit", name="wallets_are_covered"),
    CheckConstraint("balance BETWEEN -9007199254740991 AND 9007199254740991", name="wallets_stay_within_bounds"),
    CheckConstraint("held >= 0 AND overdraft_limit >= 0", name="wallets_hold_no_negative"),
    CheckConstraint("pinned >= 0 AND balance + pinned <= 9007199254740991", name="wallets_keep_room_for_pins"),
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
    Index("entries_xid", "xid", postgresql_where=text("xid <> '0'::xid8")),
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

holds = Table(
    "holds",
    metadata,
    Column("wallet_id", _id(), nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("hold_id", _id(), nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("placed_at", _instant(), nullable=False),
    Column("expires_at", _instant()),
    Column("terms", Text),
    PrimaryKeyConstraint("wallet_id", "vendor_id", "hold_id"),
    CheckConstraint("captured >= 0 AND remaining >= 0 AND captured + remaining <= amount", name="holds_add_up"),
    Index("holds_expiring", "expires_at", postgresql_where=text("state = 'open' AND expires_at IS NOT NULL")),
    Index("holds_open_of_wallets", "wallet_id", postgresql_where=text("state = 'open'")),
    Index("holds_of_groups", "placed_at", postgresql_where=text("state = 'open' AND kind <> 'vendor'")),
)
"""Money (or, for a pin, room) set aside. A fold of the wallet's entries, as the wallet is."""

spent = Table(
    "spent",
    metadata,
    Column("wallet_id", _id(), nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("amount", BigInteger, nullable=False),
    PrimaryKeyConstraint("wallet_id", "vendor_id", "day"),
)
"""Sums of debits per UTC day, kept while a daily limit applies; an empty `vendor_id` is the sum of all vendors."""

transfers = Table(
    "transfers",
    metadata,
    Column("wallet_id", _id(), nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("transaction_id", _id(), nullable=False),
    Column("transfer_id", _id(), nullable=False),
    Column("to_wallet_id", _id(), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("details", Text),
    Column("sent_at", _instant(), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", _instant(), nullable=False, server_default=_SOON),
    PrimaryKeyConstraint("wallet_id", "vendor_id", "transaction_id"),
    Index("transfers_open_of_wallets", "wallet_id", postgresql_where=text("state NOT IN ('settled', 'refunded')")),
    Index("transfers_open", "next_attempt_at", postgresql_where=text("state = 'in_transit'")),
)
"""Money that left a wallet for another cell's: in_transit, then settled or refunded, for ever."""

groups = Table(
    "groups",
    metadata,
    Column("wallet_id", _id(), nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("transaction_id", _id(), nullable=False),
    Column("group_id", _id(), nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("is_finished", Boolean, nullable=False),
    Column("legs", Text, nullable=False),
    Column("details", Text),
    Column("started_at", _instant(), nullable=False),
    Column("decide_by", _instant(), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", _instant(), nullable=False, server_default=_SOON),
    PrimaryKeyConstraint("wallet_id", "vendor_id", "transaction_id"),
    Index("groups_open_of_wallets", "wallet_id", postgresql_where=text("NOT is_finished")),
    Index("groups_open", "next_attempt_at", postgresql_where=text("NOT is_finished")),
)
"""What the coordinator of a group decided, in the cell of its anchor wallet, answerable for ever."""

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
    Index("unit_state_moving", "unit", postgresql_where=text("state IN ('fenced', 'granted', 'staging', 'staged')")),
)

cleanups = Table(
    "cleanups",
    metadata,
    Column("unit", Integer, primary_key=True, autoincrement=False),
    Column("cause", Text, nullable=False),
    Column("move_id", _id(), nullable=False),
    Column("from_cell", Text),
    Column("source_admin_urls", Text),
    Column("was_sealed", Boolean, nullable=False, server_default=text("false")),
    Column("before_state", Text),
    Column("before_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("before_move_id", _id()),
    Column("before_fence_no", Integer, nullable=False, server_default=text("0")),
    Column("before_peer_cell", Text),
    Column("before_digest", Text),
    Column("touched_at", _instant(), nullable=False, server_default=text("clock_timestamp()")),
    Column("sealed_at", _instant()),
    CheckConstraint("cause IN ('staging', 'discarded', 'moved')", name="cleanups_have_a_cause"),
)
"""What was begun with a unit and must be ended: its staging, or the deletion of its rows. Written first, gone last."""

departed = Table(
    "departed",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("delta", Numeric, nullable=False),
)
"""What deleted entries had moved to each account while their wallets were here."""

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

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("taken_at", _instant(), nullable=False),
    Column("wallets", BigInteger, nullable=False),
    Column("totals", Text, nullable=False),
    Column("merkle_root", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("signature", Text, nullable=False),
    Column("document", Text, nullable=False),
)
"""What the cell signed of all its wallets, one after the other, append-only. `document` is what readers get."""

checkpoint_pages = Table(
    "checkpoint_pages",
    metadata,
    Column("number", BigInteger, nullable=False),
    Column("page", Integer, nullable=False),
    Column("first_wallet_id", _id(), nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    PrimaryKeyConstraint("number", "page"),
)
"""The leaves of the newest checkpoints in order of wallet_id, packed; each page is a subtree. Old ones are dropped."""
