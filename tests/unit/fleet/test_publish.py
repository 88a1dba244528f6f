"""What the directory says, and which publications are refused: one row per refusal."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fleet_world import NOON, cell, fleet_of
from hypothesis import given
from hypothesis import strategies as st

from contract.directory import CellState
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS
from control_plane.fleet.instants import unix_ms
from control_plane.fleet.model import Fleet, OwnedRun
from control_plane.fleet.publish import (
    NO_ALLOWANCE,
    Allowance,
    Publication,
    directory_of,
    next_publication,
    next_version,
    publication_refusals,
    says_the_same,
    shows_units,
)
from control_plane.fleet.reasons import WaitReason

LATER = NOON + timedelta(seconds=1)
WALLET = "00000000-0000-0000-0000-000000000001"
CELLS = (cell("a", "active"), cell("b", "active"))
HALVES = (OwnedRun(first=0, last=8191, cell="a"), OwnedRun(first=8192, last=16383, cell="b"))
FLEET = fleet_of(CELLS, *HALVES)
PUBLISHED = replace(FLEET, directory=directory_of(FLEET, NOON))


def moved(count: int, *, epoch: int = 2) -> tuple[OwnedRun, ...]:
    """The first `count` slots went from a to b."""
    return (
        OwnedRun(first=0, last=count - 1, cell="b", epoch=epoch),
        OwnedRun(first=count, last=8191, cell="a"),
        HALVES[1],
    )


def reasons_of(following: Fleet, *, allowance: Allowance = NO_ALLOWANCE) -> list[WaitReason]:
    document = directory_of(following, LATER)
    refusals = publication_refusals(PUBLISHED.directory, document, allowance=allowance)
    return [refusal.reason for refusal in refusals]


@given(last=st.none() | st.integers(min_value=1, max_value=2**53), seconds=st.integers(min_value=-10, max_value=10**9))
def test_versions_rise_and_are_not_below_the_clock(last: int | None, seconds: int) -> None:
    now = NOON + timedelta(seconds=seconds)
    version = next_version(last, now)
    assert version > (last or 0)
    assert version >= unix_ms(now)
    assert version in {(last or 0) + 1, unix_ms(now)}


def test_a_rebuilt_directory_is_not_older() -> None:
    """The database was lost, with it the last version; the clock alone keeps the next one above."""
    assert next_version(None, LATER) > next_version(None, NOON)


@pytest.mark.parametrize(
    ("following", "reason"),
    [
        (replace(PUBLISHED, runs=()), WaitReason.UNITS_MUST_NOT_DISAPPEAR),
        (
            replace(PUBLISHED, runs=moved(10), directory=directory_of(replace(FLEET, runs=moved(10)), NOON)),
            None,
        ),
        (replace(PUBLISHED, runs=moved(10, epoch=1)), WaitReason.EPOCH_MUST_RISE_WITH_NEW_OWNER),
        (replace(PUBLISHED, runs=moved(820)), WaitReason.REASSIGNED_SHARE_MUST_BE_ALLOWED),
        (
            replace(PUBLISHED, cells=(cell("a", "active"), cell("b", "active"), cell("c", "active"))),
            None,
        ),
    ],
)
def test_one_reason_for_each_refusal(following: Fleet, reason: WaitReason | None) -> None:
    assert reasons_of(following) == ([reason] if reason else [])


def test_epochs_must_not_decrease() -> None:
    risen = directory_of(replace(FLEET, runs=moved(10, epoch=3)), NOON)
    fallen = directory_of(replace(FLEET, runs=moved(10, epoch=2), directory=risen), LATER)
    assert [one.reason for one in publication_refusals(risen, fallen, allowance=NO_ALLOWANCE)] == [
        WaitReason.EPOCHS_MUST_NOT_DECREASE
    ]


def test_a_dropped_cell_must_be_allowed() -> None:
    three = fleet_of((*CELLS, cell("c", "ready")), *HALVES)
    before, after = directory_of(three, NOON), directory_of(FLEET, LATER)
    assert [one.reason for one in publication_refusals(before, after, allowance=NO_ALLOWANCE)] == [
        WaitReason.DROPPED_CELL_MUST_BE_ALLOWED
    ]
    other = Allowance(dropped_cells=frozenset({"b"}))
    assert publication_refusals(before, after, allowance=other)
    named = Allowance(dropped_cells=frozenset({"c"}))
    assert publication_refusals(before, after, allowance=named) == ()


@pytest.mark.parametrize(("count", "is_refused"), [(819, False), (820, True)])
def test_five_per_cent_of_the_units_may_change_their_cell(count: int, *, is_refused: bool) -> None:
    assert bool(reasons_of(replace(PUBLISHED, runs=moved(count)))) is is_refused


def test_an_allowance_is_told_to_routers_and_only_where_it_was_needed() -> None:
    allowance = Allowance(reassigned=True)
    large = next_publication(replace(PUBLISHED, runs=moved(2000)), LATER, allowance=allowance)
    small = next_publication(replace(PUBLISHED, runs=moved(20)), LATER, allowance=allowance)
    assert isinstance(large, Publication)
    assert isinstance(small, Publication)
    assert large.document.is_large_change_meant
    assert not small.document.is_large_change_meant


def test_no_allowance_covers_epochs() -> None:
    allowance = Allowance(reassigned=True, dropped_cells=frozenset({"a", "b"}))
    assert reasons_of(replace(PUBLISHED, runs=moved(10, epoch=1)), allowance=allowance) == [
        WaitReason.EPOCH_MUST_RISE_WITH_NEW_OWNER
    ]


def test_nothing_new_is_not_published() -> None:
    assert next_publication(PUBLISHED, LATER) == ()
    assert says_the_same(PUBLISHED.directory, directory_of(PUBLISHED, LATER))


def test_a_publication_names_its_predecessor() -> None:
    first = next_publication(FLEET, NOON)
    following = next_publication(replace(PUBLISHED, runs=moved(1)), LATER)
    assert (first.after, first.document.previous_version) == (None, None)
    assert following.after == following.document.previous_version == PUBLISHED.directory.version


def test_a_clock_that_went_back_does_not_take_the_version_with_it() -> None:
    earlier = next_publication(replace(PUBLISHED, runs=moved(1)), NOON - timedelta(days=1))
    assert earlier.document.version == PUBLISHED.directory.version + 1


def test_neighbouring_runs_of_a_cell_are_one_and_epochs_are_told_apart() -> None:
    runs = (
        OwnedRun(first=0, last=0, cell="a", epoch=3),
        OwnedRun(first=1, last=8191, cell="a"),
        OwnedRun(first=8192, last=8192, cell="b", is_moving=True),
        OwnedRun(first=8193, last=16383, cell="b"),
        OwnedRun(first=ISOLATED_UNIT_FIRST, last=ISOLATED_UNIT_FIRST, cell="b", epoch=2),
        OwnedRun(first=ISOLATED_UNIT_FIRST + 1, last=ISOLATED_UNIT_FIRST + 1, cell="a", epoch=5),
    )
    document = directory_of(fleet_of(CELLS, *runs, isolated={WALLET: ISOLATED_UNIT_FIRST}), NOON)
    assert document.slots == ((8192, "a"), (8192, "b"))
    assert document.isolated == {WALLET: ISOLATED_UNIT_FIRST}
    assert document.unit_cells == {ISOLATED_UNIT_FIRST: "b"}, "a rejoined unit is not spoken of"
    assert document.epochs == {0: 3, ISOLATED_UNIT_FIRST: 2}
    assert document.moving == (8192,)
    assert len(document.slot_cells()) == SLOTS


def test_a_document_shows_the_units_it_was_made_of_and_no_others() -> None:
    document = directory_of(FLEET, NOON)
    assert shows_units(document, HALVES, {})
    assert not shows_units(document, moved(1), {})
    assert not shows_units(document, (replace(HALVES[0], epoch=2), HALVES[1]), {})


@pytest.mark.parametrize(
    ("state", "is_listed"), [("registered", False), ("ready", True), ("empty", True), ("retired", False)]
)
def test_routers_know_cells_from_ready_to_empty(state: CellState, *, is_listed: bool) -> None:
    document = directory_of(fleet_of((*CELLS, cell("c", state)), *HALVES), NOON)
    assert ("c" in document.cells) is is_listed


def test_an_evacuated_zone_weighs_nothing_for_every_cell_and_comes_back() -> None:
    evacuated = replace(PUBLISHED, evacuated_zones=frozenset({"zone-a"}))
    publication = next_publication(evacuated, LATER)
    assert isinstance(publication, Publication)
    assert {name: one.zone_weights for name, one in publication.document.cells.items()} == {
        "a": {"zone-a": 0},
        "b": {"zone-a": 0},
    }
    again = replace(evacuated, directory=publication.document)
    assert next_publication(again, LATER + timedelta(seconds=1)) == ()
    back = next_publication(replace(again, evacuated_zones=frozenset()), LATER + timedelta(seconds=1))
    assert isinstance(back, Publication)
    assert {one.zone_weights.get("zone-a") for one in back.document.cells.values()} == {None}
