"""A throw-away PostgreSQL cluster for tests and benchmarks, with fresh databases of a cell or of the control plane."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellwallet.local.databases import provision_cell, provision_control_plane
from cellwallet.local.postgres import THROWAWAY, Cluster
from contract.values import value


@value
class ScratchDatabase:
    cluster: Cluster
    name: str

    def url(self, role: str) -> str:
        """As `cell_owner`, `cell_app`, `control_plane`, `postgres` (superuser) and so on."""
        return self.cluster.url(role, self.name)


class ScratchCluster:
    """A running cluster; every `new_..._database` is empty, provisioned, and not migrated."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._numbers = itertools.count(1)

    def new_cell_database(self) -> ScratchDatabase:
        name = f"cell_{next(self._numbers)}"
        provision_cell(self.cluster, database=name)
        return ScratchDatabase(cluster=self.cluster, name=name)

    def new_control_plane_database(self) -> ScratchDatabase:
        name = f"control_plane_{next(self._numbers)}"
        provision_control_plane(self.cluster, database=name)
        return ScratchDatabase(cluster=self.cluster, name=name)

    def drop(self, database: ScratchDatabase) -> None:
        self.cluster.drop_database(database.name)


@contextmanager
def scratch_cluster(folder: Path) -> Iterator[ScratchCluster]:
    """Runs while the context lasts; the folder is the caller's to remove."""
    cluster = Cluster(folder, settings=THROWAWAY)
    cluster.start()
    try:
        yield ScratchCluster(cluster)
    finally:
        cluster.stop()
