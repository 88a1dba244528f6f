"""Peers: the public key of each cell."""

from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE cells ADD COLUMN public_key JSONB",
    "COMMENT ON COLUMN cells.public_key IS 'JWK; what the cell signs with'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
