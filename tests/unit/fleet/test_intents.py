"""Orders about cells, and the picture that a plan of moves is made from."""

from dataclasses import replace
from datetime import timedelta

import pytest
from certificates import certificate_document
from fleet_world import NOON, cell, fleet_of

from contract.certificate import CapacityCertificate
from contract.ids import CellId
from contract.load import CellLoad, UnitLoad
from contract.slots import SLOTS
from control_plane.fleet.ceiling import placement_ceiling
from control_plane.fleet.intents import (
    PAUSE_MAX,
    CellOrderReason,
    Failure,
    Intents,
    OrderRefused,
    load_per_s,
    ordered_state,
    pause_after,
    picture_of,
)
from control_plane.fleet.model import Fleet, OwnedRun
from control_plane.fleet.publish import directory_of
from control_plane.fleet.reasons import WaitReason
from control_plane.moves.model import MovedUnit, MoveRecord

HALVES = (
    OwnedRun(first=0, last=8191, cell=CellId("a")),
    OwnedRun(first=8192, last=SLOTS - 1, cell=CellId("b")),
)
NOTHING = Intents(ceilings={}, failures={}, moved_at={})


def born(**states: str) -> Fleet:
    fleet = fleet_of([cell(name, state) for name, state in states.items()], *HALVES)
    return replace(fleet, directory=directory_of(fleet, NOON))


@pytest.mark.parametrize(
    ("order", "state", "following"),
    [
        ("activate", "ready", "active"),
        ("activate", "empty", "active"),
        ("activate", "active", "active"),
        ("drain", "ready", "empty"),
        ("drain", "empty", "empty"),
        ("drain", "retired", "retired"),
        ("retire", "empty", "retired"),
        ("retire", "retired", "retired"),
        ("activate", "registered", CellOrderReason.CELL_MUST_BE_READY),
        ("drain", "registered", CellOrderReason.CELL_MUST_BE_READY),
        ("activate", "retired", CellOrderReason.CELL_MUST_NOT_BE_RETIRED),
        ("retire", "ready", CellOrderReason.CELL_MUST_BE_EMPTY),
        ("retire", "active", CellOrderReason.CELL_MUST_BE_EMPTY),
    ],
)
def test_what_an_order_leads_to(order: str, state: str, following: str) -> None:
    fleet = born(a="active", b="active", c=state)
    found = ordered_state(order, fleet.cells[2], fleet)
    assert (found.reason if isinstance(found, OrderRefused) else found) == following


def test_the_last_active_cell_is_not_drained() -> None:
    fleet = born(a="active", b="draining", c="ready")
    refused = ordered_state("drain", fleet.cells[0], fleet)
    assert isinstance(refused, OrderRefused)
    assert refused.reason == CellOrderReason.ANOTHER_CELL_MUST_BE_ACTIVE


@pytest.mark.parametrize(("order", "state"), [("drain", "active"), ("retire", "empty")])
def test_nothing_is_taken_away_while_a_zone_is_evacuated(order: str, state: str) -> None:
    fleet = replace(born(a=state, b="active", c="active"), evacuated_zones=frozenset({"zone-a"}))
    refused = ordered_state(order, fleet.cells[0], fleet)
    assert isinstance(refused, OrderRefused)
    assert refused.reason == "evacuation_must_have_ended"
    assert not isinstance(ordered_state("activate", fleet.cells[0], fleet), OrderRefused)


def test_units_in_a_move_are_where_they_go_and_stay_there() -> None:
    move = MoveRecord(
        id="m",
        from_cell=CellId("a"),
        to_cell=CellId("b"),
        state="copying",
        units=tuple(MovedUnit(unit=unit, from_epoch=1) for unit in range(10)),
        ordered_by="olga",
        ordered_at=NOON,
        changed_at=NOON,
    )
    picture = picture_of(born(a="active", b="draining"), replace(NOTHING, open_moves=(move,)), {}, NOON)
    assert [(holder.role, len(holder.units)) for holder in picture.holders] == [("takes", 8182), ("gives", 8202)]
    assert {held.reason for held in picture.held_back.values()} == {WaitReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE}
    assert set(picture.held_back) == set(range(10))


def test_loads_are_rates_and_cells_that_told_none_are_unknown() -> None:
    told = CellLoad(
        cell="a", window_s=60, database_bytes=0, units=(UnitLoad(unit=3, wallets=2, entries=9, commands=120),)
    )
    picture = picture_of(born(a="active", b="active"), NOTHING, {CellId("a"): told}, NOON)
    assert [holder.is_known for holder in picture.holders] == [True, False]
    assert (load_per_s(picture, CellId("a")), load_per_s(picture, CellId("b"))) == (2.0, 0.0)


def test_failures_rest_longer_each_time_and_quarantine_has_no_end() -> None:
    assert [pause_after(count).total_seconds() for count in (1, 2, 3)] == [5, 10, 20]
    assert pause_after(1_000) == PAUSE_MAX

    def held(failure: Failure, *, after_s: float) -> bool:
        intents = replace(NOTHING, failures={7: failure})
        later = NOON + timedelta(seconds=after_s)
        return 7 in picture_of(born(a="active", b="active"), intents, {}, later).held_back

    failed = Failure(count=2, last_at=NOON, state="aborted", reason="unit_must_converge")
    assert held(failed, after_s=9)
    assert not held(failed, after_s=11)
    assert held(replace(failed, state="quarantined"), after_s=10**6)


def test_a_day_of_rest_and_a_rebalancing_that_ends() -> None:
    moved = replace(NOTHING, moved_at={1: NOON - timedelta(hours=23), 2: NOON - timedelta(hours=25)})
    assert set(picture_of(born(a="active", b="active"), moved, {}, NOON).resting) == {1}
    ordered = replace(moved, relief_ordered_at=NOON - timedelta(hours=1))
    assert set(picture_of(born(a="active", b="active"), ordered, {}, NOON).resting) == set()


def test_the_ceiling_is_that_of_headroom() -> None:
    from cellwallet.headroom.cells import CellMargins, Outlook, placed_per_s  # noqa: PLC0415 - another room's formula

    assert placement_ceiling(None) == pytest.approx(placed_per_s(CellMargins(limit_per_s=1.0), Outlook()))
    measured = CapacityCertificate.model_validate(
        certificate_document(degraded_loss=0.2, moves_loss=0.1, failover_s=10.0)
    )
    margins = CellMargins(limit_per_s=1.0, degraded_loss=0.2, moves_loss=0.1, failover_s=10.0)
    assert placement_ceiling(measured) == pytest.approx(placed_per_s(margins, Outlook()))
