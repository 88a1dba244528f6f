"""The revision that a process registers with is the one that its migrations make."""

from cell.store.migrate import schema_revision
from cell.store.revision import SCHEMA_REVISION


def test_the_revision_is_the_last_migrations() -> None:
    assert schema_revision() == SCHEMA_REVISION
