"""The ledger: wallets, entries, recorded outcomes, system accounts, units.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE wallets (
    wallet_id uuid PRIMARY KEY,
    unit integer NOT NULL,
    owner_type text NOT NULL,
    owner_ref text NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    balance bigint NOT NULL,
    held bigint NOT NULL,
    overdraft_limit bigint NOT NULL,
    seq bigint NOT NULL,
    head_hash bytea NOT NULL,
    opened_at timestamptz NOT NULL,
    posted_at timestamptz NOT NULL,
    frozen_by uuid,
    blocked_by text,
    metadata text NOT NULL,
    CONSTRAINT wallets_owner UNIQUE (owner_type, owner_ref, kind, currency),
    CONSTRAINT wallets_are_covered CHECK (balance - held >= -overdraft_limit),
    CONSTRAINT wallets_stay_within_bounds CHECK (balance BETWEEN -9007199254740991 AND 9007199254740991),
    CONSTRAINT wallets_hold_no_negative CHECK (held >= 0 AND overdraft_limit >= 0)
) WITH (fillfactor = 50);
CREATE INDEX wallets_unit ON wallets (unit);

CREATE TABLE entries (
    wallet_id uuid NOT NULL,
    posted_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    amount bigint NOT NULL,
    held_delta bigint NOT NULL,
    balance_after bigint NOT NULL,
    held_after bigint NOT NULL,
    overdraft_limit_after bigint NOT NULL,
    status_after text NOT NULL,
    transaction_id uuid NOT NULL,
    vendor_id text NOT NULL,
    counter_account text NOT NULL,
    subject_id uuid,
    subject_vendor_id text,
    expires_at timestamptz,
    requested_kind text,
    requested_amount bigint,
    reason text,
    sealed bytea NOT NULL,
    details text,
    context text,
    salt bytea,
    hash bytea NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (wallet_id, posted_at, seq)
) PARTITION BY RANGE (posted_at);

CREATE TABLE transactions (
    wallet_id uuid NOT NULL,
    vendor_id text NOT NULL,
    transaction_id uuid NOT NULL,
    kind text NOT NULL,
    requested_amount bigint,
    amount bigint NOT NULL,
    currency text NOT NULL,
    terms text,
    reason text,
    posted_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    delta bigint NOT NULL,
    held_delta bigint NOT NULL,
    balance_after bigint NOT NULL,
    held_after bigint NOT NULL,
    overdraft_limit_after bigint NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (wallet_id, vendor_id, transaction_id)
);

CREATE TABLE reversals (
    wallet_id uuid NOT NULL,
    vendor_id text NOT NULL,
    original uuid NOT NULL,
    seq bigint NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (wallet_id, vendor_id, original, seq)
);

CREATE TABLE account_deltas (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    currency text NOT NULL,
    delta bigint NOT NULL,
    cause text NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE unit_state (
    unit integer PRIMARY KEY,
    state text NOT NULL,
    epoch bigint NOT NULL,
    move_id uuid,
    fence_no integer NOT NULL DEFAULT 0,
    peer_cell text,
    deadline timestamptz,
    digest text
);

CREATE TABLE isolated (
    wallet_id uuid PRIMARY KEY,
    slot integer NOT NULL,
    unit integer NOT NULL,
    cell text NOT NULL,
    epoch bigint NOT NULL
);

CREATE TABLE api_processes (
    process_id text PRIMARY KEY,
    written_at timestamptz NOT NULL
);
"""

