"""What every plan of moves must be, whatever the fleet is like; and that planners which are not are found out."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from fleet_world import NOON
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_fleets import after, done, small_fleet
from planner_mutants import Planner, mutant_planner, planner_of

from contract.ids import CellId
from contract.slots import SLOTS
from control_plane.fleet import ordering, rebalancing
from control_plane.fleet.board import SPREAD_MAX
from control_plane.fleet.ordering import MOVES_PER_CELL_MAX
from control_plane.fleet.placing import Picture, scores, slots_of

SEEDS = st.integers(0, 2**32)
MUTANT_SEEDS = range(100)
"""In this order until one finds the mutant; most are found by one of the first ten."""
TINY = 1e-6

REAL = planner_of(rebalancing, ordering)
Check = Callable[[Planner, Picture], None]


def no_unit_moves_twice(planner: Planner, picture: Picture) -> None:
    moves = planner.rebalancing(picture, relief="ordered").moves
    counts = Counter(unit for move in moves for unit in move.units)
    assert not [unit for unit, count in counts.items() if count > 1]
    assert all(move.from_cell != move.to_cell for move in moves)


def what_is_held_back_stays(planner: Planner, picture: Picture) -> None:
    moves = planner.rebalancing(picture, relief="ordered").moves
    assert not {unit for move in moves for unit in move.units} & picture.held_back.keys()


def what_has_moved_rests(planner: Planner, picture: Picture) -> None:
    """Only orders about its cell move it again so soon."""
    moves = planner.rebalancing(picture, relief="automatic").moves
    relieving = [move for move in moves if move.cause in {"ceiling", "spread"}]
    named = {unit for move in relieving for unit in (*move.units, move.unit_of_wallet)}
    assert not named & picture.resting.keys()


def no_cell_is_overfilled(planner: Planner, picture: Picture) -> None:
    plan = planner.rebalancing(picture, relief="ordered")
    before, later = scores(picture), scores(after(picture, plan.moves))
    receivers = {move.to_cell for move in plan.moves}
    assert all(later[cell] <= max(_ceiling(picture, cell), before[cell]) + TINY for cell in receivers)
    assert all(later[cell] <= before[cell] + TINY for cell in later if cell not in receivers)


def a_plan_that_was_done_is_followed_by_none(planner: Planner, picture: Picture) -> None:
    """Neither the same again nor anything back: also while it is done one portion after the other."""
    steps = 0
    moves = planner.rebalancing(picture, relief="ordered").moves
    while moves:
        picture = done(after(picture, moves))
        following = planner.rebalancing(picture, relief="ordered").moves
        back = {(unit, move.to_cell) for move in following for unit in move.units}
        assert not back & {(unit, move.from_cell) for move in moves for unit in move.units}
        moves, steps = following, steps + 1
        assert steps <= 4, "resettling, evening out of slots, relief, then nothing"


def every_move_of_a_relief_is_needed(planner: Planner, picture: Picture) -> None:
    """Without any one of them the cell that gives it would still carry too much."""
    quiet = _settled(picture)
    moves = planner.rebalancing(quiet, relief="automatic").moves
    singles = [replace(move, units=(unit,)) for move in moves for unit in move.units]
    singles += [move for move in moves if move.wallet_id is not None]
    for left_out in singles[:20]:
        rest = tuple(move for move in singles if move is not left_out)
        assert scores(after(quiet, rest))[left_out.from_cell] > _level(quiet, left_out.from_cell) - TINY


def one_unit_that_is_enough_is_the_lightest_such(planner: Planner, picture: Picture) -> None:
    quiet = replace(_settled(picture), hot_wallets=())
    moves = planner.rebalancing(quiet, relief="automatic").moves
    given = Counter(move.from_cell for move in moves for _ in move.units)
    for move in moves:
        if given[move.from_cell] == 1:
            holder = next(one for one in quiet.holders if one.cell == move.from_cell)
            kept = (quiet.held_back.keys() | quiet.resting.keys()) | set(move.units)
            (moved,) = (quiet.load_of(unit).rate_per_s for unit in move.units)
            lighter = [
                replace(move, units=(unit,))
                for unit in holder.units
                if unit in quiet.loads and unit not in kept and quiet.load_of(unit).rate_per_s < moved
            ]
            for instead in lighter:
                others = tuple(one for one in moves if one is not move)
                score = scores(after(quiet, (*others, instead)))[move.from_cell]
                assert score > _level(quiet, move.from_cell) - TINY, "a lighter one would have been enough"


def who_carries_a_fair_part_is_left_alone(planner: Planner, picture: Picture) -> None:
    quiet = _settled(picture)
    before, mean = scores(quiet), _mean(quiet)
    for move in planner.rebalancing(quiet, relief="automatic").moves:
        score = before[move.from_cell]
        assert score > _ceiling(quiet, move.from_cell) - TINY or score > mean * (1 + SPREAD_MAX) - TINY


def relief_waits_for_fills_and_drains(planner: Planner, picture: Picture) -> None:
    is_resettling = any(one.is_filling or (one.role == "gives" and one.units) for one in picture.holders)
    moves = planner.rebalancing(picture, relief="automatic").moves
    assert not (is_resettling and [move for move in moves if move.cause in {"ceiling", "spread"}])


def a_peak_moves_nothing_without_an_order(planner: Planner, picture: Picture) -> None:
    for minutes in (0, 5, 9):
        is_due, _ = planner.automatic(picture, burdened_since=NOON, now=NOON + timedelta(minutes=minutes))
        assert not is_due


def no_cell_takes_part_in_more_moves_than_it_bears(planner: Planner, picture: Picture) -> None:
    plan = planner.rebalancing(picture, relief="ordered")
    for busy in (0, 1):
        now = planner.ordered_now(plan.moves, picture, Counter({one.cell: busy for one in picture.holders}))
        taking_part = Counter(cell for move in now.orders for cell in (move.from_cell, move.to_cell))
        assert all(count + busy <= MOVES_PER_CELL_MAX for count in taking_part.values())


CHECKS: tuple[Check, ...] = (
    no_unit_moves_twice,
    what_is_held_back_stays,
    what_has_moved_rests,
    no_cell_is_overfilled,
    a_plan_that_was_done_is_followed_by_none,
    every_move_of_a_relief_is_needed,
    one_unit_that_is_enough_is_the_lightest_such,
    who_carries_a_fair_part_is_left_alone,
    relief_waits_for_fills_and_drains,
    a_peak_moves_nothing_without_an_order,
    no_cell_takes_part_in_more_moves_than_it_bears,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_every_plan(check: Check, seed: int) -> None:
    check(REAL, small_fleet(seed))


RELIEF = """\
        room = max((board.room(cell, up_to=level) for cell in others), default=0.0)
        chosen = _chosen(pieces, excess, room)
        target = coldest(board, others, weight=chosen.weight, up_to=level) if chosen else None
