"""Some cases of the crash matrix, each part killed once, in the middle of a move under load.

All of them: `make crash-matrix`, whose page is docs/crash_matrix.md. That these can fail is shown by
test_crash_matrix_mutants.py.
"""

import asyncio
import random
from collections.abc import Iterator

import pytest
from crash_matrix.fleet import MatrixFleet, matrix_fleet
from crash_matrix.pairs import SUBSET
from crash_matrix.session import Session

pytestmark = pytest.mark.timeout(900)  # a bound for a machine that is busy with other things


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MatrixFleet]:
    with matrix_fleet(tmp_path_factory.mktemp("matrix")) as started:
        yield started


def test_a_move_survives_the_death_of_every_part(fleet: MatrixFleet) -> None:
    seed = random.randrange(2**32)
    print(f"scenario seed {seed}")  # noqa: T201 - shown with a failure
    session = Session(fleet, seed=seed, label=f"matrix-{seed}", tell=print)
    results = asyncio.run(session.play(SUBSET))
    broken = {result.name: result.findings[:8] for result in results if not result.is_clean}
    assert not broken, broken
    assert [result.name for result in results] == [pair.name for pair in SUBSET]
