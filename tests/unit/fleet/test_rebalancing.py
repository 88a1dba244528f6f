"""What moves where: never too much into a cell, never back and forth, as few units as are needed, and why no others."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from fleet_world import NOON
from planned_fleets import after, certified, fleet

from contract.ids import CellId
from contract.slots import SLOTS
from control_plane.fleet.board import Cause, PlannedMove
from control_plane.fleet.ordering import LOADED_UNITS_MAX, MOVES_PER_CELL_MAX, ordered_now, portions
from control_plane.fleet.placing import Held, HotWallet, Picture, UnitLoad, scores, slots_of
from control_plane.fleet.reasons import WaitReason
from control_plane.fleet.rebalancing import IMBALANCE_LASTS, automatic, is_burdened, rebalancing


def reasons(picture: Picture, *, relief: str = "ordered") -> set[tuple[WaitReason, str]]:
    return {(one.reason, one.subject) for one in rebalancing(picture, relief=relief).waiting}


def test_a_fourth_cell_gets_a_quarter_and_nobody_else_gets_anything() -> None:
    picture = fleet("a", "b", "c", newcomers=("d",))
    plan = rebalancing(picture, relief="none")
    assert {move.to_cell for move in plan.moves} == {"d"}
    assert sorted(len(move.units) for move in plan.moves) == [1365, 1365, 1366]
    assert [len(slots_of(holder.units)) for holder in after(picture, plan.moves).holders] == [4096] * 4


def test_the_seventeenth_cell_moves_964_slots_at_most() -> None:
    picture = fleet(*(f"c{number:02}" for number in range(16)), newcomers=("new",))
    moved = sum(len(move.units) for move in rebalancing(picture, relief="none").moves)
    assert SLOTS // 17 <= moved <= 964


def test_what_fills_a_cell_are_stretches_and_the_map_stays_short() -> None:
    picture = fleet("a", "b", "c", newcomers=("d",))
    for move in rebalancing(picture, relief="none").moves:
        assert list(move.units) == list(range(move.units[0], move.units[-1] + 1))


def test_a_filled_cell_gets_its_share_of_the_load_too() -> None:
    loads = {unit: UnitLoad(wallets=1, rate_per_s=9.0 if unit < 1000 else 1.0) for unit in range(0, SLOTS, 4)}
    picture = fleet("a", "b", "c", newcomers=("d",), loads=loads)
    settled = after(picture, rebalancing(picture, relief="none").moves)
    assert scores(settled)["d"] == pytest.approx(1.0, abs=0.2)


def test_a_cell_that_leaves_gives_everything_to_those_who_lack_most() -> None:
    picture = fleet("a", "b", "c", leaving=("d",))
    settled = after(picture, rebalancing(picture, relief="none").moves)
    assert [len(holder.units) for holder in settled.holders] == [5462, 5461, 5461, 0]
    assert rebalancing(settled, relief="none").moves == ()


def test_empty_slots_of_a_leaving_cell_go_to_burdened_cells_too() -> None:
    loads = {unit: UnitLoad(wallets=1, rate_per_s=1.0) for unit in range(20)}
    picture = fleet("a", "b", leaving=("c",), loads=loads)
    settled = after(picture, rebalancing(picture, relief="none").moves)
    assert [len(holder.units) for holder in settled.holders] == [8192, 8192, 0]


def test_the_last_cell_has_nowhere_to_drain_to() -> None:
    picture = fleet(leaving=("a",))
    assert rebalancing(picture, relief="none").moves == ()
    assert (WaitReason.ANOTHER_CELL_MUST_BE_ACTIVE, "a") in reasons(picture)


def test_a_drain_stops_at_the_ceilings_of_the_others() -> None:
    loads = {unit: UnitLoad(wallets=1, rate_per_s=0.1) for unit in range(SLOTS)}
    picture = certified(fleet("a", leaving=("b",), loads=loads))
    plan = rebalancing(picture, relief="none")
    assert plan.moves == (), "a is above its ceiling already"
    assert (WaitReason.TARGET_MUST_HAVE_ROOM, "b") in reasons(picture)


def test_an_order_evens_out_slots_where_one_cell_has_clearly_fewer() -> None:
    picture = fleet("a", "b", newcomers=("c",))
    settled = replace(picture, holders=tuple(replace(one, is_filling=False) for one in picture.holders))
    plan = rebalancing(settled, relief="ordered")
    assert {(move.to_cell, move.cause) for move in plan.moves} == {("c", Cause.SPREAD)}
    assert rebalancing(settled, relief="automatic").moves == ()


def test_a_little_traffic_is_no_reason_to_move_anything() -> None:
    few = {unit: UnitLoad(wallets=1, rate_per_s=0.05) for unit in range(20)}
    assert rebalancing(fleet("a", "b", loads=few), relief="ordered").moves == ()
    many = {unit: UnitLoad(wallets=1, rate_per_s=0.5) for unit in range(20)}
    assert rebalancing(fleet("a", "b", loads=many), relief="ordered").moves != ()


def test_an_even_fleet_is_left_alone_and_says_so() -> None:
    assert reasons(fleet("a", "b")) == {(WaitReason.IMBALANCE_MUST_EXCEED_TOLERANCE, "fleet")}


def test_relief_waits_until_cells_are_filled_and_drained() -> None:
    assert (WaitReason.PLACEMENT_MUST_BE_DONE_FIRST, "rebalancing") in reasons(fleet("a", newcomers=("b",)))


def test_nothing_is_weighed_before_every_cell_has_told_its_loads() -> None:
    picture = fleet("a", "b")
    unknown = replace(picture, holders=(replace(picture.holders[0], is_known=False), picture.holders[1]))
    assert (WaitReason.LOADS_MUST_BE_KNOWN, "a") in reasons(unknown)


def test_one_unit_that_is_enough_is_all_that_moves() -> None:
    loads = {unit: UnitLoad(wallets=1, rate_per_s=10.0) for unit in range(60)} | {
        100: UnitLoad(wallets=1, rate_per_s=120.0),
        SLOTS - 1: UnitLoad(wallets=1, rate_per_s=520.0),
    }
    plan = rebalancing(certified(fleet("a", "b", loads=loads)), relief="ordered")
    assert [(move.units, move.to_cell, move.cause) for move in plan.moves] == [
        ((100,), "b", Cause.CEILING),
    ]


def test_a_hot_wallet_of_a_burdened_cell_is_isolated_and_moved() -> None:
    loads = {unit: UnitLoad(wallets=1, rate_per_s=1.0) for unit in range(300)} | {7: UnitLoad(rate_per_s=301.0)}
    hot = (HotWallet(wallet_id="w", unit=7, rate_per_s=300.0),)
    picture = certified(fleet("a", "b", loads=loads, hot_wallets=hot))
    plan = rebalancing(picture, relief="ordered")
    assert [(move.wallet_id, move.unit_of_wallet, move.to_cell) for move in plan.moves] == [("w", 7, "b")]
    assert rebalancing(after(picture, plan.moves), relief="ordered").moves == ()


def test_a_hot_wallet_stays_where_it_is_carried() -> None:
    hot = (HotWallet(wallet_id="w", unit=7, rate_per_s=110.0),)
    loads = {7: UnitLoad(rate_per_s=110.0), SLOTS - 1: UnitLoad(rate_per_s=110.0)}
    picture = certified(fleet("a", "b", loads=loads, hot_wallets=hot))
    assert reasons(picture) == {(WaitReason.HOT_WALLET_MUST_BURDEN_ITS_CELL, "w")}


def test_a_wallet_above_a_whole_cell_is_reported() -> None:
    hot = (HotWallet(wallet_id="w", unit=7, rate_per_s=1100.0),)
    picture = certified(fleet("a", "b", loads={7: UnitLoad(rate_per_s=1100.0)}, hot_wallets=hot))
    assert rebalancing(picture, relief="ordered").moves == ()
    assert (WaitReason.WALLET_MUST_FIT_INTO_ONE_CELL, "w") in reasons(picture)


def test_units_whose_move_failed_stay_for_a_while_and_are_told() -> None:
    held = {SLOTS - 1: Held(reason=WaitReason.FAILED_MOVE_MUST_REST, detail="for a while")}
    plan = rebalancing(fleet("a", leaving=("b",), held_back=held), relief="none")
    assert sum(len(move.units) for move in plan.moves) == SLOTS // 2 - 1
    assert [(one.reason, one.subject) for one in plan.waiting] == [(WaitReason.FAILED_MOVE_MUST_REST, "b")]


def test_rest_binds_relief_and_no_order_about_a_cell() -> None:
    loads = {unit: UnitLoad(wallets=1, rate_per_s=1.0) for unit in range(900)}
    rest = {unit: Held(reason=WaitReason.MOVED_UNIT_MUST_REST, detail="for a day") for unit in range(800)}
    burdened = certified(fleet("a", "b", loads=loads, resting=rest))
    plan = rebalancing(burdened, relief="automatic")
    assert {unit for move in plan.moves for unit in move.units} <= set(range(800, 900))
    assert {one.reason for one in plan.waiting} == {WaitReason.MOVED_UNIT_MUST_REST, WaitReason.TARGET_MUST_HAVE_ROOM}
    drained = rebalancing(fleet("a", leaving=("b",), resting={SLOTS - 1: rest[0]}), relief="none")
    assert sum(len(move.units) for move in drained.moves) == SLOTS // 2


def test_without_an_order_only_certified_cells_are_relieved_and_only_what_lasts() -> None:
    loads = {unit: UnitLoad(wallets=1, rate_per_s=1.0) for unit in range(700)}
    plain = fleet("a", "b", loads=loads)
    assert automatic(plain, burdened_since=NOON, now=NOON)[1][0].reason == WaitReason.CELLS_MUST_BE_CERTIFIED
    picture = certified(plain)
    assert is_burdened(picture)
    is_due, waiting = automatic(picture, burdened_since=NOON, now=NOON + IMBALANCE_LASTS / 2)
    assert (is_due, waiting[0].reason) == (False, WaitReason.IMBALANCE_MUST_LAST)
    assert automatic(picture, burdened_since=NOON, now=NOON + IMBALANCE_LASTS) == (True, ())
    idle = replace(picture, loads={1: UnitLoad(rate_per_s=3.0)})
    assert automatic(idle, burdened_since=NOON, now=NOON + timedelta(days=1)) == (False, ())


def test_empty_units_go_in_large_portions_and_others_in_small_ones() -> None:
    loads = {unit: UnitLoad(wallets=1, entries=10) for unit in range(200)}
    picture = fleet("a", leaving=("b",), loads=loads)
    move = PlannedMove(
        units=tuple(range(1400)), from_cell=CellId("a"), to_cell=CellId("b"), cause=Cause.DRAIN, weight=1
    )
    sizes = [len(portion.units) for portion in portions(move, picture)]
    assert sizes == [512, 512, 176, *([LOADED_UNITS_MAX] * 3), 8]
    heavy = replace(picture, loads={unit: UnitLoad(entries=150_000) for unit in range(3)})
    assert [len(one.units) for one in portions(replace(move, units=(0, 1, 2)), heavy)] == [1, 1, 1]


def test_no_cell_takes_part_in_more_moves_than_it_bears() -> None:
    picture = fleet("a", "b", "c", newcomers=("d",))
    plan = rebalancing(picture, relief="none")
    now = ordered_now(plan.moves, picture, Counter())
    assert len(now.orders) == MOVES_PER_CELL_MAX
    assert [(one.reason, one.subject) for one in now.waiting] == [(WaitReason.CONCURRENT_MOVES_MUST_BE_FEWER, "d")]
    assert ordered_now(plan.moves, picture, Counter({CellId("d"): 2})).orders == ()
