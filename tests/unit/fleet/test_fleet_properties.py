"""A fleet under any order of events, with crashes between any two acts and a second process with an old plan.

Whatever happens: versions and epochs never fall, every slot has exactly one cell from the first publication on, the
first assignment is decided once, no cell is ever asked to adopt other units than before, and a settled plan is empty.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from fleet_world import MemoryFleet, World, instance
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contract.configuration import CellConfiguration, VendorPolicy
from contract.directory import DirectoryDocument
from contract.ids import CellId
from contract.slots import SLOTS
from control_plane.fleet import configuration, plan, publish
from control_plane.fleet.instants import unix_ms
from control_plane.fleet.model import Fleet, OwnedRun, Policy
from control_plane.fleet.placement import Share
from control_plane.fleet.plan import Action, ChangeState, Plan
from control_plane.fleet.publish import Publication

CELLS = st.sampled_from(["a", "b", "c", "d"])
NUMBERS = st.integers(min_value=1, max_value=2)
PROCESSES = st.integers(min_value=0, max_value=1)


class FleetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(Policy(first_cells=2))
        self.plans: list[list[Action]] = [[], []]
        self.directories: list[DirectoryDocument] = []
        self.configurations: dict[CellId, CellConfiguration] = {}
        self.assignment: tuple[OwnedRun, ...] = ()

    @initialize(is_ready=st.booleans())
    def begin(self, *, is_ready: bool) -> None:
        """Half of all histories begin shortly before the first assignment, where most can go wrong."""
        if is_ready:
            for cell in ("b", "c"):
                self.register(cell, 1)
            self.world.act(self.world.plan().actions)

    @rule(cell=CELLS, number=NUMBERS)
    def register(self, cell: str, number: int) -> None:
        self.world.store.register(cell, instance(cell, number=number, seen_at=self.world.now))

    @rule(seconds=st.integers(min_value=-5, max_value=15))
    def let_time_pass(self, seconds: int) -> None:
        """Clocks go back, too."""
        self.world.now += timedelta(seconds=seconds)

    @rule(cell=CELLS)
    def lose_admin(self, cell: str) -> None:
        self.world.unreachable.add(cell)

    @rule(cell=CELLS)
    def regain_admin(self, cell: str) -> None:
        self.world.unreachable.discard(cell)

    @rule(rate=st.integers(min_value=1, max_value=3))
    def restrict_a_vendor(self, rate: int) -> None:
        vendors = {"v-1": VendorPolicy(rate_per_s=rate)}
        self.world.store.fleet = replace(self.world.store.fleet, vendors=vendors)

    @rule(process=PROCESSES)
    def make_a_plan(self, process: int) -> None:
        """Each process believes to act alone; its plan may be old by the time it acts."""
        self.plans[process] = list(self.world.plan().actions)

    @rule(process=PROCESSES, acts=st.integers(min_value=1, max_value=3))
    def act(self, process: int, acts: int) -> None:
        """Some of the plan; a process that never comes back for the rest has crashed."""
        for _ in range(acts):
            if self.plans[process]:
                self.world.do(self.plans[process].pop(0))
                self._look()

    @rule()
    def settle(self) -> None:
        assert self.world.settle().actions == ()
        self._look()
        assert self.world.plan().actions == ()

    @precondition(lambda self: not self.world.unreachable)
    @rule()
    def settle_with_enough_cells(self) -> None:
        for cell in ("a", "b"):
            self.register(cell, 1)
        self.settle()
        assert self.world.store.fleet.directory is not None

    @invariant()
    def no_cell_is_asked_for_other_units(self) -> None:
        assert self.world.refused_by_cells == 0

    @invariant()
    def what_cells_adopted_is_what_was_assigned(self) -> None:
        for cell, runs in self.world.adopted.items():
            assert runs == tuple((run.first, run.last) for run in self.world.store.fleet.runs_of(cell))

    @invariant()
    def every_slot_has_one_cell(self) -> None:
        runs = self.world.store.fleet.runs
        if runs:
            assert (runs[0].first, runs[-1].last) == (0, SLOTS - 1)
            assert all(run.first == previous.last + 1 for previous, run in pairwise(runs))

    @invariant()
    def the_assignment_stays(self) -> None:
        self.assignment = self.assignment or self.world.store.fleet.runs
        assert self.world.store.fleet.runs == self.assignment

    @invariant()
    def the_directory_names_only_confirmed_owners(self) -> None:
        directory = self.world.store.fleet.directory
        if directory is not None:
            assert {cell for _, cell in directory.slots} <= self.world.adopted.keys()
            assert sum(count for count, _ in directory.slots) == SLOTS

    def _look(self) -> None:
        """Everything that was ever published, in order."""
        directory = self.world.store.fleet.directory
        if directory is not None and (not self.directories or self.directories[-1] is not directory):
            previous = self.directories[-1] if self.directories else None
            if previous is not None:
                assert directory.version > previous.version
                assert directory.previous_version == previous.version
                assert all(directory.epochs.get(unit, 1) >= epoch for unit, epoch in previous.epochs.items())
                assert previous.cells.keys() <= directory.cells.keys()
            self.directories.append(directory)
        for cell, document in self.world.store.fleet.configurations.items():
            before = self.configurations.get(cell)
            assert before is None or before is document or document.version > before.version
            self.configurations[cell] = document


FleetMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestFleet = FleetMachine.TestCase


# The two races that random histories meet too rarely, played out.


def race_of_two_assignments() -> None:
    world = World(Policy(first_cells=2))
    for cell in ("b", "c"):
        world.store.register(cell, instance(cell))
    world.act(world.plan().actions)
    old_plan = world.plan()
    world.store.register("a", instance("a"))
    world.act([action for action in world.plan().actions if isinstance(action, ChangeState)])
    world.act(world.plan().actions)
    assigned = world.store.fleet.runs
    assert {run.cell for run in assigned} == {"a", "b"}
    world.act(old_plan.actions)
    assert world.store.fleet.runs == assigned


def race_of_two_publications() -> None:
    world = World(Policy(first_cells=2))
    for cell in ("a", "b"):
        world.store.register(cell, instance(cell))
    world.settle()
    world.store.register("a", instance("a", number=2))
    old_plan = world.plan()
    world.store.register("b", instance("b", number=2))
    world.act(world.plan().actions)
    published = world.store.fleet.directory
    assert not any(world.act(old_plan.actions))
    assert world.store.fleet.directory is published


@pytest.mark.parametrize("race", [race_of_two_assignments, race_of_two_publications])
def test_who_comes_second_changes_nothing(race: Callable[[], None]) -> None:
    race()


# Mutants: each takes one protection away, and a test above must find it.


def _version_of_the_clock_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (publish, configuration):
        monkeypatch.setattr(module, "next_version", lambda _last, now: unix_ms(now))


def _publication_without_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def publish_anyway(store: MemoryFleet, publication: Publication) -> bool:
        store.fleet = replace(store.fleet, directory=publication.document)
        return True

    monkeypatch.setattr(MemoryFleet, "publish_directory", publish_anyway)


def _assignment_that_is_not_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def assign_again(store: MemoryFleet, shares: tuple[Share, ...]) -> bool:
        runs = tuple(OwnedRun(first=one.first, last=one.last, cell=one.cell) for one in shares)
        store.fleet = replace(store.fleet, runs=runs)
        return True

    monkeypatch.setattr(MemoryFleet, "assign_first_units", assign_again)


def _publication_before_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    def publish_early(fleet: Fleet, now: datetime, *, is_unsettled: bool) -> Plan:
        del is_unsettled
        following = publish.next_publication(fleet, now) if fleet.runs else ()
        return Plan(actions=(following,)) if isinstance(following, Publication) else Plan(waiting=following)

    monkeypatch.setattr(plan, "_directory", publish_early)
    monkeypatch.setattr(publish, "LISTED_STATES", frozenset({"registered", "ready", "active"}))


def histories() -> None:
    quick = settings(max_examples=200, stateful_step_count=25, deadline=None, database=None, phases=[Phase.generate])
    run_state_machine_as_test(FleetMachine, settings=quick)


@pytest.mark.parametrize(
    ("mutate", "finder"),
    [
        (_version_of_the_clock_alone, histories),
        (_publication_before_confirmation, histories),
        (_assignment_that_is_not_recorded_once, race_of_two_assignments),
        (_publication_without_comparison, race_of_two_publications),
    ],
)
def test_a_protection_that_is_gone_is_missed(
    mutate: Callable[[pytest.MonkeyPatch], None], finder: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        finder()
