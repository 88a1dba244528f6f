"""Bring the database to the newest schema, as its owner, and give the serving role what it needs.

Alembic is configured in code: the migrations are part of the package and there is no ini file. Two migrations at
once wait for one another.
"""

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.store.database import driver_url
from control_plane.store.tables import APP_GRANTS

MIGRATION_LOCK = 0x6370_6D69
"""Key of the advisory lock under which one process migrates."""


def newest_revision() -> str:
    """The schema revision that this code was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package holds no migrations")
    return revision


def migrate(owner_database_url: str, *, app_role: str | None) -> str:
    """Upgrade to the newest revision and grant to `app_role`, if that is not the owner; gives the revision."""
    engine = create_engine(driver_url(owner_database_url))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if app_role and app_role != _owner(connection):
                _grant(connection, app_role)
    finally:
        engine.dispose()
    return newest_revision()


async def applied_revision(connection: AsyncConnection) -> str | None:
    """The schema revision of the database."""
    return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()


def role_of(database_url: str) -> str | None:
    return driver_url(database_url).username


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "control_plane.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _owner(connection: Connection) -> str:
    return str(connection.execute(text("SELECT current_user")).scalar_one())


def _grant(connection: Connection, app_role: str) -> None:
    role = connection.dialect.identifier_preparer.quote(app_role)
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
    for table, privileges in APP_GRANTS.items():
        connection.execute(text(f"GRANT {privileges} ON {table} TO {role}"))
