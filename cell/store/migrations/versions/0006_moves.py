"""Moves of units between cells: what is staged, what is to be deleted, who owns what.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
-- Moved rows and their like are few among many units that nobody moves.
CREATE INDEX unit_state_moving ON unit_state (unit) WHERE state IN ('fenced', 'granted', 'staging', 'staged');

-- The intent comes first: whoever dies after it leaves a trace by which what was begun is ended.
CREATE TABLE cleanups (
    unit integer PRIMARY KEY,
    cause text NOT NULL,
    move_id uuid NOT NULL,
    from_cell text,
    source_admin_urls text,
    was_sealed boolean NOT NULL DEFAULT false,
    before_state text,
    before_epoch bigint NOT NULL DEFAULT 0,
    before_move_id uuid,
    before_fence_no integer NOT NULL DEFAULT 0,
    before_peer_cell text,
    before_digest text,
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sealed_at timestamptz,
    CONSTRAINT cleanups_have_a_cause CHECK (cause IN ('staging', 'discarded', 'moved'))
);

-- What wallets that are gone from here had moved to each other account while they were here: without it the accounts
-- of the cell could not be explained any more.
CREATE TABLE departed (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    currency text NOT NULL,
    delta numeric NOT NULL
);

CREATE VIEW owned_wallets AS
SELECT w.* FROM wallets w JOIN unit_state u USING (unit) WHERE u.state IN ('active', 'fenced');
"""

DELETION = """
-- Rows of a wallet may go where its unit is staging or moved here, and nowhere else; the owner of the tables is no
-- exception. Only the function below opens the door, for its own transaction and for one unit.
CREATE FUNCTION may_leave(wallet uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM wallets w JOIN unit_state u USING (unit)
        WHERE w.wallet_id = wallet AND u.state IN ('staging', 'moved')
          AND w.unit::text = current_setting('cell.leaving_unit', true))
$$;
REVOKE ALL ON FUNCTION may_leave(uuid) FROM PUBLIC;

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('transactions', 'reversals') THEN
        IF current_user = 'cell_owner' THEN
            IF may_leave(OLD.wallet_id) THEN
                RETURN OLD;
            END IF;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE OR REPLACE FUNCTION refuse_change_but_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'cell_owner' THEN
        IF may_leave(OLD.wallet_id) THEN
            RETURN OLD;
        END IF;
    END IF;
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

-- Deletes at most `rows_max` entries of the unit, the newest wallets' whole rows at the end of each log; answers how
-- many. The wallet's own row goes last: until then it says whose the rest is. 0 = nothing is left.
CREATE FUNCTION delete_rows_of_unit(leaving_unit integer, rows_max integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_state text;
    leaving wallets;
    entries_deleted integer;
    deleted integer := 0;
BEGIN
    SELECT state INTO found_state FROM unit_state WHERE unit = leaving_unit FOR UPDATE;
    IF found_state IS NULL OR found_state NOT IN ('staging', 'moved') THEN
        RAISE EXCEPTION 'unit % is % here: its rows stay', leaving_unit, coalesce(found_state, 'unknown')
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM set_config('cell.leaving_unit', leaving_unit::text, true);
    WHILE deleted < rows_max LOOP
        SELECT * INTO leaving FROM wallets WHERE unit = leaving_unit ORDER BY wallet_id LIMIT 1 FOR UPDATE;
        EXIT WHEN NOT FOUND;
        WITH page AS MATERIALIZED (
            SELECT posted_at, seq FROM entries WHERE wallet_id = leaving.wallet_id
            ORDER BY posted_at, seq LIMIT rows_max - deleted
        ), gone AS (
            DELETE FROM entries e USING page p
            WHERE e.wallet_id = leaving.wallet_id AND e.posted_at = p.posted_at AND e.seq = p.seq
            RETURNING e.seq, e.transaction_id, e.vendor_id, e.counter_account, e.amount, e.xid, e.kind,
                      e.subject_id, e.subject_vendor_id
        ), forgotten AS (
            DELETE FROM transactions t USING gone g
            WHERE t.wallet_id = leaving.wallet_id AND t.transaction_id = g.transaction_id AND t.seq = g.seq
              AND t.vendor_id = ANY (ARRAY[g.vendor_id, '@cell', '@transfer', '@group'])
        ), unreversed AS (
            DELETE FROM reversals r USING gone g
            WHERE g.kind = 'reversal' AND r.wallet_id = leaving.wallet_id AND r.vendor_id = g.subject_vendor_id
              AND r.original = g.subject_id AND r.seq = g.seq
        ), remembered AS (
            INSERT INTO departed (account, currency, delta)
            SELECT CASE WHEN counter_account LIKE 'wallet:%' THEN 'wallets' ELSE counter_account END,
                   leaving.currency, -sum(amount)
            FROM gone WHERE xid <> '0'::xid8 GROUP BY 1 HAVING sum(amount) <> 0
        )
        SELECT count(*) INTO entries_deleted FROM gone;
        deleted := deleted + entries_deleted;
        CONTINUE WHEN entries_deleted > 0;
        DELETE FROM holds WHERE wallet_id = leaving.wallet_id;
        DELETE FROM spent WHERE wallet_id = leaving.wallet_id;
        DELETE FROM transfers WHERE wallet_id = leaving.wallet_id;
        DELETE FROM groups WHERE wallet_id = leaving.wallet_id;
        DELETE FROM wallets WHERE wallet_id = leaving.wallet_id;
        deleted := deleted + 1;
    END LOOP;
    PERFORM set_config('cell.leaving_unit', '', true);
    RETURN deleted;
END
$$;
REVOKE ALL ON FUNCTION delete_rows_of_unit(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_rows_of_unit(integer, integer) TO cell_app, cell_mover;

-- A staging that is given up, whose rows are gone: the unit is as unknown here as before.
CREATE FUNCTION forget_staging(staged_unit integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM unit_state u USING cleanups c
    WHERE u.unit = staged_unit AND c.unit = u.unit AND u.state = 'staging' AND c.cause = 'discarded'
      AND c.before_state IS NULL AND NOT EXISTS (SELECT FROM wallets w WHERE w.unit = u.unit);
    RETURN FOUND;
END
$$;
REVOKE ALL ON FUNCTION forget_staging(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_staging(integer) TO cell_app, cell_mover;

-- An exile row is kept for ever, but for a wallet that stands in its slot again: here, or where the slot comes from.
CREATE FUNCTION forget_exile(rejoined uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM isolated i USING wallets w
    WHERE i.wallet_id = rejoined AND w.wallet_id = rejoined AND w.unit = i.slot
$$;
REVOKE ALL ON FUNCTION forget_exile(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_exile(uuid) TO cell_app, cell_mover;

CREATE FUNCTION forget_exiles_but(staged_slot integer, known uuid[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM isolated i USING unit_state u
    WHERE i.slot = staged_slot AND u.unit = staged_slot AND u.state = 'staging' AND i.wallet_id <> ALL (known)
$$;
REVOKE ALL ON FUNCTION forget_exiles_but(integer, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_exiles_but(integer, uuid[]) TO cell_app, cell_mover;
"""

