"""The tables of events: how far each sink has read, what is to be delivered, what waits for another cell."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from cell.store.tables import Xid8, metadata

__all__ = ["Xid8", "metadata"]


def _instant() -> DateTime:
    return DateTime(timezone=True)


def _id() -> Uuid[str]:
    return Uuid(as_uuid=False)


relay_marks = Table(
    "relay_marks",
    metadata,
    Column("sink", Text, primary_key=True),
    Column("history", Text, nullable=False),
    Column("next_xid", Xid8(), nullable=False),
    Column("listening_since", _instant()),
)
"""How far each sink has read: everything of `history` (system and timeline) whose xid is below `next_xid`."""

event_cursors = Table(
    "event_cursors",
    metadata,
    Column("sink", Text, nullable=False),
    Column("wallet_id", _id(), nullable=False),
    Column("seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("sink", "wallet_id"),
    postgresql_with={"fillfactor": 70},
)
"""Per wallet the last event that a sink has been given: the high-water mark that survives a change of history."""

known_webhooks = Table(
    "known_webhooks",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    CheckConstraint("id = 1", name="known_webhooks_are_one_row"),
)
"""The webhooks of the newest configuration that any process of the cell has seen."""

webhook_lines = Table(
    "webhook_lines",
    metadata,
    Column("webhook_id", _id(), nullable=False),
    Column("wallet_id", _id(), nullable=False),
    Column("due_at", _instant(), nullable=False),
    PrimaryKeyConstraint("webhook_id", "wallet_id"),
    Index("webhook_lines_due", "webhook_id", "due_at"),
    postgresql_with={"fillfactor": 70},
)
"""A wallet whose events wait for a webhook, and when its first one is to be sent."""

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("webhook_id", _id(), nullable=False),
    Column("wallet_id", _id(), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("entry_hash", LargeBinary, nullable=False),
    Column("vendor_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("occurred_at", _instant(), nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("dead_at", _instant()),
    PrimaryKeyConstraint("webhook_id", "wallet_id", "seq", "entry_hash"),
    Index("webhook_deliveries_dead", "webhook_id", "dead_at", postgresql_where=text("dead_at IS NOT NULL")),
    Index("webhook_deliveries_wallet", "wallet_id", "seq", postgresql_where=text("dead_at IS NULL")),
)
"""Events on their way to a webhook, as they will be sent; with `dead_at` they are dead letters. Delivered ones go."""

received_units = Table(
    "received_units",
    metadata,
    Column("received_no", BigInteger, Identity(always=True), primary_key=True),
    Column("unit", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("from_cell", Text, nullable=False),
    Column("source_admin_urls", Text, nullable=False),
    Column("received_at", _instant(), nullable=False, server_default=text("clock_timestamp()")),
)
"""Units that came from another cell, as long as events of their wallets wait for that cell's."""

event_waits = Table(
    "event_waits",
    metadata,
    Column("received_no", BigInteger, nullable=False),
    Column("sink", Text, nullable=False),
    Column("wallet_id", _id(), nullable=False),
    Column("after_seq", BigInteger, nullable=False),
    Column("is_over", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("received_no", "sink", "wallet_id"),
    Index("event_waits_wallet", "sink", "wallet_id"),
    Index("event_waits_over", "sink", "wallet_id", postgresql_where=text("is_over")),
)
"""What is above `after_seq` is not told to the sink as long as the row is here; `is_over`: the relay may take it."""

event_waits_passed_on = Table(
    "event_waits_passed_on",
    metadata,
    Column("received_no", BigInteger, nullable=False),
    Column("unit", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    PrimaryKeyConstraint("received_no", "unit", "epoch"),
)
"""Waits that stood when a wallet left again with a unit: whoever has it now waits for them too."""
