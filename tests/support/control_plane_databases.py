"""Databases of the control plane for tests: one is migrated, the others are copies of it, at a tenth of the time."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from cellwallet.local.scratch import ScratchCluster, ScratchDatabase
from control_plane.store.migrate import migrate

_numbers = itertools.count(1)


def migrated(cluster: ScratchCluster) -> ScratchDatabase:
    template = cluster.new_control_plane_database()
    migrate(template.url("control_plane"), app_role="control_plane")
    return template


@contextmanager
def copied(cluster: ScratchCluster, template: ScratchDatabase) -> Iterator[str]:
    """The URL of an empty one, which is dropped afterwards."""
    name = f"control_plane_copy_{next(_numbers)}"
    with cluster.cluster.superuser() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template.name} OWNER control_plane STRATEGY wal_log")
    yield cluster.cluster.url("control_plane", name)
    cluster.cluster.drop_database(name)
