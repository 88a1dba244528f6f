"""Checkpoints: what the cell signed of all its wallets, and the trees of the newest ones.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE checkpoints (
    number bigint PRIMARY KEY,
    taken_at timestamptz NOT NULL,
    wallets bigint NOT NULL,
    totals text NOT NULL,
    merkle_root bytea NOT NULL,
    previous_hash bytea NOT NULL,
    signature text NOT NULL,
    document text NOT NULL
);

CREATE TABLE checkpoint_pages (
    number bigint NOT NULL,
    page integer NOT NULL,
    first_wallet_id uuid NOT NULL,
    root bytea NOT NULL,
    leaves bytea NOT NULL,
    PRIMARY KEY (number, page)
);

-- Hashes do not shrink.
ALTER TABLE checkpoint_pages ALTER COLUMN leaves SET STORAGE EXTERNAL;
"""

APPEND_ONLY = """
CREATE TRIGGER checkpoints_are_append_only BEFORE UPDATE OR DELETE ON checkpoints
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoints_are_not_truncated BEFORE TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

GRANTS = """
GRANT SELECT, INSERT ON checkpoints TO cell_app;
GRANT SELECT, INSERT, DELETE ON checkpoint_pages TO cell_app;
GRANT SELECT ON checkpoints, checkpoint_pages TO cell_auditor;
"""


def upgrade() -> None:
    for statements in (TABLES, APPEND_ONLY, GRANTS):
        op.execute(statements)
