"""What a fresh cluster is given before the services migrate it: roles and a database."""

from pathlib import Path

import cell
from cellwallet.local.postgres import Cluster

CELL_DATABASE = "cell"
CELL_OWNER, CELL_APP = "cell_owner", "cell_app"
CONTROL_PLANE = "control_plane"
"""The control plane's database and its role."""


def provision_cell(cluster: Cluster, *, database: str = CELL_DATABASE) -> None:
    cluster.run_script((Path(cell.__file__).parent / "store" / "roles.sql").read_text())
    cluster.ensure_database(database, owner=CELL_OWNER)


def record_promotion(cluster: Cluster, *, database: str = CELL_DATABASE) -> None:
    """The timeline that a cell's database has now continues what was before: without this it would be closed."""
    with cluster.superuser(database) as connection:
        connection.execute("SELECT record_era('promotion')")


def provision_control_plane(cluster: Cluster, *, database: str = CONTROL_PLANE) -> None:
    cluster.ensure_role(CONTROL_PLANE)
    cluster.ensure_database(database, owner=CONTROL_PLANE)
