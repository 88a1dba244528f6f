"""Bringing a cell's database to this version's schema, as the owner of the database."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from cell.store.database_url import sqlalchemy_url

MIGRATIONS = Path(__file__).parent / "migrations"


def schema_revision() -> str:
    """The revision that this version of the software works with."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if head is None:
        raise RuntimeError(f"no migrations in {MIGRATIONS}")
    return head


def migrate(owner_database_url: str) -> str:
    """Upgrade the database; running it again changes nothing. Returns the revision."""
    engine = create_engine(sqlalchemy_url(owner_database_url))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('cell migrate'))")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
    return schema_revision()
