"""Webhooks."""

from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE webhooks (
        id text NOT NULL,
        vendor_id text NOT NULL,
        url text NOT NULL,
        kinds jsonb,
        secrets jsonb NOT NULL,
        created_at timestamptz NOT NULL,
        secret_changed_at timestamptz NOT NULL,
        CONSTRAINT webhooks_pkey PRIMARY KEY (id)
    )
    """,
    "COMMENT ON TABLE webhooks IS 'Where vendors want their events.'",
    "COMMENT ON COLUMN webhooks.secrets IS 'The present one first, then those that sign until their instant'",
    "CREATE INDEX webhooks_vendor_id_idx ON webhooks (vendor_id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
