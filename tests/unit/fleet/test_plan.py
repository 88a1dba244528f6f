"""The plan: what follows from what, and the reason of every inaction, one test per reason."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fleet_world import JWKS, NOON, World, cell, fleet_of, instance, owned, seeing

from contract.configuration import VendorPolicy
from contract.fleet import CellUnits
from control_plane.fleet.configuration import ConfigurationPublication
from control_plane.fleet.lifecycle import CellEvent
from control_plane.fleet.model import Fleet, Observation, OwnedRun, Policy
from control_plane.fleet.plan import AssignFirstUnits, ChangeState, ForgetInstance, PutFirstUnits, plan
from control_plane.fleet.publish import Publication, directory_of
from control_plane.fleet.reasons import WaitReason

TWO = Policy(first_cells=2)
HALVES = (OwnedRun(first=0, last=8191, cell="a"), OwnedRun(first=8192, last=16383, cell="b"))
WHOLE = OwnedRun(first=0, last=16383, cell="b")
OWNED = (owned("a", (0, 8191)), owned("b", (8192, 16383)))
ACTIVE = fleet_of((cell("a", "active"), cell("b", "active")), *HALVES)
PUBLISHED = replace(ACTIVE, directory=directory_of(ACTIVE, NOON))
SILENT = NOON - timedelta(seconds=11)
RECENT = NOON - timedelta(seconds=9)


def actions_of(fleet: Fleet, observation: Observation, *, policy: Policy = TWO, now: datetime = NOON) -> list[Any]:
    """Without configurations, which follow every registration at once."""
    following = plan(fleet, observation, policy, now)
    return [action for action in following.actions if not isinstance(action, ConfigurationPublication)]


def waiting_of(
    fleet: Fleet, observation: Observation, *, policy: Policy = TWO, now: datetime = NOON
) -> set[tuple[WaitReason, str]]:
    return {(waiting.reason, waiting.subject) for waiting in plan(fleet, observation, policy, now).waiting}


def test_the_birth_of_a_fleet_step_by_step() -> None:
    world = World(TWO)
    steps = []
    for name in ("b", "a"):
        world.store.register(name, instance(name))
    while actions := [one for one in world.plan().actions if not isinstance(one, ConfigurationPublication)]:
        steps.append([type(action).__name__ for action in actions])
        world.act(world.plan().actions)
    assert steps == [
        ["ChangeState", "ChangeState"],
        ["AssignFirstUnits"],
        ["PutFirstUnits", "PutFirstUnits"],
        ["ChangeState", "ChangeState"],
        ["Publication"],
    ]
    assert [one.state for one in world.store.fleet.cells] == ["active", "active"]


def test_a_settled_fleet_has_nothing_to_do_and_nothing_to_wait_for() -> None:
    world = World(TWO)
    for name in ("a", "b"):
        world.store.register(name, instance(name))
    assert world.settle() == world.plan()
    assert world.plan().actions == ()
    assert world.plan().waiting == ()


def test_the_plan_is_a_function() -> None:
    observation = seeing(*OWNED)
    assert plan(PUBLISHED, observation, TWO, NOON) == plan(PUBLISHED, observation, TWO, NOON)


# Preflight


def test_a_registered_cell_that_answers_becomes_ready() -> None:
    assert actions_of(fleet_of([cell("a")]), seeing(owned("a"))) == [
        ChangeState(cell="a", seen="registered", event=CellEvent.PREFLIGHT_PASSED)
    ]


@pytest.mark.parametrize(
    ("fleet", "observation", "reason"),
    [
        (
            fleet_of([cell("a", "registered", instance("a", seen_at=SILENT))]),
            seeing(owned("a")),
            WaitReason.CELL_MUST_SHOW_SIGNS_OF_LIFE,
        ),
        (
            fleet_of([cell("a", "registered", instance("a"), instance("a", number=2, revision="0002"))]),
            seeing(owned("a")),
            WaitReason.INSTANCES_MUST_AGREE_ON_SCHEMA_REVISION,
        ),
        (
            fleet_of([cell("a", "registered", instance("a", revision="0009")), ACTIVE.cells[1]], WHOLE),
            seeing(owned("a"), owned("b", (0, 16383))),
            WaitReason.SCHEMA_REVISION_MUST_BE_KNOWN,
        ),
        (fleet_of([cell("a")]), seeing(unreachable=["a"]), WaitReason.ADMIN_MUST_BE_REACHABLE),
    ],
)
def test_a_registered_cell_waits_for_its_preflight(fleet: Fleet, observation: Observation, reason: WaitReason) -> None:
    assert (reason, "a") in waiting_of(fleet, observation)
    assert not [one for one in actions_of(fleet, observation) if getattr(one, "cell", None) == "a"]


def test_the_first_cell_in_id_order_sets_the_schema_revision_of_a_new_fleet() -> None:
    cells = [cell("a", "registered", instance("a", revision="0002")), cell("b")]
    observation = seeing(owned("a"), owned("b"))
    assert [action.cell for action in actions_of(fleet_of(cells), observation)] == ["a"]
    assert (WaitReason.SCHEMA_REVISION_MUST_BE_KNOWN, "b") in waiting_of(fleet_of(cells), observation)


# First units


def test_the_first_cells_must_be_ready() -> None:
    fleet = fleet_of([cell("a", "ready")])
    assert actions_of(fleet, seeing(owned("a"))) == []
    assert waiting_of(fleet, seeing(owned("a"))) == {(WaitReason.FIRST_CELLS_MUST_BE_READY, "fleet")}


def test_only_the_first_cells_in_id_order_get_units() -> None:
    fleet = fleet_of([cell(name, "ready") for name in ("c", "a", "b")])
    (action,) = actions_of(fleet, seeing(owned("a"), owned("b"), owned("c")))
    assert isinstance(action, AssignFirstUnits)
    assert [share.cell for share in action.shares] == ["a", "b"]


def test_cells_that_own_units_already_are_not_given_first_units() -> None:
    """The control plane's database was lost: who owns what, only the cells know."""
    fleet = fleet_of([cell("a", "ready"), cell("b", "ready")])
    observation = seeing(owned("a", (0, 100)), owned("b"))
    assert actions_of(fleet, observation) == []
    assert (WaitReason.FIRST_CELLS_MUST_BE_EMPTY, "fleet") in waiting_of(fleet, observation)


