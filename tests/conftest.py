"""The house of all tests: the folder is the marker, a failure says how to repeat it, one PostgreSQL per session."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cellwallet.local.scratch import ScratchCluster, scratch_cluster

TESTS = Path(__file__).parent

# How long something takes is never a test: neither for an example nor for making one.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

# A shell that starts the tests in the background makes them, and what they start, ignore an interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        suite = item.path.relative_to(TESTS).parts[0]
        item.add_marker(suite)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A failure prints the command that repeats it; the seed sets the order and all randomness."""
    failed = [report.nodeid for kind in ("failed", "error") for report in terminalreporter.getreports(kind)]
    if not failed:
        return
    seed = config.getoption("randomly_seed", default=None)
    option = "" if seed is None else f"-p randomly --randomly-seed={seed} "
    terminalreporter.section("to repeat")
    for nodeid in dict.fromkeys(failed):
        terminalreporter.write_line(f"python -m pytest {option}'{nodeid}'")


@pytest.fixture(scope="session")
def postgres_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchCluster]:
    """A running PostgreSQL 18 whose `new_cell_database()` and `new_control_plane_database()` take about 50 ms each.

    The database is empty and has its roles; `.url(role)` of it is for psycopg; migrating it is the test's affair.
    """
    with scratch_cluster(tmp_path_factory.mktemp("postgres")) as scratch:
        yield scratch
