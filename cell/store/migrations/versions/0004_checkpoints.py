"""Checkpoints.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ""


def upgrade() -> None:
    if TABLES:
        op.execute(TABLES)