SEEK = """
-- Where in a wallet's log the entries above `after_seq` begin: no later than at the answer. The log's key is by
-- instant, so a long log is entered by bisection, and the end of one from behind.
CREATE FUNCTION entries_begin_at(wallet uuid, after_seq bigint) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
    last_seq bigint;
    low timestamptz;
    high timestamptz;
    middle timestamptz;
    found_seq bigint;
BEGIN
    SELECT seq, posted_at INTO last_seq, high FROM wallets WHERE wallet_id = wallet;
    IF after_seq = 0 THEN
        RETURN '-infinity';
    ELSIF last_seq - after_seq <= 1000 THEN
        RETURN (SELECT min(posted_at) FROM (
            SELECT posted_at FROM entries WHERE wallet_id = wallet
            ORDER BY posted_at DESC, seq DESC LIMIT last_seq - after_seq) last_entries);
    END IF;
    SELECT posted_at INTO low FROM entries WHERE wallet_id = wallet ORDER BY posted_at, seq LIMIT 1;
    WHILE high - low > interval '1 microsecond' LOOP
        middle := low + (high - low) / 2;
        SELECT seq INTO found_seq FROM entries WHERE wallet_id = wallet AND posted_at <= middle
        ORDER BY posted_at DESC, seq DESC LIMIT 1;
        IF found_seq = after_seq THEN
            RETURN middle;
        ELSIF found_seq < after_seq THEN
            low := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
REVOKE ALL ON FUNCTION entries_begin_at(uuid, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION entries_begin_at(uuid, bigint) TO cell_app, cell_mover;
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON cleanups TO cell_app;
GRANT SELECT ON departed, owned_wallets TO cell_app;
-- An exile row is drawn on when its unit moves on.
GRANT UPDATE ON isolated TO cell_app;
GRANT SELECT ON cleanups, departed, owned_wallets TO cell_auditor;
"""


def upgrade() -> None:
    for statements in (TABLES, DELETION, SEEK, GRANTS):
        op.execute(statements)
