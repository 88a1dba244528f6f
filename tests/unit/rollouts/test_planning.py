"""The waves of a fleet, and why an order is not taken: one row per refusal, in order of precedence."""

import pytest
from certificates import certificate_document
from hypothesis import given
from hypothesis import strategies as st
from releasing.model_rollout import NEW, OLD, RunningCell, order, place, release

from contract.certificate import CapacityCertificate
from contract.ids import CellId
from control_plane.rollouts.model import CellSeen
from control_plane.rollouts.planning import CellPlace, RolloutPlan, RolloutRefused, plan_of, waves_of


def certified(limit_per_s: float, *, version: str = "2.0") -> CapacityCertificate:
    return CapacityCertificate.model_validate(certificate_document(version=version, limit_per_s=limit_per_s))


C1, C2 = CellId("cell-1"), CellId("cell-2")


def running(*places: CellPlace, image: str = OLD) -> dict[CellId, CellSeen | str]:
    return {one.id: RunningCell(("a", "b"), image=image).seen() for one in places}


def test_canary_first_then_its_zone_group_then_the_others() -> None:
    cells = [place(1, "b", units=9), place(2, "a"), place(3, "b"), place(4, "c"), place(5, "a"), place(6, "b")]
    waves = waves_of(cells, canary=None, sandbox=None)
    assert [(wave.name, wave.cells) for wave in waves] == [
        ("canary", ("cell-1",)),
        ("zone group b", ("cell-3", "cell-6")),
        ("zone group a", ("cell-2", "cell-5")),
        ("zone group c", ("cell-4",)),
    ]


def test_a_sandbox_goes_before_the_canary_and_a_named_canary_is_kept() -> None:
    cells = [place(1, "a", units=1), place(2, "b"), place(3, "c", units=0)]
    waves = waves_of(cells, canary=C2, sandbox=CellId("cell-3"))
    assert [(wave.name, wave.cells[0]) for wave in waves] == [
        ("sandbox", "cell-3"),
        ("canary", "cell-2"),
        ("zone group a", "cell-1"),
    ]


def test_the_canary_serves_somebody() -> None:
    """An empty spare would prove nothing."""
    cells = [place(1, "a", units=0, state="ready"), place(2, "b", units=500), place(3, "c", units=300)]
    assert waves_of(cells, canary=None, sandbox=None)[0].cells == ("cell-3",)


def test_zones_of_a_cell_come_one_after_the_other_the_home_zone_last() -> None:
    places = [place(1, "a", units=1), place(2, "a")]
    plan = plan_of(order(), places, {one.id: RunningCell(("a", "b", "c")).seen() for one in places})
    assert isinstance(plan, RolloutPlan)
    assert [(one.cell, one.zone) for one in plan.deployments] == [
        *(("cell-1", zone) for zone in "bca"),
        *(("cell-2", zone) for zone in "bca"),
    ]
    assert {one.previous_image for one in plan.deployments} == {OLD}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=12))
def test_every_cell_is_in_one_wave_and_no_wave_is_of_two_zone_groups(fleet: list[tuple[str, int]]) -> None:
    cells = [place(number, zone, units=units) for number, (zone, units) in enumerate(fleet)]
    waves = waves_of(cells, canary=None, sandbox=None)
    assert sorted(cell for wave in waves for cell in wave.cells) == sorted(cell.id for cell in cells)
    home = {cell.id: cell.home_zone for cell in cells}
    for wave in waves:
        assert {home[cell] for cell in wave.cells} == {wave.home_zone}


SERVING = (place(1, "a"), place(2, "b"))
CERTIFIED = (place(1, "a", certificate=certified(500.0, version="1.0")), place(2, "b"))


def refused(*places: CellPlace, seen: dict[CellId, CellSeen | str] | None = None, **changes: object) -> str:
    outcome = plan_of(order(**changes), places, running(*places) if seen is None else seen)
    assert isinstance(outcome, RolloutRefused), outcome
    return outcome.reason


def test_what_is_refused_and_why() -> None:
    assert refused() == "cells_must_be_there"
    assert refused(place(1, "a", state="retired")) == "cells_must_be_there"
    assert refused(*SERVING, canary=CellId("cell-9")) == "canary_must_be_a_serving_cell"
    assert refused(*SERVING, canary=C1, sandbox=C1) == "canary_must_be_a_serving_cell"
    assert refused(*SERVING, seen={**running(*SERVING), C2: "gone"}) == "cells_must_tell_what_they_run"
    unknown = {cell: CellSeen(zones=told.zones, is_image_known=False) for cell, told in _seen(SERVING).items()}
    assert refused(*SERVING, seen=unknown) == "release_must_be_known"
    assert refused(*SERVING, release=release(schema_revision="0004")) == "schema_must_not_go_back"
    contracted = release(schema_revision="0007", rolls_back_to="0006")
    assert refused(*SERVING, release=contracted) == "schema_must_allow_the_way_back"
    assert refused(*CERTIFIED) == "release_must_be_certified"
    other = certified(500.0, version="1.0")
    assert refused(*CERTIFIED, certificate=other) == "release_must_be_certified"
    slower = certified(474.0)
    assert refused(*CERTIFIED, certificate=slower) == "release_must_carry_as_much"
    assert refused(*SERVING, seen=running(*SERVING, image=NEW)) == "release_must_be_another"


def _seen(places: tuple[CellPlace, ...]) -> dict[CellId, CellSeen]:
    return {one.id: RunningCell(("a", "b")).seen() for one in places}


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": certified(476.0)},
        {"is_certificate_waived": True},
    ],
    ids=["nearly-as-much", "waived"],
)
def test_certified_cells_take_a_release_that_carries_nearly_as_much(changes: dict[str, object]) -> None:
    assert isinstance(plan_of(order(**changes), CERTIFIED, running(*CERTIFIED)), RolloutPlan)


def test_an_expanding_schema_leaves_the_way_back_open() -> None:
    expanding = release(schema_revision="0007", rolls_back_to="0005")
    assert isinstance(plan_of(order(release=expanding), SERVING, running(*SERVING)), RolloutPlan)


def test_zones_that_run_the_release_already_are_left_alone() -> None:
    cell = RunningCell(("a", "b"))
    cell.images["a"] = NEW
    plan = plan_of(order(), [place(1, "a")], {C1: cell.seen()})
    assert isinstance(plan, RolloutPlan)
    assert {one.zone: one.state for one in plan.deployments} == {"a": "left", "b": "waiting"}
