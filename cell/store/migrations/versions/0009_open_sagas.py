"""What is open of a wallet is found by an index of its own, however much has ended; moves tell it from what has ended.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEXES = """
CREATE INDEX holds_open_of_wallets ON holds (wallet_id) WHERE state = 'open';
CREATE INDEX transfers_open_of_wallets ON transfers (wallet_id) WHERE state NOT IN ('settled', 'refunded');
CREATE INDEX groups_open_of_wallets ON groups (wallet_id) WHERE NOT is_finished;
"""

MISSING = """
-- Until now transfers and groups came behind the entries that began them, so a copy that was given up between the two
-- has left entries without. From now on they come with their entries, and nobody would bring these again: as missing
-- rows they count as open, and the next copy asks for them. No loop takes them up, and no digest agrees with them. Of a
-- cell in quarantine too: this is no word of the cell.
SELECT set_config('cell.adjudicating', 'on', true);
INSERT INTO transfers (wallet_id, vendor_id, transaction_id, transfer_id, to_wallet_id, amount, currency, state,
                       sent_at, next_attempt_at)
SELECT x.wallet_id, x.vendor_id, x.transaction_id, x.transaction_id, (x.terms::jsonb ->> 'target')::uuid, x.amount,
       x.currency, 'missing', x.posted_at, 'infinity'
FROM unit_state u JOIN wallets w USING (unit) JOIN transactions x USING (wallet_id)
JOIN entries e ON (e.wallet_id, e.posted_at, e.seq) = (x.wallet_id, x.posted_at, x.seq)
WHERE u.state IN ('staging', 'moved') AND x.kind = 'transfer_out' AND x.reason IS NULL AND x.vendor_id <> '@group'
  AND e.counter_account = 'in_transit'
ON CONFLICT DO NOTHING;

INSERT INTO groups (wallet_id, vendor_id, transaction_id, group_id, currency, state, is_finished, legs, started_at,
                    decide_by, next_attempt_at)
SELECT x.wallet_id, x.vendor_id, x.transaction_id, x.transaction_id, x.currency, 'missing', false, '[]', x.posted_at,
       x.posted_at, 'infinity'
FROM unit_state u JOIN wallets w USING (unit) JOIN transactions x USING (wallet_id)
WHERE u.state IN ('staging', 'moved') AND x.kind = 'group'
ON CONFLICT DO NOTHING;
"""


def upgrade() -> None:
    for statements in (INDEXES, MISSING):
        op.execute(statements)
