"""An evacuation step by step: traffic first, two primaries at a time, an end in any case; and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.directory import ApiInstance, DirectoryCell, DirectoryDocument
from contract.ids import CellId
from control_plane.evacuations import deciding
from control_plane.evacuations.deciding import (
    AdvanceEvacuation,
    Cordon,
    EvacuationGrounds,
    NoteDirectory,
    SwitchOver,
    WaitFor,
    Watched,
    has_waited_enough,
    next_evacuation_step,
    watched,
    why_not_cordoned,
)
from control_plane.evacuations.model import (
    AT_ONCE,
    GAP_MAX,
    LOOKED_FOR,
    PATIENCE,
    EvacuationOrder,
    EvacuationRecord,
    Primary,
    ZonedCell,
    primaries_of,
    refusal_of,
    shows,
)
from control_plane.evacuations.states import TRANSITIONS, EvacuationEvent, evacuation_state_after

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LASTS = timedelta(hours=2)


def record(state: str = "ordered", *, primaries: int = 3, **changes: object) -> EvacuationRecord:
    usual = EvacuationRecord(
        id="e-1",
        zone="a",
        state=state,
        primaries=tuple(Primary(cell=CellId(f"cell-{number}")) for number in range(1, primaries + 1)),
        expires_at=BEGIN + LASTS,
        ordered_by="olga",
        ordered_at=BEGIN,
        changed_at=BEGIN,
    )
    return replace(usual, **changes)


def directory(version: int, *, is_away: bool) -> DirectoryDocument:
    api = (ApiInstance(url="http://127.0.0.1:1", zone="a"), ApiInstance(url="http://127.0.0.1:2", zone="b"))
    cell = DirectoryCell(api=api, zone_weights={"a": 0} if is_away else {}, state="active")
    return DirectoryDocument(version=version, issued_at="2026-01-01T00:00:00Z", cells={"cell-1": cell}, slots=())


def grounds(version: int, *, is_away: bool, **routers: int) -> EvacuationGrounds:
    return EvacuationGrounds(directory=directory(version, is_away=is_away), routers=routers)


def test_traffic_has_left_when_the_directory_says_so_and_every_live_router_has_it() -> None:
    now = BEGIN
    before = next_evacuation_step(record(), grounds(7, is_away=False, one=7), now)
    assert isinstance(before, WaitFor)
    assert before.reason == "directory_must_say_so"
    assert next_evacuation_step(record(), grounds(8, is_away=True, one=7), now) == NoteDirectory(version=8)
    announced = record(announced_version=8)
    behind = next_evacuation_step(announced, grounds(9, is_away=True, one=9, two=7), now)
    assert isinstance(behind, WaitFor)
    assert behind.reason == "routers_must_acknowledge"
    assert "two" in behind.detail
    assert next_evacuation_step(announced, grounds(9, is_away=True, one=8, two=8), now) == AdvanceEvacuation(
        event=EvacuationEvent.ROUTERS_ACKNOWLEDGED
    )


def test_without_a_directory_nothing_has_left() -> None:
    step = next_evacuation_step(record(), EvacuationGrounds(directory=None, routers={}), BEGIN)
    assert isinstance(step, WaitFor)


@given(st.lists(st.sampled_from(["switched", "not_available", "failed"]), min_size=1, max_size=6), st.randoms())
def test_at_most_two_primaries_switch_at_a_time_and_each_does_once(outcomes: list[str], chance: object) -> None:
    evacuation = record("switching", primaries=len(outcomes))
    nothing = EvacuationGrounds(directory=None, routers={})
    for turn in range(1_000):
        under_way = [one for one in evacuation.primaries if one.state == "switching"]
        assert len(under_way) <= AT_ONCE
        step = next_evacuation_step(evacuation, nothing, BEGIN, turn=turn)
        if isinstance(step, AdvanceEvacuation):
            assert step.event is EvacuationEvent.PRIMARIES_LEFT
            break
        assert isinstance(step, SwitchOver)
        assert step.may_begin
        one = step.primary
        assert one.state in {"waiting", "switching"}
        is_over = one.state == "switching" and chance.random() < 0.5
        after = replace(one, state=outcomes[int(one.cell[5:]) - 1] if is_over else "switching")
        evacuation = replace(
            evacuation, primaries=tuple(after if old.cell == after.cell else old for old in evacuation.primaries)
        )
    else:
        pytest.fail("it does not end")
    assert [one.state for one in evacuation.primaries] == outcomes


def test_then_the_zone_is_cordoned() -> None:
    assert next_evacuation_step(record("cordoning"), grounds(9, is_away=True), BEGIN) == Cordon()


@pytest.mark.parametrize("state", ["ordered", "switching", "cordoning", "in_force"])
def test_it_ends_by_the_clock_and_by_order_from_wherever_it_is(state: str) -> None:
    end = AdvanceEvacuation(event=EvacuationEvent.END_ORDERED)
    seen = grounds(9, is_away=True)
    assert next_evacuation_step(record(state), seen, BEGIN + LASTS) == end
    assert next_evacuation_step(record(state, is_end_ordered=True), seen, BEGIN) == end
    assert next_evacuation_step(record(state), seen, BEGIN + LASTS - timedelta(seconds=1)) != end


def test_it_has_ended_when_traffic_may_return() -> None:
    ending = record("ending", primaries=0)
    step = next_evacuation_step(ending, grounds(9, is_away=True, one=9), BEGIN)
    assert isinstance(step, WaitFor)
    announced = replace(ending, announced_version=10)
    assert next_evacuation_step(announced, grounds(10, is_away=False, one=10), BEGIN) == AdvanceEvacuation(
        event=EvacuationEvent.TRAFFIC_RETURNED
    )


SETTLED = (Primary(cell=CellId("cell-1"), state="switched"), Primary(cell=CellId("cell-2"), state="failed"))
ON_ITS_WAY = Primary(cell=CellId("cell-3"), state="switching")
BELIEVED_TO_WAIT = Primary(cell=CellId("cell-4"), state="waiting")


def test_a_primary_that_is_on_its_way_when_it_ends_is_followed_and_nothing_is_begun() -> None:
    ending = record("ending", announced_version=10, primaries=0)
    back = grounds(10, is_away=False, one=10)
    ended = AdvanceEvacuation(event=EvacuationEvent.TRAFFIC_RETURNED)
    half_way = replace(ending, primaries=(*SETTLED, ON_ITS_WAY))
    long_after = BEGIN + LASTS
    for turn in range(3):
        step = next_evacuation_step(half_way, back, long_after, turn=turn)
        assert step == SwitchOver(primary=ON_ITS_WAY, may_begin=False)
    assert next_evacuation_step(replace(ending, primaries=SETTLED), back, long_after) == ended


def test_who_is_believed_to_wait_is_looked_for_once_more_but_not_for_long() -> None:
    """It may have been ordered, and its record lost with a worker."""
    ending = record("ending", announced_version=10, primaries=0)
    both = replace(ending, primaries=(ON_ITS_WAY, BELIEVED_TO_WAIT))
    back = grounds(10, is_away=False, one=10)
    steps = [next_evacuation_step(both, back, BEGIN + LOOKED_FOR, turn=turn) for turn in range(2)]
    assert steps == [SwitchOver(primary=one, may_begin=False) for one in both.primaries]
    late = BEGIN + LOOKED_FOR + timedelta(seconds=1)
    assert next_evacuation_step(both, back, late, turn=1) == SwitchOver(primary=ON_ITS_WAY, may_begin=False)
    waiting = replace(both, primaries=(BELIEVED_TO_WAIT,))
    assert next_evacuation_step(waiting, back, late) == AdvanceEvacuation(event=EvacuationEvent.TRAFFIC_RETURNED)


def test_traffic_waits_for_no_primary_and_no_primary_for_traffic() -> None:
    half_way = replace(record("ending"), primaries=(ON_ITS_WAY,))
    assert next_evacuation_step(half_way, grounds(10, is_away=False, one=9), BEGIN) == NoteDirectory(version=10)
    followed = SwitchOver(primary=ON_ITS_WAY, may_begin=False)
    assert next_evacuation_step(half_way, grounds(9, is_away=True, one=9), BEGIN) == followed
    behind = replace(half_way, announced_version=10)
    assert next_evacuation_step(behind, grounds(10, is_away=False, one=9), BEGIN) == followed


def test_a_fail_back_moves_no_traffic_and_no_clock_ends_it() -> None:
    """Primaries that are half way home are not left there."""
    back = record("switching", kind="fail_back", primaries=1)
    nothing = EvacuationGrounds(directory=None, routers={})
    assert isinstance(next_evacuation_step(back, nothing, BEGIN + LASTS), SwitchOver)
    home = replace(back, primaries=(replace(back.primaries[0], state="switched"),))
    assert next_evacuation_step(home, nothing, BEGIN) == AdvanceEvacuation(event=EvacuationEvent.PRIMARIES_RETURNED)
    assert not home.keeps_traffic_away


def test_every_state_leads_to_the_end() -> None:
    reached = {"ended"}
    for _ in TRANSITIONS:
        reached |= {state for (state, _), then in TRANSITIONS.items() if then in reached}
    assert reached == {"ordered", "switching", "cordoning", "in_force", "ending", "ended"}
    assert evacuation_state_after("ended", EvacuationEvent.END_ORDERED) is None


def test_a_directory_shows_it_for_every_cell_or_not_at_all() -> None:
    away = directory(1, is_away=True)
    half = away.model_copy(update={"cells": {**away.cells, "cell-2": directory(1, is_away=False).cells["cell-1"]}})
    assert shows(away, "a", is_away=True)
    assert not shows(half, "a", is_away=True)
    assert not shows(half, "a", is_away=False)
    assert shows(away, "b", is_away=False)


ORDER = EvacuationOrder(evacuation_id="e-1", kind="evacuation", zone="a", lasts=LASTS, actor="olga", request_id="q-1")
CELLS = (
    ZonedCell(id=CellId("cell-1"), state="active", home_zone="a", zones=frozenset("ab")),
    ZonedCell(id=CellId("cell-2"), state="active", home_zone="b", zones=frozenset("bc")),
)


def test_what_is_refused() -> None:
    assert refusal_of(ORDER, CELLS, []) is None
    open_one = refusal_of(ORDER, CELLS, [record()])
    assert open_one is not None
    assert open_one.reason == "another_evacuation_must_have_ended"
    unknown = refusal_of(replace(ORDER, zone="d"), CELLS, [])
    assert unknown is not None
    assert unknown.reason == "zone_must_be_known"
    alone = replace(CELLS[0], zones=frozenset("a"))
    stuck = refusal_of(ORDER, (alone, CELLS[1]), [])
    assert stuck is not None
    assert (stuck.reason, "cell-1" in stuck.detail) == ("cells_must_serve_in_another_zone", True)
    assert refusal_of(replace(ORDER, kind="fail_back"), (alone, CELLS[1]), []) is None
    empty = replace(alone, state="empty")
    assert refusal_of(ORDER, (empty, CELLS[1]), []) is None, "nobody is served there"


def test_away_goes_whoever_is_there_and_back_come_those_whose_home_it_is() -> None:
    retired = replace(CELLS[0], id=CellId("cell-9"), state="retired")
    cells = (*CELLS, retired)
    assert [one.cell for one in primaries_of(ORDER, cells)] == ["cell-1", "cell-2"]
    assert [one.cell for one in primaries_of(replace(ORDER, kind="fail_back"), cells)] == ["cell-1"]


def test_a_zone_with_a_primary_in_it_is_not_closed_where_that_would_move_it() -> None:
    evacuation = record("cordoning", primaries=2)
    gone = replace(evacuation, primaries=tuple(replace(one, state="switched") for one in evacuation.primaries))
    assert why_not_cordoned(gone, moves_primaries=True) is None
    for state in ("not_available", "failed"):
        left = replace(gone, primaries=(gone.primaries[0], replace(gone.primaries[1], state=state)))
        assert "cell-2" in (why_not_cordoned(left, moves_primaries=True) or "")
        assert why_not_cordoned(left, moves_primaries=False) is None


# Primaries that cannot go yet.

NOTHING = EvacuationGrounds(directory=None, routers={})


def switched_in_turn(evacuation: EvacuationRecord, stuck: set[str], *, turns: int) -> EvacuationRecord:
    """Each that is asked for begins its way and is there when it is asked for again, unless it is stuck."""
    for turn in range(turns):
        step = next_evacuation_step(evacuation, NOTHING, BEGIN, turn=turn)
        if not isinstance(step, SwitchOver):
            break
        if step.primary.cell not in stuck:
            after = replace(step.primary, state="switched" if step.primary.state == "switching" else "switching")
            others = (after if one.cell == after.cell else one for one in evacuation.primaries)
            evacuation = replace(evacuation, primaries=tuple(others))
    return evacuation


def test_who_waits_for_a_standby_keeps_nobody_else_from_going() -> None:
    stuck = {"cell-1", "cell-2", "cell-3"}
    after = switched_in_turn(record("switching", primaries=6), stuck, turns=100)
    assert {one.cell for one in after.primaries if one.state == "switched"} == {"cell-4", "cell-5", "cell-6"}
    assert {one.cell for one in after.primaries if one.state == "waiting"} == stuck


def test_mutant_who_asks_for_the_first_alone_waits_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_of_all(evacuation: EvacuationRecord, turn: int) -> SwitchOver:
        del turn
        first = next(one for one in evacuation.primaries if one.state in {"waiting", "switching"})
        return SwitchOver(primary=first, may_begin=True)

    monkeypatch.setattr(deciding, "_switching", first_of_all)
    after = switched_in_turn(record("switching", primaries=6), {"cell-1"}, turns=100)
    assert not [one for one in after.primaries if one.state == "switched"]


def test_patience_ends_for_who_is_as_before_long_after_anybody_moved() -> None:
    evacuation = record("switching")
    waiting = evacuation.primaries[0]
    late, in_time = BEGIN + PATIENCE + timedelta(seconds=1), BEGIN + PATIENCE
    for state in ("waiting", "switching"):
        before = replace(waiting, state=state)
        assert has_waited_enough(evacuation, before, replace(before, detail="other words"), late)
        assert not has_waited_enough(evacuation, before, before, in_time)
    assert not has_waited_enough(evacuation, waiting, replace(waiting, state="switching"), late), "it has just begun"
    for settled in ("switched", "not_available", "failed"):
        assert not has_waited_enough(evacuation, waiting, replace(waiting, state=settled), late)


def test_time_in_which_nobody_looked_is_nobodys_patience() -> None:
    """The control plane was away; its first look afterwards finds what has moved nowhere."""
    evacuation = record("switching")
    waiting = evacuation.primaries[0]
    watch, now = watched(None, evacuation, BEGIN), BEGIN
    while now - BEGIN <= PATIENCE:
        assert not has_waited_enough(evacuation, waiting, waiting, now, watch=watch)
        now += GAP_MAX
        watch = watched(watch, evacuation, now)
    assert has_waited_enough(evacuation, waiting, waiting, now, watch=watch), "somebody has looked all the time"
    back = now + GAP_MAX + timedelta(seconds=1)
    assert watched(watch, evacuation, back) == Watched(evacuation="e-1", since=back, last=back)
    assert not has_waited_enough(evacuation, waiting, waiting, back, watch=watched(watch, evacuation, back))
    assert not has_waited_enough(evacuation, waiting, waiting, now, watch=watched(None, evacuation, now))
    assert watched(watch, replace(evacuation, id="e-2"), now).since == now
    moved = replace(evacuation, changed_at=now)
    assert not has_waited_enough(moved, waiting, waiting, now, watch=watch)


def test_who_is_looked_for_after_the_end_is_looked_for_after_an_outage_too() -> None:
    ending = replace(record("ending", announced_version=10), primaries=(BELIEVED_TO_WAIT,))
    now = BEGIN + timedelta(hours=1)
    step = next_evacuation_step(ending, grounds(10, is_away=False), now, watch=watched(None, ending, now))
    assert step == SwitchOver(primary=BELIEVED_TO_WAIT, may_begin=False)
