"""Events.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ""


def upgrade() -> None:
    if TABLES:
        op.execute(TABLES)
