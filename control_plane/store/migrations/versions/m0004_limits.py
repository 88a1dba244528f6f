"""Limits."""

from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE limits (
        wallet_id text NOT NULL,
        vendor_id text NOT NULL,
        amount_max bigint CONSTRAINT limits_amount_max CHECK (amount_max BETWEEN 1 AND 9007199254740991),
        day_max bigint CONSTRAINT limits_day_max CHECK (day_max BETWEEN 1 AND 9007199254740991),
        CONSTRAINT limits_pkey PRIMARY KEY (wallet_id, vendor_id),
        CONSTRAINT limits_say_something CHECK (amount_max IS NOT NULL OR day_max IS NOT NULL)
    )
    """,
    "COMMENT ON TABLE limits IS 'Of wallets, and of vendors on wallets; those of a vendor alone are in its policy.'",
    "COMMENT ON COLUMN limits.vendor_id IS 'Empty = over all vendors'",
    "COMMENT ON COLUMN changes.subject IS 'vendor:<id>, cell:<id> or wallet:<id>'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
