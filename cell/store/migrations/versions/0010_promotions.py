"""A promotion that was made with other tools is vouched for by the role that serves, which is who remembers.

Revision ID: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

VOUCHING = """
-- For whoever has held the present timeline against what a process remembers. False = something else closes the cell,
-- or an adjudication has found units to be elsewhere: then it was no promotion without loss, whatever one process says.
-- The quarantine is deleted and not opened: an opening answers older memories, and other processes may remember more.
CREATE FUNCTION vouch_for_promotion() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM quarantines WHERE opened_at IS NULL FOR UPDATE;
    IF EXISTS (SELECT FROM quarantines WHERE opened_at IS NULL AND (
        cause <> 'timeline_must_be_recorded' OR has_found_units)) THEN
        RETURN false;
    END IF;
    PERFORM record_era('promotion');
    DELETE FROM quarantines WHERE opened_at IS NULL;
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION vouch_for_promotion() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vouch_for_promotion() TO cell_app;
"""

OBJECTING = """
-- False = it is in quarantine already. Who finds that something is missing says so also where a timeline alone has
-- closed the cell: for that somebody may vouch.
CREATE OR REPLACE FUNCTION begin_quarantine(found_cause text, found_detail text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO quarantines (cause, detail) VALUES (found_cause, found_detail)
    ON CONFLICT (opened_at) WHERE opened_at IS NULL DO UPDATE SET cause = excluded.cause, detail = excluded.detail
    WHERE quarantines.cause = 'timeline_must_be_recorded' AND excluded.cause = 'history_must_not_go_back';
    RETURN FOUND;
END
$$;
"""


ADJUDICATING = """
-- A second adjudication finds what the first one has put right already. That there was something stays known.
ALTER TABLE quarantines ADD COLUMN has_found_units boolean NOT NULL DEFAULT false;
UPDATE quarantines SET has_found_units = true WHERE jsonb_array_length(adjudication -> 'units') > 0;
CREATE OR REPLACE FUNCTION record_adjudication(told jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE quarantines SET adjudicated_at = clock_timestamp(), adjudication = told,
        has_found_units = has_found_units OR coalesce(jsonb_array_length(told -> 'units') > 0, false)
    WHERE opened_at IS NULL;
    RETURN FOUND;
END
$$;
"""


def upgrade() -> None:
    op.execute(ADJUDICATING)
    op.execute(VOUCHING)
    op.execute(OBJECTING)
