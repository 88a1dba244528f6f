"""Which revision of the schema a database has, asked as the role that serves: what a new version waits for.

A schema that is newer than this version serves it too, because columns go only when nobody needs them any more
(expand, then contract); an older one does not know what this version writes.
"""

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedTable

from cell.store.revision import SCHEMA_REVISION


def has_schema(database_url: str, *, connect_timeout_s: int) -> bool:
    """Whether the database can be reached and has what this version needs."""
    applied = applied_revision(database_url, connect_timeout_s=connect_timeout_s)
    return applied is not None and applied >= SCHEMA_REVISION


def applied_revision(database_url: str, *, connect_timeout_s: int) -> str | None:
    """None = out of reach, or never migrated, or not granted yet."""
    try:
        with psycopg.connect(database_url, connect_timeout=connect_timeout_s) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except (psycopg.OperationalError, UndefinedTable, InsufficientPrivilege):
        return None
    return None if row is None else str(row[0])