"""
MUTANTS: dict[str, tuple[str, str, str, Check]] = {
    "has no hysteresis": (
        "board",
        "if unit not in self.picture.resting]",
        "]",
        what_has_moved_rests,
    ),
    "ignores the ceiling": (
        "board",
        "level = ceiling if up_to is None else min(ceiling, up_to)",
        "level = 1e9 if up_to is None else up_to",
        no_cell_is_overfilled,
    ),
    "moves what is held back": (
        "board",
        "self.units[holder.cell] - self._moved - self.picture.held_back.keys()",
        "self.units[holder.cell] - self._moved",
        what_is_held_back_stays,
    ),
    "moves a unit twice": (
        "board",
        "self.units[holder.cell] - self._moved - self.picture.held_back.keys()",
        "(self.units[holder.cell] | self._moved) - self.picture.held_back.keys()",
        no_unit_moves_twice,
    ),
    "takes the largest instead of the smallest": (
        "relief",
        "        return pieces[enough]\n",
        "        return [piece for piece in pieces if piece.weight <= room][-1]\n",
        one_unit_that_is_enough_is_the_lightest_such,
    ),
    "takes the smallest ones first": (
        "relief",
        "    enough = bisect_left(pieces, excess, key=_weight)\n",
        "    enough = bisect_left(pieces, SLACK, key=_weight)\n",
        every_move_of_a_relief_is_needed,
    ),
    "tolerates no spread": (
        "relief",
        "elif mean > 0 and score > mean * (1 + SPREAD_MAX) + SLACK:",
        "elif mean > 0 and score > mean * (1 + SPREAD_MAX / 2) + SLACK:",
        who_carries_a_fair_part_is_left_alone,
    ),
    "gives to cells above the level": (
        "relief",
        RELIEF,
        "        chosen = _chosen(pieces, excess, 1e9)\n        target = others[0] if chosen and others else None\n",
        a_plan_that_was_done_is_followed_by_none,
    ),
    "relieves while cells are filled or drained": (
        "rebalancing",
        '_placement_first() if is_resettling else _relieved(board, evens_slots=relief == "ordered")',
        'relieve(board) if is_resettling else _relieved(board, evens_slots=relief == "ordered")',
        relief_waits_for_fills_and_drains,
    ),
    "follows every peak": (
        "rebalancing",
        "    if lasted < IMBALANCE_LASTS:\n",
        "    if lasted < timedelta():\n",
        a_peak_moves_nothing_without_an_order,
    ),
    "orders everything at once": (
        "ordering",
        "        taken.update(cells)\n",
        "",
        no_cell_takes_part_in_more_moves_than_it_bears,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planner_that_is_wrong_is_found_out(name: str) -> None:
    module, was, becomes, check = MUTANTS[name]
    with mutant_planner(module, was, becomes) as planner:
        assert any(_finds(check, planner, seed) for seed in MUTANT_SEEDS), f"nobody notices that it {name}"


def test_the_copied_planner_is_the_real_one_where_nothing_was_replaced() -> None:
    """So that a mutant is found for what it does, and not for being a copy."""
    with mutant_planner("relief", "SLACK = 1e-9", "SLACK = 1e-9") as planner:
        for check, seed in product(CHECKS, range(2)):
            check(planner, small_fleet(seed))


def _finds(check: Check, planner: Planner, seed: int) -> bool:
    try:
        check(planner, small_fleet(seed))
    except AssertionError:
        return True
    return False


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_done_in_portions_it_comes_to_rest_with_even_shares(seed: int) -> None:
    """As the reconciler does it: a few portions at a time, planned anew after each."""
    picture = small_fleet(seed)
    free = replace(picture, held_back={}, loads={}, hot_wallets=())
    for _ in range(400):
        plan = REAL.rebalancing(free, relief="none")
        now = REAL.ordered_now(plan.moves, free, Counter())
        if not now.orders:
            break
        free = done(after(free, now.orders))
    takers = [len(slots_of(one.units)) for one in free.holders if one.role == "takes"]
    assert sum(takers) == SLOTS
    assert not any(one.is_filling for one in free.holders)
    if any(one.is_filling for one in picture.holders) or any(one.role == "gives" for one in picture.holders):
        assert max(takers) - min(takers) <= 1


def _settled(picture: Picture) -> Picture:
    """Nobody is being filled or drained."""
    takers = (replace(one, is_filling=False) for one in picture.holders if one.role == "takes")
    return replace(picture, holders=tuple(takers))


def _level(picture: Picture, cell: CellId) -> float:
    return min(_mean(picture) * (1 + SPREAD_MAX / 2), _ceiling(picture, cell))


def _mean(picture: Picture) -> float:
    found = scores(picture)
    return sum(found.values()) / len(found)


def _ceiling(picture: Picture, cell: CellId) -> float:
    holder = next(one for one in picture.holders if one.cell == cell)
    return holder.ceiling if holder.limit_per_s else float("inf")
