"""What the witness of a run objects to, and what an honest move may look like to somebody who reads cell after cell."""

from typing import Any

import pytest
from crash_matrix.witness import UnitSeen, Witness, owner_at_rest, two_owners

UNIT = 7


def look(**cells: tuple[str | None, int]) -> dict[str, Any]:
    return {cell: {UNIT: UnitSeen(state=state, epoch=epoch)} for cell, (state, epoch) in cells.items()}


HONEST = [
    look(a=("active", 1), b=(None, 0)),
    look(a=("active", 1), b=("staging", 2)),
    look(a=("fenced", 1), b=("staged", 2)),
    look(a=("active", 1), b=("staging", 2)),
    look(a=("active", 1), b=(None, 0)),
    # Read before the grant in the one cell, after the activation in the other.
    look(a=("fenced", 1), b=("active", 2)),
    look(a=("moved", 2), b=("active", 2)),
    look(b=("active", 2)),
    look(a=("staging", 3), b=("active", 2)),
    look(a=("active", 3), b=("granted", 3)),
]


def test_an_honest_move_there_and_back_is_not_objected_to() -> None:
    witness = Witness()
    assert [finding for seen in HONEST for finding in witness.saw_units(seen)] == []
    assert witness.looks == len(HONEST)


@pytest.mark.parametrize("state", ["active", "fenced"])
def test_two_cells_that_own_a_unit_in_two_looks_are_found(state: str) -> None:
    both = look(a=(state, 1), b=("active", 2))
    assert [finding.check for finding in two_owners(both, both)] == ["two_owners"]


def test_one_look_is_no_proof_of_two_owners() -> None:
    both, after = look(a=("fenced", 1), b=("active", 2)), look(a=("granted", 2), b=("active", 2))
    assert list(two_owners(both, after)) == []


def test_an_epoch_that_falls_is_found_even_if_the_cell_was_away() -> None:
    witness = Witness()
    witness.saw_units(look(a=("active", 3)))
    witness.saw_units({})
    assert [finding.check for finding in witness.saw_units(look(a=("active", 1)))] == ["epoch_fell"]


def test_a_staging_that_is_given_up_is_no_fallen_epoch() -> None:
    witness = Witness()
    seen = [look(a=("moved", 2)), look(a=("staging", 3)), look(a=("moved", 2))]
    assert [finding for one in seen for finding in witness.saw_units(one)] == []


def test_a_version_that_falls_is_found() -> None:
    witness = Witness()
    assert witness.saw_number("directory", 5) == witness.saw_number("directory", 5) == []
    assert [finding.check for finding in witness.saw_number("directory", 4)] == ["number_fell"]
    assert witness.saw_number("router", 1) == []


@pytest.mark.parametrize(
    ("seen", "owner"),
    [
        (look(a=("active", 1), b=(None, 0)), "a"),
        (look(a=("moved", 2), b=("active", 2)), "b"),
        (look(a=("active", 1), b=("active", 2)), None),
        (look(a=("moved", 2), b=(None, 0)), None),
        (look(a=("active", 1), b=("staging", 2)), None),
        (look(a=("granted", 2), b=("active", 2)), None),
    ],
)
def test_after_a_move_one_cell_has_the_unit_and_nothing_is_left_over(seen: Any, owner: str | None) -> None:
    told = owner_at_rest(UNIT, seen)
    assert told == owner if owner is not None else isinstance(told, list)
