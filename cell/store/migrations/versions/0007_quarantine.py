"""Restored databases: which physical histories somebody has vouched for, a count that only grows, and quarantine.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
-- Each life of the physical database that may serve. A restore from an archive begins another timeline, a copy that is
-- made with other tools may be of another system: neither is here.
CREATE TABLE database_eras (
    system_identifier text NOT NULL,
    timeline bigint NOT NULL,
    cause text NOT NULL CONSTRAINT database_eras_have_a_cause CHECK (cause IN ('first', 'promotion', 'opened')),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (system_identifier, timeline)
);

-- One row. What a process has seen of it and the database does not know any more was lost by a restore.
CREATE TABLE database_ticks (
    is_the_row boolean PRIMARY KEY DEFAULT true CONSTRAINT database_ticks_is_one_row CHECK (is_the_row),
    ticks bigint NOT NULL
);
INSERT INTO database_ticks (ticks) VALUES (0);

-- The cell is in quarantine while one of these is open.
CREATE TABLE quarantines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause text NOT NULL CONSTRAINT quarantines_have_a_cause CHECK (
        cause IN ('restored', 'timeline_must_be_recorded', 'history_must_not_go_back', 'ordered')),
    detail text NOT NULL DEFAULT '',
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    adjudicated_at timestamptz,
    adjudication jsonb,
    opened_at timestamptz,
    opened_by text
);
CREATE UNIQUE INDEX quarantines_open ON quarantines (opened_at) NULLS NOT DISTINCT WHERE opened_at IS NULL;
"""

ERAS = """
CREATE FUNCTION present_era(OUT system_identifier text, OUT timeline bigint) LANGUAGE sql VOLATILE AS $$
    SELECT (SELECT c.system_identifier::text FROM pg_control_system() c),
           ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, '0'))::bit(64)::bigint
$$;

-- For whoever promotes a standby: the timeline that it has now continues what was before.
CREATE FUNCTION record_era(recorded_cause text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO database_eras (system_identifier, timeline, cause)
    SELECT e.system_identifier, e.timeline, recorded_cause FROM present_era() e ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION record_era(text) FROM PUBLIC;
SELECT record_era('first');
"""

GUARDS = """
-- 57P03 (cannot connect now): nothing was written, and another connection would not help.
CREATE FUNCTION refuse_in_quarantine() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM quarantines WHERE opened_at IS NULL) THEN
        IF current_setting('cell.adjudicating', true) IS DISTINCT FROM 'on' THEN
            RAISE EXCEPTION 'the cell is in quarantine: it was restored and not opened since'
                USING ERRCODE = 'cannot_connect_now';
        END IF;
    END IF;
    RETURN NULL;
END
$$;

-- Where money, ownership and the word of the cell are committed. Each change of money has an entry; each writer must
-- write its proof before it begins.
CREATE TRIGGER entries_wait_in_quarantine BEFORE INSERT OR DELETE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_in_quarantine();
CREATE TRIGGER units_wait_in_quarantine BEFORE INSERT OR UPDATE OR DELETE ON unit_state
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_in_quarantine();
CREATE TRIGGER processes_wait_in_quarantine BEFORE INSERT OR UPDATE ON api_processes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_in_quarantine();
CREATE TRIGGER checkpoints_wait_in_quarantine BEFORE INSERT ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_in_quarantine();
CREATE TRIGGER relays_wait_in_quarantine BEFORE INSERT OR UPDATE ON relay_marks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_in_quarantine();
CREATE TRIGGER transfers_wait_in_quarantine BEFORE INSERT OR UPDATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_in_quarantine();
CREATE TRIGGER groups_wait_in_quarantine BEFORE INSERT OR UPDATE ON groups
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_in_quarantine();

-- What a connection asks before it is used for anything that serves.
CREATE FUNCTION cell_must_be_open() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM quarantines WHERE opened_at IS NULL) THEN
        RAISE EXCEPTION 'the cell is in quarantine: it was restored and not opened since'
            USING ERRCODE = 'cannot_connect_now';
    END IF;
    IF NOT EXISTS (SELECT FROM database_eras JOIN present_era() USING (system_identifier, timeline)) THEN
        RAISE EXCEPTION 'nobody has recorded this timeline: the database was restored'
            USING ERRCODE = 'cannot_connect_now';
    END IF;
END
$$;
"""

STEPS = """
CREATE FUNCTION tick_database() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE database_ticks SET ticks = ticks + 1 RETURNING ticks
$$;

-- False = it is in quarantine already.
CREATE FUNCTION begin_quarantine(found_cause text, found_detail text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO quarantines (cause, detail) VALUES (found_cause, found_detail)
    ON CONFLICT (opened_at) WHERE opened_at IS NULL DO NOTHING;
    RETURN FOUND;
END
$$;

CREATE FUNCTION record_adjudication(told jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE quarantines SET adjudicated_at = clock_timestamp(), adjudication = told WHERE opened_at IS NULL;
    RETURN FOUND;
END
$$;

-- Whoever opens vouches for the timeline too. Only what was adjudicated can be opened.
CREATE FUNCTION end_quarantine(opener text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE quarantines SET opened_at = clock_timestamp(), opened_by = opener
    WHERE opened_at IS NULL AND adjudicated_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM record_era('opened');
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION tick_database(), begin_quarantine(text, text), record_adjudication(jsonb), end_quarantine(text)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tick_database(), begin_quarantine(text, text), record_adjudication(jsonb),
    end_quarantine(text) TO cell_app;
GRANT SELECT ON database_eras, database_ticks, quarantines TO cell_app, cell_mover, cell_auditor, cell_eraser;
"""


def upgrade() -> None:
    for statements in (TABLES, ERAS, GUARDS, STEPS):
        op.execute(statements)
