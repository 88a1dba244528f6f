"""The mover's own code against two model cells: the good way, and every way that leads back."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from moving.move_world import MoveWorld

from control_plane.moves.deciding import _converging
from control_plane.moves.policy import MovePolicy
from control_plane.moves.steps import CopyPass, Pass, Stop

NewWorld = Callable[..., MoveWorld]
W = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def new_world() -> Iterator[NewWorld]:
    made: list[MoveWorld] = []

    def make(*wallets: int, **named: object) -> MoveWorld:
        made.append(MoveWorld(wallets, **named))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def only_once(verb: str, fault: str) -> Callable[[str], str]:
    left = [fault]
    return lambda asked: left.pop() if asked == verb and left else "none"


def ended(world: MoveWorld) -> str:
    world.work()
    world.check_ended()
    return world.moves.move.state


def test_units_with_and_without_wallets_arrive(new_world: NewWorld) -> None:
    world = new_world(0, 2, 0, 5, 0)
    assert ended(world) == "done"
    assert [unit.portion for unit in world.moves.move.units] == [1, 2, 1, 3, 1], "empty ones together, then one by one"
    assert all(unit.result == "moved" and unit.grant for unit in world.moves.move.units)
    assert world.moves.move.copied_rows == 14


def test_empty_units_are_taken_in_bounded_portions(new_world: NewWorld) -> None:
    world = new_world(*[0] * 7, policy=MovePolicy(portion_max=3))
    assert ended(world) == "done"
    assert [unit.portion for unit in world.moves.move.units] == [1, 1, 1, 2, 2, 2, 3]


def test_nothing_is_written_between_the_fence_and_the_activation_but_the_agreement_and_the_grant(
    new_world: NewWorld,
) -> None:
    world = new_world(1)
    assert ended(world) == "done"
    calls = world.cells.calls
    pause = calls[calls.index("fence") : calls.index("activate") + 1]
    assert pause == ["fence", "versions", "positions", "rows", "rows", "seal", "grant", "activate"]


def test_what_is_written_during_the_copy_travels_too(new_world: NewWorld) -> None:
    world = new_world(1)
    world.cells.beside = lambda verb: world.write(0, W, 7) if verb in {"rows", "positions", "survey"} else None
    assert ended(world) == "done"
    assert len(world.target.units[0].wallets[W]) > 2


def test_a_wallet_that_is_opened_in_an_empty_unit_is_not_left_behind(new_world: NewWorld) -> None:
    world = new_world(0, 0)
    world.cells.beside = lambda verb: world.write(1, W, 7) if verb == "stage" else None
    assert ended(world) == "done"
    assert world.target.units[1].wallets[W] == world.written[1][W]


def test_a_busy_lock_costs_a_wait_and_no_move(new_world: NewWorld) -> None:
    world = new_world(1)
    world.source.busy_locks = 4
    assert ended(world) == "done"
    assert world.cells.calls.count("fence") == 5


def test_a_lock_that_is_never_free_ends_the_move_where_it_began(new_world: NewWorld) -> None:
    world = new_world(1)
    world.source.busy_locks = 1_000
    assert ended(world) == "aborted"
    assert world.moves.move.reason == "attempts_must_succeed"


def test_a_unit_that_does_not_converge_is_left_without_a_fence(new_world: NewWorld) -> None:
    world = new_world(1, policy=MovePolicy(converged_ms=0.0, bearable_ms=0.0))
    assert ended(world) == "aborted"
    assert world.moves.move.reason == "unit_must_converge"
    assert "fence" not in world.cells.calls


def test_a_slow_machine_is_no_reason_to_stay(new_world: NewWorld) -> None:
    """Every pass takes longer than it should, and carries next to nothing."""
    world = new_world(1, policy=MovePolicy(converged_ms=0.0))
    assert ended(world) == "done"
    assert world.cells.calls.count("seal") == 1


@pytest.mark.parametrize(
    ("rows", "ms", "is_bearable"), [(51, 499.0, True), (51, 500.0, False), (50, 999.0, True), (50, 1_000.0, False)]
)
def test_of_little_that_is_left_more_time_is_borne(rows: int, ms: float, *, is_bearable: bool) -> None:
    passes = [Pass(unit=1, rows=10_000, ms=900.0)] + [Pass(unit=1, rows=rows, ms=ms)] * 5
    assert (_converging(1, passes, MovePolicy()) is None) == is_bearable


@pytest.mark.parametrize(
    ("count", "ms", "next_step"), [(5, 4_999.0, CopyPass), (5, 5_000.0, Stop), (19, 501.0, CopyPass), (20, 501.0, Stop)]
)
def test_a_busy_machine_is_given_time_and_a_unit_that_outpaces_the_copy_is_not(
    count: int, ms: float, next_step: type[CopyPass | Stop]
) -> None:
    passes = [Pass(unit=1, rows=10_000, ms=900.0)] + [Pass(unit=1, rows=1_000, ms=ms)] * count
    assert isinstance(_converging(1, passes, MovePolicy()), next_step)


def test_rows_that_arrive_wrong_are_found_and_told(new_world: NewWorld) -> None:
    world = new_world(1, 1)
    world.target.breaks_rows = True
    assert ended(world) == "quarantined"
    assert world.moves.move.reason == "digests_must_match"
    assert world.moves.move.difference is not None
    assert world.source.units[0].state == "active"
    assert "grant" not in world.cells.calls


@pytest.mark.parametrize("verb", ["stage", "rows", "fence", "versions", "seal", "grant", "activate", "tombstone"])
@pytest.mark.parametrize("fault", ["lost", "answer_lost", "twice", "killed_before", "killed_after"])
def test_one_fault_anywhere_changes_nothing_in_the_end(new_world: NewWorld, verb: str, fault: str) -> None:
    world = new_world(2, 0)
    world.cells.fault = only_once(verb, fault)
    world.work()
    assert ended(world) == "done"


def test_the_watchdog_before_the_grant_costs_a_fence(new_world: NewWorld) -> None:
    world = new_world(1)
    seen: list[str] = []

    def beside(verb: str) -> None:
        if verb == "grant" and verb not in seen:
            seen.append(verb)
            world.source.watchdog()
            world.write(0, W, 9)

    world.cells.beside = beside
    assert ended(world) == "done"
    assert world.cells.calls.count("grant") == 2
    assert world.target.units[0].wallets[W][-1] == 9


def test_a_mover_that_comes_back_with_an_old_seal_is_refused(new_world: NewWorld) -> None:
    """Between its seal and its grant the watchdog came, a vendor wrote, and another mover fenced again."""
    world = new_world(1)
    world.cells.fault = only_once("grant", "killed_before")
    world.work()
    world.source.watchdog()
    world.write(0, W, 9)
    assert ended(world) == "done"
    assert world.moves.move.units[0].fence_no == 2


def test_a_cancelled_move_gives_everything_back(new_world: NewWorld) -> None:
    world = new_world(1, 1)
    world.work(until=lambda _: "stage" in world.cells.calls)
    world.moves.move = replace(world.moves.move, stop="cancelled")
    assert ended(world) == "cancelled"
    assert world.target.units == {}


def test_a_cancel_between_portions_keeps_what_has_arrived(new_world: NewWorld) -> None:
    world = new_world(1, 1)
    world.work(until=lambda _: "tombstone" in world.cells.calls)
    world.moves.move = replace(world.moves.move, stop="cancelled")
    assert ended(world) == "cancelled"
    assert [world.source.units[number].state for number in (0, 1)] == ["moved", "active"]


def test_a_target_that_asked_for_the_grant_itself_is_found_serving(new_world: NewWorld) -> None:
    world = new_world(1)
    world.cells.fault = only_once("grant", "killed_after")
    world.work()
    world.target.ask_for_grant(0, world.source)
    assert world.target.units[0].state == "active"
    assert ended(world) == "done"


def test_rows_that_come_late_cost_a_seal_and_not_the_unit(new_world: NewWorld) -> None:
    """A request of an earlier attempt was still on its way: it reaches the target between the grant and its activation.

    Nothing leads back from the grant, so the target is brought up to the source once more, and seals once more.
    """
    world = new_world(1)
    late = [0]

    def beside(verb: str) -> None:
        if verb == "activate" and late:
            late.pop()
            world.target.units[0].state, world.target.units[0].digest = "staging", None

    world.cells.beside = beside
    assert ended(world) == "done"
    after_the_grant = world.cells.calls[world.cells.calls.index("activate") :]
    assert after_the_grant.count("activate") == 2
    assert after_the_grant.count("seal") == 1
    assert "fence" not in after_the_grant


def test_a_unit_that_was_sealed_again_and_fetched_its_grant_is_found_serving(new_world: NewWorld) -> None:
    """The same, and the target seals by another mover's hand and activates by itself meanwhile."""
    world = new_world(1)
    left = ["void", "serves"]

    def beside(verb: str) -> None:
        if verb == "activate" and left == ["void", "serves"]:
            left.remove("void")
            world.target.units[0].state = "staging"
        elif verb == "versions" and left == ["serves"]:
            left.clear()
            grant = world.source.units[0].grant
            assert grant is not None
            unit = world.target.units[0]
            unit.state, unit.fence_no, unit.digest = "staged", grant.fence_no, grant.digest
            world.target.ask_for_grant(0, world.source)

    world.cells.beside = beside
    assert ended(world) == "done"


def test_a_record_that_was_restored_from_before_the_grant_goes_forward(new_world: NewWorld) -> None:
    world = new_world(1)
    world.work(until=lambda _: bool(world.moves.move.in_hand))
    before = world.moves.move
    world.cells.fault = only_once("activate", "killed_before")
    world.work()
    world.moves.move = before
    assert ended(world) == "done"


def test_routers_are_waited_for_before_anything_is_staged(new_world: NewWorld) -> None:
    world = new_world(1)
    world.moves.router_lag = 500
    world.work(until=lambda _: world.moves.router_lag == 0)
    assert "stage" not in world.cells.calls
    assert ended(world) == "done"


def test_a_target_that_stops_being_active_gets_nothing(new_world: NewWorld) -> None:
    world = new_world(1)
    world.moves.target_state = "draining"
    assert ended(world) == "aborted"
    assert world.moves.move.reason == "target_cell_must_be_active"
    assert world.cells.calls == ["survey"] * 3
