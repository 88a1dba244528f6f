"""API processes that are gone are forgotten.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A row is the proof of a connection that was made: whoever connects again writes it anew, so none is missed.
FORGET = """
CREATE FUNCTION forget_api_processes(older_than interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    forgotten integer;
BEGIN
    DELETE FROM api_processes WHERE written_at < clock_timestamp() - older_than;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END
$$;
REVOKE ALL ON FUNCTION forget_api_processes(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_api_processes(interval) TO cell_app;
"""


def upgrade() -> None:
    op.execute(FORGET)
