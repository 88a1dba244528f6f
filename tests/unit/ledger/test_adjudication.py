"""Unit by unit, what a restored cell may keep: never what another cell has, never old rows for the present ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.ledger.adjudication import Claim, Contradiction, Evidence, Judgement, Kept, Missing, Superseded, judge
from cell.ledger.model import Instant, UnitStateName
from cell.ledger.unit_life import UnitRow
from contract.slots import ISOLATED_UNIT_FIRST, Unit

UNIT = Unit(7)
HERE = "cell-a"


def row(state: UnitStateName | None, epoch: int = 0) -> UnitRow:
    is_moving = state not in {None, "active"}
    return UnitRow(
        unit=UNIT,
        state=state,
        epoch=epoch,
        move_id="move-1" if is_moving else None,
        fence_no=3,
        peer_cell="cell-b" if is_moving else None,
        deadline_us=Instant(100) if state == "fenced" else None,
        digest="d" if state in {"fenced", "granted", "moved", "staged"} else None,
    )


def others(*claims: tuple[str, UnitStateName, int], directory: tuple[str, int] | None = None) -> Evidence:
    said = tuple(Claim(cell=cell, state=state, epoch=epoch) for cell, state, epoch in claims)
    return Evidence(claims=said, directory=directory)


def granted(to: str, epoch: int, *claims: tuple[str, UnitStateName, int], by: str = HERE) -> Evidence:
    grant = UnitRow(unit=UNIT, state="granted", epoch=epoch, move_id="move-1", fence_no=3, peer_cell=to, digest="d")
    return Evidence(claims=others(*claims).claims, directory=None, grant=grant, granted_by=by)


def gone(to: str, epoch: int, **fields: str | None) -> UnitRow:
    said = {"move_id": None, "digest": None, **fields}
    return UnitRow(
        unit=UNIT, state="moved", epoch=epoch, fence_no=3, peer_cell=to, move_id=said["move_id"], digest=said["digest"]
    )


KEPT: dict[str, tuple[UnitRow, Evidence]] = {
    "nobody else knows it": (row("active", 1), others(directory=(HERE, 1))),
    "the directory is older": (row("active", 3), others(("cell-b", "moved", 3), directory=("cell-b", 2))),
    "another restored cell claims it at a lower epoch": (row("active", 3), others(("cell-b", "active", 2))),
    "a fence falls by itself": (row("fenced", 1), others(("cell-b", "staging", 2), directory=(HERE, 1))),
    "sealed there, and no grant was ever seen": (row("active", 1), others(("cell-b", "staged", 2))),
    "granted, and the other one has it": (row("granted", 2), others(("cell-b", "active", 2), directory=("cell-b", 2))),
    "granted, and the other one waits for it": (row("granted", 2), others(("cell-b", "staged", 2))),
    "moved, and moved on since": (row("moved", 2), others(("cell-c", "active", 3), directory=("cell-c", 3))),
    "staged from who has it": (row("staged", 2), others(("cell-b", "active", 1), directory=("cell-b", 1))),
    "staged, and granted to here": (row("staged", 2), granted(HERE, 2, ("cell-b", "granted", 2), by="cell-b")),
    "never heard of": (row(None), others(("cell-b", "active", 1), directory=("cell-b", 1))),
    "was here in between": (row(None), others(("cell-b", "moved", 2), ("cell-c", "active", 3))),
}

SUPERSEDED: dict[str, tuple[UnitRow, Evidence, UnitRow]] = {
    "given away": (row("active", 1), others(("cell-b", "active", 2), directory=("cell-b", 2)), gone("cell-b", 2)),
    "before the directory knew": (
        row("active", 1),
        others(("cell-b", "active", 2), directory=(HERE, 1)),
        gone("cell-b", 2),
    ),
    "under the fence": (row("fenced", 1), others(("cell-b", "active", 2)), gone("cell-b", 2)),
    "given away and given on": (
        row("active", 1),
        others(("cell-b", "moved", 3), ("cell-c", "fenced", 3)),
        gone("cell-c", 3),
    ),
    "given, with our own word for it": (
        row("active", 1),
        granted("cell-b", 2, ("cell-b", "active", 2)),
        gone("cell-b", 2, move_id="move-1", digest="d"),
    ),
    "given, and the other one still waits": (
        row("active", 1),
        granted("cell-b", 2, ("cell-b", "staged", 2)),
        gone("cell-b", 2, move_id="move-1", digest="d"),
    ),
    "staged, was here, and left again": (row("staged", 2), others(("cell-c", "active", 3)), gone("cell-c", 3)),
    "staged, and given to somebody else instead": (
        row("staging", 2),
        others(("cell-c", "active", 2)),
        gone("cell-c", 2),
    ),
}

MISSING: dict[str, tuple[UnitRow, Evidence, Missing]] = {
    "it came since": (
        row(None),
        others(("cell-b", "moved", 2), directory=(HERE, 2)),
        Missing(epoch=2, from_cell="cell-b", after=None),
    ),
    "before the directory knew": (
        row(None),
        granted(HERE, 2, ("cell-b", "granted", 2), by="cell-b"),
        Missing(epoch=2, from_cell="cell-b", after=None),
    ),
    "it went and came back": (
        row("active", 1),
        others(("cell-b", "moved", 3), directory=(HERE, 3)),
        Missing(epoch=3, from_cell="cell-b", after=gone("cell-b", 4)),
    ),
    "half staged, and it came": (
        row("staging", 2),
        others(("cell-b", "moved", 2), directory=(HERE, 2)),
        Missing(epoch=2, from_cell="cell-b", after=gone("cell-b", 3)),
    ),
    "it had gone before, and came back": (
        row("moved", 2),
        others(("cell-c", "moved", 4), directory=(HERE, 4)),
        Missing(epoch=4, from_cell="cell-c", after=None),
    ),
}

CONTRADICTIONS: dict[str, tuple[UnitRow, Evidence, Contradiction]] = {
    "two others": (
        row("active", 1),
        others(("cell-b", "active", 2), ("cell-c", "active", 2)),
        Contradiction.TWO_OTHERS_OWN_IT,
    ),
    "one too many": (row("active", 2), others(("cell-b", "active", 2)), Contradiction.ANOTHER_OWNS_IT_TOO),
    "the directory alone": (
        row("active", 1),
        others(directory=("cell-b", 2)),
        Contradiction.DIRECTORY_NAMES_A_CELL_WITHOUT_IT,
    ),
    "granted, and not there": (row("active", 1), granted("cell-b", 2), Contradiction.GRANTED_TO_A_CELL_WITHOUT_IT),
    "given on to nobody": (
        row("active", 1),
        others(("cell-b", "moved", 3), directory=(HERE, 1)),
        Contradiction.GRANTED_TO_A_CELL_WITHOUT_IT,
    ),
    "it came from nowhere": (row(None), others(directory=(HERE, 2)), Contradiction.NOBODY_KNOWS_WHO_GAVE_IT),
    "it came from two": (
        row(None),
        others(("cell-b", "moved", 2), ("cell-c", "moved", 2), directory=(HERE, 2)),
        Contradiction.NOBODY_KNOWS_WHO_GAVE_IT,
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_nobody_else_has_is_kept(case: str) -> None:
    assert judge(*KEPT[case], this_cell=HERE) == Kept()


@pytest.mark.parametrize("case", SUPERSEDED)
def test_what_another_cell_has_is_moved_there(case: str) -> None:
    here, evidence, after = SUPERSEDED[case]
    assert judge(here, evidence, this_cell=HERE) == Superseded(after=after)
    assert judge(after, evidence, this_cell=HERE) == Kept()


@pytest.mark.parametrize("case", MISSING)
def test_what_came_since_is_missing_and_old_rows_do_not_stand_for_it(case: str) -> None:
    here, evidence, missing = MISSING[case]
    assert judge(here, evidence, this_cell=HERE) == missing


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_does_not_fit_is_left_to_a_person(case: str) -> None:
    here, evidence, contradiction = CONTRADICTIONS[case]
    assert judge(here, evidence, this_cell=HERE) == contradiction


def test_an_isolated_unit_of_a_wallet_that_was_opened_since_has_no_giver() -> None:
    unit = UnitRow(unit=Unit(ISOLATED_UNIT_FIRST))
    assert judge(unit, others(directory=(HERE, 1)), this_cell=HERE) == Missing(epoch=1, from_cell=None, after=None)


STATES = st.sampled_from(["active", "fenced", "granted", "moved", "staging", "staged"])
CLAIMS = st.builds(Claim, cell=st.sampled_from(["cell-b", "cell-c"]), state=STATES, epoch=st.integers(1, 4))
ROWS = st.builds(row, STATES, st.integers(1, 4)) | st.just(row(None))
DIRECTORIES = st.none() | st.tuples(st.sampled_from([HERE, "cell-b", "cell-c"]), st.integers(1, 4))
GRANTS = st.none() | st.builds(
    lambda to, epoch: granted(to, epoch).grant, st.sampled_from([HERE, "cell-b"]), st.integers(2, 4)
)
EVIDENCE = st.builds(
    Evidence,
    claims=st.lists(CLAIMS, max_size=2, unique_by=lambda one: one.cell).map(tuple),
    directory=DIRECTORIES,
    grant=GRANTS,
    granted_by=st.sampled_from([HERE, "cell-b"]),
)


def after_of(here: UnitRow, judgement: Judgement) -> UnitRow:
    if isinstance(judgement, Superseded):
        return judgement.after
    return judgement.after or here if isinstance(judgement, Missing) else here


@given(here=ROWS, evidence=EVIDENCE)
def test_whatever_is_said_no_second_owner_is_let_through(here: UnitRow, evidence: Evidence) -> None:
    judgement = judge(here, evidence, this_cell=HERE)
    after = after_of(here, judgement)
    if isinstance(judgement, Contradiction) or after.state not in {"active", "fenced"}:
        return
    assert all(one.epoch < after.epoch for one in evidence.claims if one.state in {"active", "fenced"})
    assert evidence.directory is None or evidence.directory[0] == HERE or evidence.directory[1] < after.epoch
    assert evidence.grant is None or evidence.grant.epoch <= after.epoch
    assert after == here
