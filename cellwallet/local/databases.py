"""What a fresh cluster is given before the services migrate it: roles and a database."""

from pathlib import Path
from typing import LiteralString

import cell
from cellwallet.local.postgres import Cluster

CELL_DATABASE = "cell"
CELL_OWNER, CELL_APP = "cell_owner", "cell_app"
CONTROL_PLANE = "control_plane"
"""The control plane's database and its role."""

RECORD_PROMOTION: LiteralString = r"""
WITH present AS (
    SELECT system_identifier,
           pg_read_file('pg_wal/' || lpad(upper(to_hex(timeline)), 8, '0') || '.history', true) AS lines
    FROM present_era()
), continued AS (
    SELECT system_identifier, (regexp_match(lines, '(?:^|\n)(\d+)\t[^\n]*\n*$'))[1]::bigint AS timeline FROM present
)
SELECT record_era('promotion') FROM continued JOIN database_eras USING (system_identifier, timeline)
"""
"""The last line of a timeline's history names the one that it goes on from."""


def provision_cell(cluster: Cluster, *, database: str = CELL_DATABASE) -> None:
    cluster.run_script((Path(cell.__file__).parent / "store" / "roles.sql").read_text())
    cluster.ensure_database(database, owner=CELL_OWNER)


def record_promotion(cluster: Cluster, *, database: str = CELL_DATABASE) -> bool:
    """The timeline that a cell's database has now continues what was before: without this it would be closed.

    False, and it stays closed: nobody has vouched for what was before either. A standby of a database that was put back
    by hand is no better than that.
    """
    with cluster.superuser(database) as connection:
        return connection.execute(RECORD_PROMOTION).fetchone() is not None


def provision_control_plane(cluster: Cluster, *, database: str = CONTROL_PLANE) -> None:
    cluster.ensure_role(CONTROL_PLANE)
    cluster.ensure_database(database, owner=CONTROL_PLANE)
