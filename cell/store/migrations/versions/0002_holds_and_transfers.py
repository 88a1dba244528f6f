"""Holds, daily sums, transfers between cells, groups.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE wallets ADD COLUMN pinned bigint NOT NULL DEFAULT 0;
ALTER TABLE wallets ADD CONSTRAINT wallets_keep_room_for_pins
    CHECK (pinned >= 0 AND balance + pinned <= 9007199254740991);

CREATE TABLE holds (
    wallet_id uuid NOT NULL,
    vendor_id text NOT NULL,
    hold_id uuid NOT NULL,
    kind text NOT NULL,
    amount bigint NOT NULL,
    captured bigint NOT NULL,
    remaining bigint NOT NULL,
    state text NOT NULL,
    placed_at timestamptz NOT NULL,
    expires_at timestamptz,
    terms text,
    PRIMARY KEY (wallet_id, vendor_id, hold_id),
    CONSTRAINT holds_add_up CHECK (captured >= 0 AND remaining >= 0 AND captured + remaining <= amount)
);
CREATE INDEX holds_expiring ON holds (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;
CREATE INDEX holds_of_groups ON holds (placed_at) WHERE state = 'open' AND kind <> 'vendor';

CREATE TABLE spent (
    wallet_id uuid NOT NULL,
    vendor_id text NOT NULL,
    day date NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (wallet_id, vendor_id, day)
);

CREATE TABLE transfers (
    wallet_id uuid NOT NULL,
    vendor_id text NOT NULL,
    transaction_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    to_wallet_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    details text,
    sent_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now() + interval '10 seconds',
    PRIMARY KEY (wallet_id, vendor_id, transaction_id)
);
CREATE INDEX transfers_open ON transfers (next_attempt_at) WHERE state = 'in_transit';

CREATE TABLE groups (
    wallet_id uuid NOT NULL,
    vendor_id text NOT NULL,
    transaction_id uuid NOT NULL,
    group_id uuid NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    is_finished boolean NOT NULL,
    legs text NOT NULL,
    details text,
    started_at timestamptz NOT NULL,
    decide_by timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now() + interval '10 seconds',
    PRIMARY KEY (wallet_id, vendor_id, transaction_id)
);
CREATE INDEX groups_open ON groups (next_attempt_at) WHERE NOT is_finished;
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON holds, spent, transfers, groups TO cell_app;
GRANT SELECT ON holds, spent, transfers, groups TO cell_auditor;
"""


def upgrade() -> None:
    for statements in (TABLES, GRANTS):
        op.execute(statements)