def test_an_unreachable_first_cell_is_waited_for() -> None:
    fleet = fleet_of([cell("a", "ready"), cell("b", "ready")])
    assert actions_of(fleet, seeing(owned("a"), unreachable=["b"])) == []
    assert (WaitReason.ADMIN_MUST_BE_REACHABLE, "b") in waiting_of(fleet, seeing(owned("a"), unreachable=["b"]))


ASSIGNED = fleet_of([cell("a", "ready"), cell("b", "ready")], *HALVES)


def test_assigned_units_are_put_only_to_the_cells_that_lack_them() -> None:
    actions = actions_of(ASSIGNED, seeing(OWNED[0], owned("b")))
    assert actions == [PutFirstUnits(cell="b", runs=((8192, 16383),))]


def test_an_assignment_is_never_decided_again() -> None:
    """A cell that comes first in id order joins between assignment and confirmation: it changes nothing."""
    runs = (replace(HALVES[0], cell="b"), replace(HALVES[1], cell="c"))
    fleet = fleet_of([cell(name, "ready") for name in ("a", "b", "c")], *runs)
    actions = actions_of(fleet, seeing(owned("a"), owned("b"), owned("c")))
    assert actions == [PutFirstUnits(cell="b", runs=((0, 8191),)), PutFirstUnits(cell="c", runs=((8192, 16383),))]


def test_owners_are_activated_together_when_all_have_confirmed() -> None:
    assert [action.event for action in actions_of(ASSIGNED, seeing(*OWNED))] == [CellEvent.UNITS_CONFIRMED] * 2
    assert actions_of(ASSIGNED, seeing(OWNED[0], unreachable=["b"])) == []
    waiting = waiting_of(ASSIGNED, seeing(OWNED[0], unreachable=["b"]))
    assert (WaitReason.FIRST_UNITS_MUST_BE_CONFIRMED, "directory") in waiting


def test_a_cell_with_other_first_units_is_told_and_never_repaired() -> None:
    observation = seeing(OWNED[0], owned("b", (0, 16383)))
    assert actions_of(ASSIGNED, observation) == []
    assert (WaitReason.CELL_UNITS_MUST_MATCH_ASSIGNMENT, "b") in waiting_of(ASSIGNED, observation)


# Directory


def test_the_directory_is_published_once_all_owners_are_active() -> None:
    (action,) = actions_of(ACTIVE, seeing(*OWNED))
    assert isinstance(action, Publication)
    assert actions_of(PUBLISHED, seeing(*OWNED)) == []


def test_a_new_port_is_published() -> None:
    fresh = instance("a", number=2)
    fleet = replace(PUBLISHED, cells=(cell("a", "active", instance("a"), fresh), PUBLISHED.cells[1]))
    (action,) = actions_of(fleet, seeing(*OWNED))
    assert [one.url for one in action.document.cells["a"].api] == ["http://a-1:8080", "http://a-2:8080"]


