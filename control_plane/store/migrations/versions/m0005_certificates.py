"""Capacity certificates."""

from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE certificates (
        cell text NOT NULL CONSTRAINT certificates_cell_fkey REFERENCES cells (id),
        uploaded_at timestamptz NOT NULL,
        document jsonb NOT NULL,
        CONSTRAINT certificates_pkey PRIMARY KEY (cell)
    )
    """,
    "COMMENT ON TABLE certificates IS 'What the capacity in force of a cell rests on; none when it was set by hand.'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
