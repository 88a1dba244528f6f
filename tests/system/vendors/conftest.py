"""One platform for all tests that only use it, as vendors and auditors do, and leave it whole."""

from collections.abc import Iterator

import pytest
from local_platform import LocalPlatform, local_platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    with local_platform(tmp_path_factory.mktemp("vendors") / "data", cells=3) as running:
        yield running
