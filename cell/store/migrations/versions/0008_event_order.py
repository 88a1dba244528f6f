"""The order of a wallet's events over moves: what this cell must not tell before the cell before it has told its own.

Revision ID: 0008
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
-- One for each arrival of a unit with wallets; it goes with its last wait.
CREATE TABLE received_units (
    received_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unit integer NOT NULL,
    epoch bigint NOT NULL,
    from_cell text NOT NULL,
    source_admin_urls text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE event_waits (
    received_no bigint NOT NULL,
    sink text NOT NULL,
    wallet_id uuid NOT NULL,
    after_seq bigint NOT NULL,
    is_over boolean NOT NULL DEFAULT false,
    PRIMARY KEY (received_no, sink, wallet_id)
);
CREATE INDEX event_waits_wallet ON event_waits (sink, wallet_id);
CREATE INDEX event_waits_over ON event_waits (sink, wallet_id) WHERE is_over;

-- No reference ties these to their arrival: a grant waits for nobody who ends a wait at the same time.
CREATE TABLE event_waits_passed_on (
    received_no bigint NOT NULL,
    unit integer NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (received_no, unit, epoch)
);

-- Whether something of a wallet is on its way is asked before its rows go, and by the cell that has it now.
CREATE INDEX webhook_deliveries_wallet ON webhook_deliveries (wallet_id, seq) WHERE dead_at IS NULL;
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON received_units, event_waits, event_waits_passed_on TO cell_app;
GRANT SELECT ON received_units, event_waits, event_waits_passed_on TO cell_auditor;
"""


def upgrade() -> None:
    for statements in (TABLES, GRANTS):
        op.execute(statements)