def test_a_retired_cell_leaves_the_directory_because_an_operator_retired_it() -> None:
    three = fleet_of((*ACTIVE.cells, cell("c", "empty")), *HALVES)
    retired = fleet_of((*ACTIVE.cells, cell("c", "retired")), *HALVES, directory=directory_of(three, NOON))
    (action,) = actions_of(retired, seeing(*OWNED))
    assert "c" not in action.document.cells
    assert action.document.is_large_change_meant


def test_a_refused_publication_is_a_reason() -> None:
    stolen = (OwnedRun(first=0, last=16383, cell="b", epoch=2),)
    fleet = replace(PUBLISHED, runs=stolen)
    observation = seeing(owned("a"), owned("b", (0, 16383), epoch=2))
    assert actions_of(fleet, observation) == []
    assert (WaitReason.REASSIGNED_SHARE_MUST_BE_ALLOWED, "directory") in waiting_of(fleet, observation)


def test_what_is_about_to_change_is_recorded_before_it_is_published() -> None:
    cells = (cell("a", "active", instance("a"), instance("a", number=2, seen_at=SILENT)), ACTIVE.cells[1])
    fleet = replace(PUBLISHED, cells=cells)
    assert [type(action) for action in actions_of(fleet, seeing(*OWNED))] == [ForgetInstance]
    waiting = waiting_of(fleet, seeing(*OWNED))
    assert (WaitReason.CHANGES_MUST_BE_RECORDED_BEFORE_PUBLICATION, "directory") in waiting


# Signs of life


@pytest.mark.parametrize(("seen_at", "is_forgotten"), [(RECENT, False), (SILENT, True)])
def test_a_dead_instance_is_forgotten_while_another_lives(seen_at: datetime, *, is_forgotten: bool) -> None:
    cells = (cell("a", "active", instance("a"), instance("a", number=2, seen_at=seen_at)), ACTIVE.cells[1])
    actions = actions_of(replace(PUBLISHED, cells=cells), seeing(*OWNED))
    assert any(isinstance(action, ForgetInstance) for action in actions) is is_forgotten


def test_a_cell_that_vanishes_keeps_its_last_known_instances() -> None:
    cells = (cell("a", "active", instance("a", seen_at=SILENT)), ACTIVE.cells[1])
    fleet = replace(PUBLISHED, cells=cells)
    observation = seeing(OWNED[1], unreachable=["a"])
    assert actions_of(fleet, observation) == []
    assert waiting_of(fleet, observation) == {
        (WaitReason.CELL_MUST_SHOW_SIGNS_OF_LIFE, "a"),
        (WaitReason.ADMIN_MUST_BE_REACHABLE, "a"),
    }


def test_silence_while_nobody_listened_proves_nothing() -> None:
    """The control plane was down for an hour: the first process to register must not bury its siblings."""
    cells = (cell("a", "active", instance("a"), instance("a", number=2, seen_at=SILENT)), ACTIVE.cells[1])
    fleet = replace(PUBLISHED, cells=cells)
    just_back = seeing(*OWNED, listening_since=NOON - timedelta(seconds=1))
    assert not [one for one in actions_of(fleet, just_back) if isinstance(one, ForgetInstance)]


# The rest


def test_a_later_cell_stays_ready_until_moves_bring_units() -> None:
    fleet = replace(PUBLISHED, cells=(*PUBLISHED.cells, cell("c", "ready")))
    observation = seeing(*OWNED, owned("c"))
    assert (WaitReason.UNITS_MUST_ARRIVE_BY_MOVES, "c") in waiting_of(fleet, observation)
    assert not [one for one in actions_of(fleet, observation) if isinstance(one, PutFirstUnits | AssignFirstUnits)]


@pytest.mark.parametrize(
    "seen",
    [owned("b", (8192, 16382)), owned("b", (8192, 16383), epoch=2), owned("b", (8192, 16383), state="fenced")],
)
def test_a_difference_between_cell_and_directory_is_told(seen: CellUnits) -> None:
    waiting = waiting_of(PUBLISHED, seeing(OWNED[0], seen))
    assert waiting == {(WaitReason.CELL_UNITS_MUST_MATCH_ASSIGNMENT, "b")}


def test_runs_that_are_cut_differently_are_no_difference() -> None:
    seen = owned("b", (8192, 9000), (9001, 16383))
    assert waiting_of(PUBLISHED, seeing(OWNED[0], seen)) == set()


