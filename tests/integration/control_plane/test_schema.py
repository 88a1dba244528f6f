"""The migrations give exactly the tables of the code, and the serving role can read history but not rewrite it."""

import asyncio
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from cellwallet.local.scratch import ScratchCluster
from control_plane.store.database import driver_url
from control_plane.store.migrate import migrate, newest_revision, role_of
from control_plane.store.tables import APP_GRANTS, metadata

CATALOGUE = (
    """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
           pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
    """,
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid > 0",
    "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    r"SELECT '', proname, regexp_replace(prosrc, '\s+', ' ', 'g') FROM pg_proc WHERE proname LIKE '%_rule'",
    "SELECT relname, obj_description(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    "SELECT 'fleet', id, units_assigned_at FROM fleet",
)


def catalogue(url: str) -> list[set[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        return [
            {row for row in connection.execute(question).fetchall() if row[0] != "alembic_version"}
            for question in CATALOGUE
        ]


def test_the_migrations_give_the_tables_of_the_code(postgres_cluster: ScratchCluster) -> None:
    migrated, created = (postgres_cluster.new_control_plane_database().url("control_plane") for _ in range(2))
    migrate(migrated, app_role=role_of(migrated))
    engine = create_engine(driver_url(created))
    metadata.create_all(engine)
    engine.dispose()
    assert catalogue(migrated) == catalogue(created)
    assert all(catalogue(migrated))


def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = catalogue(database_url)
    assert migrate(database_url, app_role="control_plane") == newest_revision()
    assert catalogue(database_url) == before


async def test_two_migrations_at_once_wait_for_one_another(postgres_cluster: ScratchCluster) -> None:
    url = postgres_cluster.new_control_plane_database().url("control_plane")
    both = await asyncio.gather(*(asyncio.to_thread(migrate, url, app_role=None) for _ in range(2)))
    assert both == [newest_revision()] * 2


def test_a_serving_role_that_owns_nothing_can_append_to_history_only(postgres_cluster: ScratchCluster) -> None:
    database = postgres_cluster.new_control_plane_database()
    postgres_cluster.cluster.ensure_role("control_plane_app")
    migrate(database.url("control_plane"), app_role="control_plane_app")
    with psycopg.connect(database.url("control_plane_app"), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO changes (at, actor, subject, request_id) VALUES (now(), 'olga', 'vendor:v-1', 'r-1')"
        )
        for statement in (
            "UPDATE changes SET actor = 'nobody'",
            "DELETE FROM changes",
            "UPDATE directories SET document = ''",
            "DELETE FROM units",
            "DELETE FROM cells",
            "CREATE TABLE other ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_every_table_says_what_the_serving_role_may_do() -> None:
    assert APP_GRANTS.keys() == metadata.tables.keys() | {"alembic_version"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE units SET epoch = 1 WHERE unit = 0",
        "UPDATE units SET cell = 'b' WHERE unit = 0",
        "UPDATE units SET unit = 16383 WHERE unit = 0",
        "INSERT INTO units VALUES (20000, 'a', 1)",
        "INSERT INTO directories VALUES (7, now(), '')",
        "UPDATE configurations SET document = ''",
        "UPDATE configurations SET version = 6",
        "INSERT INTO fleet (id) VALUES (2)",
        "UPDATE cells SET state = 'gone'",
        "UPDATE cells SET capacity_per_s = 0",
    ],
)
def test_the_database_repeats_the_rules(some_rows: str, statement: str) -> None:
    with psycopg.connect(some_rows) as connection:
        with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.UniqueViolation)):
            connection.execute(statement)
        connection.rollback()
        connection.execute("UPDATE units SET cell = 'b', epoch = 3 WHERE unit = 0")
        connection.rollback()


@pytest.fixture(scope="module")
def some_rows(postgres_cluster: ScratchCluster) -> str:
    url = postgres_cluster.new_control_plane_database().url("control_plane")
    migrate(url, app_role=None)
    with psycopg.connect(url) as connection:
        connection.execute("""
            INSERT INTO cells SELECT unnest(ARRAY['a', 'b']), 'active', 'zone-a', 1, now(), now();
            INSERT INTO units VALUES (0, 'a', 2);
            INSERT INTO directories VALUES (7, now(), '');
            INSERT INTO configurations VALUES ('a', 7, now(), '')
        """)
    return url
