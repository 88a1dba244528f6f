"""Whatever cells there are, whatever windows say, whoever is killed where: rollouts end where they must."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from releasing.model_rollout import NEW, OLD, Killed, RunningCell, Worker, World, place

from contract.ids import CellId
from control_plane.rollouts import deciding, restoring, steps
from control_plane.rollouts.gates import idle_in
from control_plane.rollouts.model import Deployment

ZONES = ("a", "b", "c")
TURNS_MAX = 3_000


@st.composite
def worlds(draw: st.DrawFn, *, is_good: bool = False) -> World:
    count = draw(st.integers(1, 7))
    places = tuple(
        place(number, draw(st.sampled_from(ZONES)), units=draw(st.integers(0, 50))) for number in range(1, count + 1)
    )
    is_surging = draw(st.booleans())
    cells = {}
    for one in places:
        zones = tuple(draw(st.sets(st.sampled_from(ZONES), min_size=1)))
        cells[one.id] = RunningCell(zones, is_surging=is_surging)
        for zone in zones:
            if draw(st.integers(0, 9)) == 0:
                cells[one.id].images[zone] = NEW
    first = cells[places[0].id]
    first.images[next(iter(first.images))] = OLD
    if is_good:
        return World(places, cells, ["good"])
    said = draw(st.lists(st.sampled_from(["good", "good", "good", "bad", "inconclusive"]), max_size=20))
    return World(places, cells, [*said, draw(st.sampled_from(["good", "bad"]))])


def carried_out(
    world: World, *, lives: list[int] | None = None, meanwhile: dict[int, str] | None = None
) -> list[steps.Step]:
    """To its end, by workers that die after so many acts each and one that does not."""
    done: list[steps.Step] = []
    for fence, dies_after in enumerate([*(lives or []), None], start=1):
        worker = Worker(world, fence=fence, dies_after=dies_after)
        try:
            while not world.is_over:
                assert len(done) < TURNS_MAX, f"does not end: {done[-5:]}"
                if meanwhile and len(done) in meanwhile:
                    world.stop(meanwhile.pop(len(done)))
                done.append(worker.turn())
                check_only_one_group_is_under_way(world)
        except Killed:
            world.wait()
    assert world.is_over
    return done


def check_only_one_group_is_under_way(world: World) -> None:
    """In the cells themselves, not in the record."""
    home = {cell: wave.home_zone for wave in world.record.waves for cell in wave.cells}
    unsettled = world.unsettled()
    assert len({home[CellId(cell)] for cell, _ in unsettled}) <= 1, unsettled
    if not next(iter(world.cells.values())).is_surging:
        per_cell = Counter(cell for cell, _ in unsettled)
        assert all(count == 1 for count in per_cell.values()), unsettled
    if world.record.stop is None:
        assert len({zone for _, zone in unsettled}) <= 1, unsettled


def check_ended_well(world: World) -> None:
    record, images = world.record, world.images()
    back = {"failed": record.waves_passed, "cancelled": record.waves_passed, "rolled_back": 0}
    for one in record.deployments:
        is_new = record.state == "done" or one.wave < back[record.state]
        wanted = NEW if is_new else world.before[one.key]
        assert images[one.key] == wanted, (record.state, record.waves_passed, one)


@given(worlds())
def test_a_rollout_ends_with_the_release_or_with_what_was_recorded(world: World) -> None:
    carried_out(world)
    check_ended_well(world)


@given(worlds(), st.lists(st.integers(0, 25), max_size=12))
def test_a_rollout_whose_workers_are_killed_anywhere_ends_as_well(world: World, lives: list[int]) -> None:
    carried_out(world, lives=lives)
    check_ended_well(world)


@given(
    worlds(),
    st.lists(st.integers(0, 40), max_size=4),
    st.integers(0, 120),
    st.sampled_from(["cancelled", "rolled_back"]),
)
def test_a_rollout_that_is_stopped_anywhere_goes_back_as_far_as_was_ordered(
    world: World, lives: list[int], when: int, kind: str
) -> None:
    carried_out(world, lives=lives, meanwhile={when: kind})
    check_ended_well(world)
    assert world.record.stop in {None, kind, "failed"}


@given(worlds(is_good=True))
def test_every_cell_is_updated_once_and_the_first_wave_is_one_cell(world: World) -> None:
    carried_out(world)
    assert world.record.state == "done"
    assert len({(cell, zone) for cell, zone, _, _ in world.put}) == len(world.put)
    assert len(world.record.waves[0].cells) == 1
    assert [one.wave for one in world.record.deployments] == sorted(one.wave for one in world.record.deployments)


@given(worlds(), st.integers(1, 30))
def test_a_worker_that_lost_its_lease_changes_nothing_after_the_end(world: World, when: int) -> None:
    """It decided on what was true, was stopped for long, and acts when another one has ended the rollout."""
    stale = Worker(world, fence=1)
    late: steps.PutImage | None = None
    for _ in range(when):
        if world.is_over:
            return
        following = _decided(stale)
        if isinstance(following, steps.PutImage):
            late = following
            break
        stale.turn()
    if late is None:
        return
    world.stop("cancelled")
    carried_out_by_another(world)
    cell = world.cells[late.deployment.cell]
    assert not cell.put(late.deployment.zone, expected=late.expected, image=late.image, fence=1, takes=1)
    check_ended_well(world)


def carried_out_by_another(world: World) -> None:
    worker = Worker(world, fence=2)
    for _ in range(TURNS_MAX):
        if world.is_over:
            return
        worker.turn()
    raise AssertionError("does not end")


def _decided(worker: Worker) -> steps.Step:
    world = worker.world
    around = steps.Surroundings(
        cells={name: cell.seen() for name, cell in world.cells.items()},
        obstacle=None,
        fence=worker.fence,
        watched_since=worker.began_at,
    )
    return deciding.next_step(world.record, around, world.now)


def two_cells() -> World:
    cells = {CellId(f"cell-{number}"): RunningCell(("a", "b")) for number in (1, 2)}
    return World((place(1, "a", units=1), place(2, "b")), cells, ["good"])


def test_killed_at_any_act_and_cancelled_right_then_it_goes_back() -> None:
    """Also what was changed a moment before and is recorded nowhere."""
    for dies_after in range(40):
        world = two_cells()
        worker = Worker(world, fence=1, dies_after=dies_after)
        with suppress(Killed):
            while not world.is_over:
                worker.turn()
        world.stop("cancelled")
        carried_out_by_another(world)
        check_ended_well(world)


@pytest.mark.parametrize("dies_after", [None, *range(3)])
def test_stopped_while_a_zone_is_replaced_that_zone_goes_back_before_the_others(dies_after: int | None) -> None:
    """Also when whoever replaced it died before that was recorded. It was the first zone that went back first."""
    world = World((place(1, "b"),), {CellId("cell-1"): RunningCell(("a", "b"))}, ["good"])
    worker = Worker(world, fence=1)
    while len(world.put) < 1 or world.unsettled():
        worker.turn()
    mortal = Worker(world, fence=1, dies_after=dies_after)
    with suppress(Killed):
        while not world.unsettled():
            mortal.turn()
    world.stop("cancelled")
    carried_out(world)
    check_ended_well(world)


# Mutants: without each of these the tests above must fail, or they prove nothing.


def every_zone_at_once(wave: list[Deployment]) -> list[Deployment]:
    return [one for one in wave if one.state == "waiting"]


def nothing_is_shut_out(deployment: object, zone: object, around: object) -> None:
    return None


_RESTORE = restoring._restore


def nobody_looks_at_what_runs(
    rollout: object, deployment: Deployment, around: object, now: object
) -> steps.Step | None:
    """The record alone is believed: what was changed and not recorded stays as it is."""
    return None if deployment.state == "waiting" else _RESTORE(rollout, deployment, around, now)


@pytest.mark.parametrize(
    ("module", "name", "mutant", "test"),
    [
        (deciding, "_next_of", every_zone_at_once, test_a_rollout_ends_with_the_release_or_with_what_was_recorded),
        (restoring, "_shut_out", nothing_is_shut_out, test_a_worker_that_lost_its_lease_changes_nothing_after_the_end),
        (
            restoring,
            "_restore",
            nobody_looks_at_what_runs,
            test_killed_at_any_act_and_cancelled_right_then_it_goes_back,
        ),
    ],
    ids=["all-zones-at-once", "no-fence", "record-alone"],
)
def test_a_mutant_is_found(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, mutant: object, test: Callable[[], None]
) -> None:
    monkeypatch.setattr(module, name, mutant)
    with pytest.raises(BaseException) as found:
        test()
    told = found.value.exceptions[0] if isinstance(found.value, BaseExceptionGroup) else found.value
    assert isinstance(told, AssertionError), told


def test_a_foreign_image_is_never_overwritten() -> None:
    """On the way forward and on the way back."""
    foreign = "registry.example/cell@sha256:" + "9" * 64
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    cells[CellId("cell-1")].images["a"] = foreign
    worker = Worker(world, fence=1)
    for _ in range(30):
        step = worker.turn()
    assert isinstance(step, steps.Wait)
    assert step.reason == "image_must_be_the_recorded_one"
    world.stop("cancelled")
    for _ in range(30):
        if world.is_over:
            break
        worker.turn()
    assert world.record.state == "cancelled"
    assert cells[CellId("cell-1")].images == {"a": foreign, "b": OLD}


def test_a_release_that_does_not_become_ready_goes_back_from_its_first_zone() -> None:
    cells = {CellId(f"cell-{number}"): RunningCell(("a", "b")) for number in (1, 2)}
    cells[CellId("cell-1")].broken_images = {NEW}
    world = World((place(1, "a", units=1), place(2, "b")), cells, ["good"])
    carried_out(world)
    assert (world.record.state, world.record.reason) == ("failed", "processes_must_become_ready")
    assert [(cell, zone, image) for cell, zone, _, image in world.put] == [("cell-1", "b", NEW), ("cell-1", "b", OLD)]


def test_a_paused_rollout_changes_nothing_and_goes_on_when_it_is_resumed() -> None:
    cells = {CellId(f"cell-{number}"): RunningCell(("a", "b")) for number in (1, 2)}
    world = World((place(1, "a", units=1), place(2, "b")), cells, ["good"])
    worker = Worker(world, fence=1)
    while not world.put:
        worker.turn()
    world.record = replace(world.record, is_paused=True)
    for _ in range(50):
        worker.turn()
    assert len(world.put) == 1
    assert world.record.deployments[0].state == "settled", "what was begun came to its end"
    world.record = replace(world.record, is_paused=False)
    carried_out(world)
    assert world.record.state == "done"


def test_an_evacuation_holds_a_rollout_even_in_the_middle_of_a_wave() -> None:
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    worker = Worker(world, fence=1)
    while not world.put:
        worker.turn()
    world.grounds = replace(world.grounds, evacuated_zones=("b",))
    for _ in range(20):
        step = worker.turn()
    assert isinstance(step, steps.Wait)
    assert step.reason == "evacuation_must_have_ended"
    assert len(world.put) == 1


def closed_in_the_middle() -> tuple[World, str]:
    """A zone is evacuated while a deployment there is being replaced, for longer than any patience."""
    world = World((place(1, "a"),), {CellId("cell-1"): RunningCell(("a", "b"), is_surging=True)}, ["good"])
    cell, worker = world.cells[CellId("cell-1")], Worker(world, fence=1)
    while not world.put:
        worker.turn()
    zone = world.put[0][1]
    cell.unsettled[zone] = 1_000_000
    cell.given_up = {zone}
    world.grounds = replace(world.grounds, evacuated_zones=(zone,))
    for _ in range(100):
        step = worker.turn()
    assert isinstance(step, steps.Wait)
    assert step.reason == "evacuation_must_have_ended"
    world.grounds = replace(world.grounds, evacuated_zones=(), zones_back_at={zone: world.now})
    for _ in range(10):
        step = worker.turn()
    assert isinstance(step, steps.Wait), "its time begins anew"
    assert world.record.stop is None
    return world, zone


def test_a_zone_that_is_closed_in_the_middle_is_no_fault_of_the_release() -> None:
    world, zone = closed_in_the_middle()
    cell = world.cells[CellId("cell-1")]
    cell.unsettled[zone], cell.given_up = 1, set()
    carried_out(world)
    assert world.record.state == "done"


def test_what_does_not_become_ready_after_its_zone_was_opened_again_is() -> None:
    world, _ = closed_in_the_middle()
    carried_out(world)
    assert (world.record.state, world.record.reason) == ("failed", "processes_must_become_ready")
    check_ended_well(world)


def test_books_that_do_not_balance_take_the_wave_back() -> None:
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    world.books_balance = False
    carried_out(world)
    assert (world.record.state, world.record.reason) == ("failed", "ledger_must_be_whole")
    assert set(cells[CellId("cell-1")].images.values()) == {OLD}


def while_baking(worker: Worker) -> None:
    while worker.world.record.state != "baking":
        worker.turn()


def test_a_wave_that_does_not_run_the_release_any_more_does_not_pass_however_well_it_does() -> None:
    """An upgrade of a chart with the former digest, say: what is watched then is not the release."""
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    worker = Worker(world, fence=1)
    while_baking(worker)
    cells[CellId("cell-1")].images["a"] = OLD
    for _ in range(100):
        worker.turn()
    assert world.record.state == "baking"
    assert {one.verdict for one in world.record.windows} == {"inconclusive"}
    assert "was told by somebody else" in world.record.windows[-1].detail
    cells[CellId("cell-1")].images["a"] = NEW
    carried_out(world)
    assert world.record.state == "done"


def test_what_was_changed_after_its_good_windows_is_not_passed() -> None:
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    worker = Worker(world, fence=1)
    while_baking(worker)
    while len(world.record.windows) < world.record.policy.windows_good:
        worker.turn()
    cells[CellId("cell-1")].images["b"] = OLD
    for _ in range(30):
        step = worker.turn()
    assert isinstance(step, steps.Wait)
    assert step.reason == "image_must_be_the_recorded_one"
    assert world.record.state == "baking"


def test_processes_that_are_missing_are_no_health() -> None:
    """They give no figures; those that are left may do well."""
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    worker = Worker(world, fence=1)
    while_baking(worker)
    cells[CellId("cell-1")].broken_images = {NEW}
    for _ in range(100):
        worker.turn()
    assert world.record.state == "baking"
    assert not [one for one in world.record.windows if one.verdict == "good"]


@pytest.mark.parametrize("state", ["planned", "updating", "baking", "rolling_back"])
def test_a_cell_that_is_retired_meanwhile_holds_nobody_up(state: str) -> None:
    """Neither the way on nor the way back: nothing runs of it, and nobody will ever see it again."""
    first, second = CellId("cell-1"), CellId("cell-2")
    cells = {first: RunningCell(("a", "b")), second: RunningCell(("a", "b"))}
    world = World((place(1, "a", units=1), place(2, "b")), cells, ["good"])
    worker = Worker(world, fence=1)
    while (world.record.wave, world.record.state) != (1, "planned"):
        worker.turn()
    if state == "rolling_back":
        world.stop("rolled_back")
    while world.record.state != state:
        worker.turn()
    cells[second].is_reachable = False
    world.grounds = replace(world.grounds, states={first: "active", second: "retired"})
    carried_out(world)
    assert world.record.state == ("rolled_back" if state == "rolling_back" else "done")
    assert set(cells[first].images.values()) == {OLD if state == "rolling_back" else NEW}


def test_what_does_not_come_back_is_told_what_it_ran_and_then_left() -> None:
    """As long as a rollout is open no other release can be ordered, and that may be what is needed."""
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    worker = Worker(world, fence=1)
    while_baking(worker)
    cells[CellId("cell-1")].broken_images = {OLD}
    world.stop("cancelled")
    carried_out(world)
    assert world.record.state == "cancelled"
    assert set(cells[CellId("cell-1")].images.values()) == {OLD}
    assert {one.state for one in world.record.deployments} == {"restoring"}


def test_a_migration_that_failed_under_an_earlier_order_is_tried_again_once() -> None:
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    cells[CellId("cell-1")].preparation = "failed"
    world = World((place(1, "a"),), cells, ["good"])
    carried_out(world)
    assert world.record.state == "done"


def test_a_migration_that_fails_under_this_order_stops_it() -> None:
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    cells[CellId("cell-1")].preparation = "failed"
    cells[CellId("cell-1")].migrations_that_fail = 1
    world = World((place(1, "a"),), cells, ["good"])
    done = carried_out(world)
    assert (world.record.state, world.record.reason) == ("failed", "schema_must_be_migrated")
    assert len([one for one in done if isinstance(one, steps.Prepare)]) == 1


def test_of_a_cell_that_was_drained_since_the_order_no_traffic_is_expected() -> None:
    """It would hold the rollout for ever."""
    world = two_cells()
    assert idle_in(world.record, world.grounds) == frozenset()
    emptied = replace(world.grounds, states={**world.grounds.states, CellId("cell-1"): "empty"})
    assert idle_in(world.record, emptied) == {"cell-1"}
    assert idle_in(replace(world.record, idle_cells=frozenset({CellId("cell-2")})), emptied) == {"cell-1", "cell-2"}


def test_a_zone_that_was_taken_away_meanwhile_does_not_hold_the_way_back_up() -> None:
    """A chart with fewer zones, say, or a namespace that is gone: nothing runs there that was found bad."""
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    worker = Worker(world, fence=1)
    while_baking(worker)
    world.stop("cancelled")
    del cells[CellId("cell-1")].images["b"]
    carried_out(world)
    assert world.record.state == "cancelled"
    assert cells[CellId("cell-1")].images == {"a": OLD}


def test_the_way_back_begins_with_the_zone_that_is_short_already() -> None:
    """Where processes are replaced in place, the other zone would be short as well, and nobody would answer."""
    cells = {CellId("cell-1"): RunningCell(("a", "b"))}
    world = World((place(1, "a"),), cells, ["good"])
    worker = Worker(world, fence=1)
    while len(world.put) < 2:
        worker.turn()
    assert world.unsettled() == [("cell-1", "a")]
    world.stop("cancelled")
    carried_out(world)
    assert [(zone, image) for _, zone, _, image in world.put] == [("b", NEW), ("a", NEW), ("a", OLD), ("b", OLD)]