def test_units_in_transition_are_no_difference() -> None:
    runs = (replace(HALVES[0], last=0, is_moving=True), replace(HALVES[0], first=1), HALVES[1])
    fleet = replace(ACTIVE, runs=runs)
    fleet = replace(fleet, directory=directory_of(fleet, NOON))
    assert waiting_of(fleet, seeing(owned("a", (1, 8191)), OWNED[1])) == set()


def test_a_router_ahead_of_the_directory_is_told() -> None:
    version = PUBLISHED.directory.version
    observation = seeing(*OWNED, routers={"r-1": version, "r-2": version + 1})
    assert waiting_of(PUBLISHED, observation) == {(WaitReason.ROUTERS_MUST_NOT_BE_AHEAD, "r-2")}


# Configurations


def configuration_of(fleet: Fleet, observation: Observation, name: str = "a", *, now: datetime = NOON) -> Any:
    return next(
        (
            action
            for action in plan(fleet, observation, TWO, now).actions
            if isinstance(action, ConfigurationPublication) and action.document.cell == name
        ),
        None,
    )


def test_a_registered_cell_gets_its_configuration_before_anything_else() -> None:
    document = configuration_of(fleet_of([cell("a")]), seeing(unreachable=["a"])).document
    assert (document.cell, document.vendors, document.capacity_per_s, document.api_processes) == ("a", {}, None, 1)
    assert document.jwks == JWKS


def test_a_private_key_in_the_issuers_file_never_leaves() -> None:
    leaking = {"keys": [{**JWKS["keys"][0], "d": "secret"}]}
    document = configuration_of(fleet_of([cell("a")]), seeing(owned("a"), jwks=leaking)).document
    assert document.jwks == JWKS


@pytest.mark.parametrize(
    "change",
    [
        {"vendors": {"v-1": VendorPolicy(blocked=True)}},
        {"cells": (replace(cell("a", "active"), capacity_per_s=500.0), ACTIVE.cells[1])},
        {"cells": (cell("a", "active", instance("a"), instance("a", number=2)), ACTIVE.cells[1])},
    ],
)
def test_a_configuration_is_published_again_exactly_when_its_content_changes(change: dict[str, object]) -> None:
    before = configuration_of(PUBLISHED, seeing(*OWNED)).document
    configured = replace(PUBLISHED, configurations={"a": before})
    assert configuration_of(configured, seeing(*OWNED), now=NOON + timedelta(minutes=1)) is None
    following = configuration_of(replace(configured, **change), seeing(*OWNED))
    assert following.after == before.version
    assert following.document.version > before.version


def test_a_policy_without_restriction_needs_no_entry() -> None:
    fleet = replace(PUBLISHED, vendors={"v-1": VendorPolicy(), "v-2": VendorPolicy(rate_per_s=5)})
    assert configuration_of(fleet, seeing(*OWNED)).document.vendors == {"v-2": VendorPolicy(rate_per_s=5)}


def test_a_retired_cell_gets_no_configuration() -> None:
    assert configuration_of(fleet_of([cell("a", "retired")]), seeing()) is None


def test_processes_that_died_do_not_share_the_limit_any_more() -> None:
    alone = cell("a", "active", instance("a"), instance("a", number=2, seen_at=SILENT))
    vanished = cell("a", "active", instance("a", seen_at=SILENT), instance("a", number=2, seen_at=SILENT))
    for one, processes in ((alone, 1), (vanished, 2)):
        fleet = replace(PUBLISHED, cells=(one, ACTIVE.cells[1]))
        assert configuration_of(fleet, seeing(*OWNED)).document.api_processes == processes


def test_a_draining_cell_is_empty_when_the_directory_and_itself_say_so() -> None:
    fleet = fleet_of((cell("a", "draining"), cell("b", "active")), OwnedRun(first=0, last=16383, cell="b"))
    gone = owned("a", (0, 8191), epoch=2, state="moved")
    emptied = ChangeState(cell="a", seen="draining", event=CellEvent.LAST_UNIT_LEFT)
    assert emptied in actions_of(fleet, seeing(gone, owned("b", (0, 16383))))
    granted = seeing(owned("a", (0, 1), epoch=2, state="granted"), owned("b", (0, 16383)))
    assert emptied not in actions_of(fleet, granted)
    assert (WaitReason.CELL_MUST_HAVE_GIVEN_UNITS_AWAY, "a") in waiting_of(fleet, granted)
    silent = seeing(owned("b", (0, 16383)), unreachable=["a"])
    assert emptied not in actions_of(fleet, silent)
