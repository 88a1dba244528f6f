"""Proof that the crash matrix can fail: with one protection of moves gone, the same case is reported as broken."""

import asyncio
import random
from pathlib import Path

import pytest
from crash_matrix.fleet import matrix_fleet
from crash_matrix.mutants import MUTANTS
from crash_matrix.pairs import SUBSET, Pair, Part, Place
from crash_matrix.session import Session

pytestmark = pytest.mark.timeout(600)  # a bound for a machine that is busy with other things

DEAD_END_S = 8.0
"""How long an answer that a mutant will never give is waited for."""
CASES: dict[str, tuple[Pair, set[str]]] = {
    "activate_without_a_grant": (Pair(place=Place.MOVER, point="move.sealed", victim=Part.MOVER), {"two_owners"}),
    "grant_whatever_stands": (
        Pair(place=Place.SOURCE, point="move.granting", victim=Part.MOVER),
        {"lost", "unbalanced"},
    ),
}
"""The case that each of them must not survive, and the checks of which one must speak: what a grant of stale rows takes
away may be an answer's entry, or one that nobody was told of yet, and then only the books know.
"""


def test_every_mutant_is_tried_in_a_case_that_the_platform_as_it_is_survives() -> None:
    assert CASES.keys() == MUTANTS.keys()
    assert {pair for pair, _ in CASES.values()} <= set(SUBSET)


@pytest.mark.parametrize("mutant", CASES)
def test_a_mutant_is_reported_as_broken(mutant: str, tmp_path: Path) -> None:
    case, checks = CASES[mutant]
    with matrix_fleet(tmp_path / "mutated", mutant=mutant) as fleet:
        session = Session(fleet, seed=random.randrange(2**32), label=mutant, tell=print, patience_s=DEAD_END_S)
        (result,) = asyncio.run(session.play([case]))
    spoke = [check for check in checks if any(f"{check}:" in finding for finding in result.findings)]
    assert spoke, result.findings[:8]
