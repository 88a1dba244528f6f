"""The tools that were built, and one cluster for each module of tests that asks for it.

Without the tools these tests are skipped, and say so; with CELLWALLET_INFRA=required, which `make infra-test` sets,
that is a failure, so that no green run can hide it.
"""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from control_plane_databases import copied, migrated
from releasing.cluster_world import Ground, control_plane_account, running_prometheus
from releasing.played_databases import serve_databases
from releasing.stand_in_cells import stand_in_cells

from cellwallet.local.scratch import ScratchCluster, ScratchDatabase
from infra.charts import helm_renderer
from infra.cluster.local import LocalCluster, local_cluster
from infra.cluster.programs import CONTROL_PLANE
from infra.tools.finding import ToolsMustBeBuiltError, find_tools

IS_REQUIRED = os.environ.get("CELLWALLET_INFRA") == "required"

Find = Callable[[Collection[str]], dict[str, Path]]


@pytest.fixture(scope="session")
def tools_or_skip() -> Find:
    def find(names: Collection[str]) -> dict[str, Path]:
        try:
            return find_tools(names, os.environ)
        except ToolsMustBeBuiltError as error:
            if IS_REQUIRED:
                raise
            pytest.skip(str(error))

    return find


@pytest.fixture(scope="session")
def control_plane_tools(tools_or_skip: Find) -> dict[str, Path]:
    return tools_or_skip(CONTROL_PLANE)


@pytest.fixture(scope="module")
def cluster(control_plane_tools: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("cluster") / "local", tools=control_plane_tools) as running:
        yield running


@pytest.fixture(scope="session")
def helm(tools_or_skip: Find) -> Path:
    return tools_or_skip(["helm"])["helm"]


@pytest.fixture(scope="module")
def ground(
    cluster: LocalCluster, helm: Path, tools_or_skip: Find, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """The account of a control plane in the cluster, and a Prometheus that sees the cells there."""
    folder, render = tmp_path_factory.mktemp("ground"), helm_renderer(str(helm))
    serve_databases(cluster, tools_or_skip(["kubectl-cnpg"])["kubectl-cnpg"])
    kubeconfig = control_plane_account(cluster, render, folder)
    with (
        stand_in_cells(cluster.api) as cells,
        running_prometheus(folder / "prometheus", cells.url.removeprefix("http://")) as prometheus_url,
    ):
        yield Ground(
            cluster=cluster, render=render, kubeconfig=kubeconfig, stand_ins=cells, prometheus_url=prometheus_url
        )


@pytest.fixture(scope="session")
def migrated_template(postgres_cluster: ScratchCluster) -> ScratchDatabase:
    return migrated(postgres_cluster)


@pytest.fixture
def database_url(postgres_cluster: ScratchCluster, migrated_template: ScratchDatabase) -> Iterator[str]:
    with copied(postgres_cluster, migrated_template) as url:
        yield url
