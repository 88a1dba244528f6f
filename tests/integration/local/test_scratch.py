"""The databases that other tests are given."""

import psycopg

from cellwallet.local.scratch import ScratchCluster


def test_a_fresh_cell_database_has_its_roles_and_belongs_to_its_owner(postgres_cluster: ScratchCluster) -> None:
    database = postgres_cluster.new_cell_database()
    with psycopg.connect(database.url("cell_owner")) as connection:
        connection.execute("CREATE TABLE proof (id int)")
    with psycopg.connect(database.url("cell_app")) as connection:
        assert connection.execute("SELECT current_user::text, current_database()::text").fetchone() == (
            "cell_app",
            database.name,
        )
        assert connection.execute("SELECT has_table_privilege('proof', 'INSERT')").fetchone() == (False,)


def test_fresh_databases_share_nothing(postgres_cluster: ScratchCluster) -> None:
    first, second = postgres_cluster.new_cell_database(), postgres_cluster.new_control_plane_database()
    with psycopg.connect(first.url("cell_owner")) as connection:
        connection.execute("CREATE TABLE proof (id int)")
    with psycopg.connect(second.url("control_plane")) as connection:
        assert connection.execute("SELECT to_regclass('proof')").fetchone() == (None,)
