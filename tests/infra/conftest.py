"""The tools that were built, and one cluster for each module of tests that asks for it.

Without the tools these tests are skipped, and say so; with CELLWALLET_INFRA=required, which `make infra-test` sets,
that is a failure, so that no green run can hide it.
"""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

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
