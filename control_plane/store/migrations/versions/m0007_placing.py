"""Cells that are being filled, and ordered rebalancings."""

from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE cells ADD COLUMN filling_since timestamptz",
    "COMMENT ON COLUMN cells.filling_since IS 'Activated, and its share of units has not come yet'",
    """
    CREATE TABLE rebalances (
        id text NOT NULL,
        ordered_by text NOT NULL,
        ordered_at timestamptz NOT NULL,
        ended_at timestamptz,
        CONSTRAINT rebalances_pkey PRIMARY KEY (id)
    )
    """,
    "CREATE UNIQUE INDEX rebalances_open_idx ON rebalances ((true)) WHERE ended_at IS NULL",
    "COMMENT ON TABLE rebalances IS 'Orders to relieve cells that carry too much; one is open at a time.'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