APPEND_ONLY = """
-- Append-only is enforced here and not by habit: these stop the owner of the tables too.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE FUNCTION refuse_change_but_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_user = 'cell_eraser' THEN
        OLD.details := NULL;
        OLD.context := NULL;
        OLD.salt := NULL;
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER entries_are_append_only BEFORE UPDATE OR DELETE ON entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure();
CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transactions_are_append_only BEFORE UPDATE OR DELETE ON transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transactions_are_not_truncated BEFORE TRUNCATE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reversals_are_append_only BEFORE UPDATE OR DELETE ON reversals
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reversals_are_not_truncated BEFORE TRUNCATE ON reversals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER wallets_are_not_truncated BEFORE TRUNCATE ON wallets
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER account_deltas_are_not_truncated BEFORE TRUNCATE ON account_deltas
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

PARTITIONS = """
-- A TRUNCATE trigger is not inherited by partitions, so each partition gets its own.
CREATE FUNCTION add_entry_partition(partition_name text, bounds text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF entries %s', partition_name, bounds);
    EXECUTE format('CREATE OR REPLACE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', partition_name);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO cell_app', partition_name);
    EXECUTE format('GRANT SELECT ON %I TO cell_auditor', partition_name);
END
$$;
REVOKE ALL ON FUNCTION add_entry_partition(text, text) FROM PUBLIC;

-- Makes this month's partition and `months` more; answers how many months from now on are covered without a gap (-1:
-- not even this one). A month whose entries stand in the default partition already cannot get its own any more; that
-- is an alarm, and no reason to leave out the others. A new partition wants the whole log for a moment: behind a long
-- reader all writers would queue up, so it is left for the next time.
CREATE FUNCTION make_entry_partitions(months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    first_day date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
    month_start date;
    month_end date;
    covered integer := -1;
    has_gap boolean := false;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('make_entry_partitions'));
    FOR ahead IN 0..months LOOP
        month_start := first_day + make_interval(months => ahead);
        month_end := first_day + make_interval(months => ahead + 1);
        IF to_regclass('entries_' || to_char(month_start, 'YYYY_MM')) IS NULL THEN
            BEGIN
                PERFORM add_entry_partition(
                    'entries_' || to_char(month_start, 'YYYY_MM'),
                    format('FOR VALUES FROM (%L) TO (%L)', month_start || ' 00:00:00+00', month_end || ' 00:00:00+00'));
            EXCEPTION
                WHEN check_violation THEN
                    has_gap := true;
                WHEN lock_not_available THEN
                    EXIT;
            END;
        END IF;
        IF NOT has_gap THEN
            covered := ahead;
        END IF;
    END LOOP;
    RETURN covered;
END
$$;
REVOKE ALL ON FUNCTION make_entry_partitions(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_entry_partitions(integer) TO cell_app;

SELECT add_entry_partition('entries_default', 'DEFAULT');
SELECT make_entry_partitions(3);
"""

ACCOUNTS = """
-- Replaces the rows of each account by their sum; rows of open transactions are not seen and stay for the next time.
-- A sum that no bigint holds stays in parts.
CREATE FUNCTION fold_account_deltas(rows_max integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    folded integer;
BEGIN
    WITH taken AS (
        DELETE FROM account_deltas
        WHERE id IN (SELECT id FROM account_deltas ORDER BY id LIMIT rows_max FOR UPDATE SKIP LOCKED)
        RETURNING account, currency, delta
    ), summed AS (
        INSERT INTO account_deltas (account, currency, delta, cause)
        SELECT account, currency, sum(delta)::bigint, 'fold' FROM taken GROUP BY account, currency
    )
    SELECT count(*) INTO folded FROM taken;
    RETURN folded;
EXCEPTION WHEN numeric_value_out_of_range THEN
    RETURN 0;
END
$$;
REVOKE ALL ON FUNCTION fold_account_deltas(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION fold_account_deltas(integer) TO cell_app;

-- Every transaction as its two sides: the wallet's, and the account that it names. The other side of a transfer within
-- the cell is the other wallet's own entry.
CREATE VIEW journal AS
SELECT e.wallet_id, e.seq, e.posted_at, e.transaction_id, e.vendor_id, e.kind, w.currency, side.account, side.amount
FROM entries e
JOIN wallets w USING (wallet_id)
CROSS JOIN LATERAL (VALUES ('wallet:' || e.wallet_id, e.amount), (e.counter_account, -e.amount)) side (account, amount)
WHERE e.amount <> 0 AND (side.account = 'wallet:' || e.wallet_id OR side.account NOT LIKE 'wallet:%');
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON wallets, unit_state, api_processes TO cell_app;
GRANT SELECT, INSERT ON entries, transactions, reversals, account_deltas, isolated TO cell_app;
GRANT SELECT ON journal, alembic_version TO cell_app;
GRANT SELECT, UPDATE (details, context, salt) ON entries TO cell_eraser;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO cell_auditor;
"""


def upgrade() -> None:
    for statements in (TABLES, APPEND_ONLY, PARTITIONS, ACCOUNTS, GRANTS):
        op.execute(statements)
