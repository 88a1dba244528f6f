"""Events: how far each sink has read, what is to be delivered to webhooks.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
-- Entries arrive in the order of their xid, so this index grows at its right end only, and the entries of a batch share
-- one key. (A BRIN index would be cheaper still, but xid8 has no operator class for it.) Copied rows are not in it.
CREATE INDEX entries_xid ON entries (xid) WHERE xid <> '0'::xid8;

CREATE TABLE relay_marks (
    sink text PRIMARY KEY,
    history text NOT NULL,
    next_xid xid8 NOT NULL,
    listening_since timestamptz
);

CREATE TABLE event_cursors (
    sink text NOT NULL,
    wallet_id uuid NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (sink, wallet_id)
) WITH (fillfactor = 70);

CREATE TABLE known_webhooks (
    id smallint PRIMARY KEY,
    version bigint NOT NULL,
    document text NOT NULL,
    CONSTRAINT known_webhooks_are_one_row CHECK (id = 1)
);

CREATE TABLE webhook_lines (
    webhook_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (webhook_id, wallet_id)
) WITH (fillfactor = 70);
CREATE INDEX webhook_lines_due ON webhook_lines (webhook_id, due_at);

CREATE TABLE webhook_deliveries (
    webhook_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    seq bigint NOT NULL,
    entry_hash bytea NOT NULL,
    vendor_id text NOT NULL,
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    body text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    dead_at timestamptz,
    PRIMARY KEY (webhook_id, wallet_id, seq, entry_hash)
);
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (webhook_id, dead_at) WHERE dead_at IS NOT NULL;
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON relay_marks, event_cursors, known_webhooks TO cell_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_lines, webhook_deliveries TO cell_app;
GRANT SELECT ON relay_marks, event_cursors, webhook_lines, webhook_deliveries TO cell_auditor;
"""


def upgrade() -> None:
    for statements in (TABLES, GRANTS):
        op.execute(statements)
