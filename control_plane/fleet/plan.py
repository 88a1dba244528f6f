"""`plan`: from what is recorded and what was seen, the next actions and the reason of every inaction.

Acting is somebody else's affair (control_plane/reconcile.py) and idempotent: a plan made again after its actions
were done has none left, and one made again after a crash has exactly those that were not.

First units: assign (recorded once, never decided again) -> put to each cell -> confirmed -> activate -> publish.
"""

from collections.abc import Iterable
from datetime import datetime

from contract.directory import CellState
from contract.fleet import CellUnits, UnitRun
from contract.ids import CellId
from contract.values import value
from control_plane.fleet.configuration import ConfigurationPublication, next_configuration
from control_plane.fleet.lifecycle import CellEvent, state_after
from control_plane.fleet.liveness import forgettable_instances, live_instances
from control_plane.fleet.model import Cell, Fleet, Instance, Observation, Policy, Unreachable
from control_plane.fleet.placement import Share, first_shares
from control_plane.fleet.preflight import preflights, silence, unreachability
from control_plane.fleet.publish import Allowance, Publication, next_publication
from control_plane.fleet.reasons import Waiting, WaitReason


@value
class ForgetInstance:
    """A dead instance of a cell that has a live one."""

    cell: CellId
    instance: Instance


@value
class ChangeState:
    """A step along the table of lifecycle.py; a compare-and-set on the state that was seen."""

    cell: CellId
    seen: CellState
    event: CellEvent

    @property
    def following(self) -> CellState:
        following = state_after(self.seen, self.event)
        if following is None:
            raise ValueError(f"no cell goes from {self.seen} by {self.event}")
        return following


@value
class AssignFirstUnits:
    """Recorded before any cell hears of it."""

    shares: tuple[Share, ...]


@value
class PutFirstUnits:
    cell: CellId
    runs: tuple[tuple[int, int], ...]


Action = ForgetInstance | ChangeState | AssignFirstUnits | PutFirstUnits | Publication | ConfigurationPublication


@value
class Plan:
    actions: tuple[Action, ...] = ()
    waiting: tuple[Waiting, ...] = ()


def plan(fleet: Fleet, observation: Observation, policy: Policy, now: datetime) -> Plan:
    changes = _joined(
        (
            _instances(fleet, observation, policy, now),
            _ready_cells(fleet, observation, policy, now),
            _first_assignment(fleet, observation, policy),
            _first_units(fleet, observation),
            _emptied(fleet, observation),
        )
    )
    return _joined(
        (
            changes,
            _directory(fleet, now, is_unsettled=bool(changes.actions)),
            _configurations(fleet, observation, policy, now),
            _drift(fleet, observation),
            _newcomers(fleet),
            _routers(fleet, observation),
        )
    )


def _instances(fleet: Fleet, observation: Observation, policy: Policy, now: datetime) -> Plan:
    cells = [cell for cell in fleet.cells if cell.state != "retired"]
    return Plan(
        actions=tuple(
            ForgetInstance(cell=cell.id, instance=instance)
            for cell in cells
            for instance in forgettable_instances(cell, observation, policy, now)
        ),
        waiting=tuple(
            silence(cell, now)
            for cell in cells
            if cell.state != "registered" and not live_instances(cell, observation, policy, now)
        ),
    )


def _ready_cells(fleet: Fleet, observation: Observation, policy: Policy, now: datetime) -> Plan:
    checked = tuple(preflights(fleet, observation, policy, now))
    return Plan(
        actions=tuple(
            ChangeState(cell=cell.id, seen=cell.state, event=CellEvent.PREFLIGHT_PASSED)
            for cell, obstacle in checked
            if obstacle is None
        ),
        waiting=tuple(obstacle for _, obstacle in checked if obstacle is not None),
    )


def _first_assignment(fleet: Fleet, observation: Observation, policy: Policy) -> Plan:
    """Once in the life of a fleet, and only while no cell says that it owns anything."""
    if fleet.runs:
        return Plan()
    ready = [cell for cell in fleet.cells if cell.state == "ready"]
    if len(ready) < policy.first_cells:
        detail = f"{len(ready)} of {policy.first_cells} cells are ready"
        return _wait(WaitReason.FIRST_CELLS_MUST_BE_READY, "fleet", detail)
    owning = sorted(cell for cell, seen in observation.units.items() if isinstance(seen, CellUnits) and seen.units)
    if owning:
        detail = f"{', '.join(owning)} own units already: the directory must be rebuilt from the cells"
        return _wait(WaitReason.FIRST_CELLS_MUST_BE_EMPTY, "fleet", detail)
    chosen = ready[: policy.first_cells]
    obstacles = tuple(obstacle for cell in chosen if (obstacle := unreachability(cell, observation)))
    if obstacles:
        return Plan(waiting=obstacles)
    return Plan(actions=(AssignFirstUnits(shares=first_shares([cell.id for cell in chosen])),))


def _first_units(fleet: Fleet, observation: Observation) -> Plan:
    """Put what was assigned to each cell; activate all owners together once every one confirms."""
    owners = [cell for cell in fleet.cells if cell.state == "ready" and fleet.runs_of(cell.id)]
    steps = _joined(_first_units_of(cell, fleet, observation) for cell in owners)
    if steps.actions or steps.waiting:
        return steps
    return Plan(
        actions=tuple(ChangeState(cell=cell.id, seen=cell.state, event=CellEvent.UNITS_CONFIRMED) for cell in owners)
    )


def _first_units_of(cell: Cell, fleet: Fleet, observation: Observation) -> Plan:
    obstacle = unreachability(cell, observation)
    if obstacle is not None:
        return Plan(waiting=(obstacle,))
    if not _known(cell, observation):
        runs = tuple((run.first, run.last) for run in fleet.runs_of(cell.id))
        return Plan(actions=(PutFirstUnits(cell=cell.id, runs=runs),))
    return _drift_of(cell, fleet, observation)


def _emptied(fleet: Fleet, observation: Observation) -> Plan:
    """A draining cell is empty when the directory gives it nothing and it says itself that it owns nothing."""
    left = [cell for cell in fleet.cells if cell.state == "draining" and not fleet.runs_of(cell.id)]
    return _joined(_emptied_cell(cell, observation) for cell in left)


def _emptied_cell(cell: Cell, observation: Observation) -> Plan:
    obstacle = unreachability(cell, observation)
    if obstacle is not None:
        return Plan(waiting=(obstacle,))
    kept = [run for run in _known(cell, observation) if run.state != "moved"]
    if kept:
        count = sum(run.last - run.first + 1 for run in kept)
        return _wait(
            WaitReason.CELL_MUST_HAVE_GIVEN_UNITS_AWAY, cell.id, f"{count} units, the first is {kept[0].first}"
        )
    return Plan(actions=(ChangeState(cell=cell.id, seen=cell.state, event=CellEvent.LAST_UNIT_LEFT),))


def _directory(fleet: Fleet, now: datetime, *, is_unsettled: bool) -> Plan:
    """Published only as a whole: every owner has confirmed its units, and nothing recorded is about to change."""
    if not fleet.runs:
        return Plan()
    unconfirmed = [cell.id for cell in fleet.cells if cell.state == "ready" and fleet.runs_of(cell.id)]
    if unconfirmed:
        return _wait(WaitReason.FIRST_UNITS_MUST_BE_CONFIRMED, "directory", f"by {', '.join(unconfirmed)}")
    if is_unsettled:
        return _wait(
            WaitReason.CHANGES_MUST_BE_RECORDED_BEFORE_PUBLICATION, "directory", "the actions above come first"
        )
    retired = frozenset(cell.id for cell in fleet.cells if cell.state == "retired")
    following = next_publication(fleet, now, allowance=Allowance(dropped_cells=retired))
    if isinstance(following, Publication):
        return Plan(actions=(following,))
    return Plan(waiting=following)


def _configurations(fleet: Fleet, observation: Observation, policy: Policy, now: datetime) -> Plan:
    following = (
        next_configuration(cell, fleet, observation, policy, now) for cell in fleet.cells if cell.state != "retired"
    )
    return Plan(actions=tuple(publication for publication in following if publication is not None))


def _drift(fleet: Fleet, observation: Observation) -> Plan:
    """Ownership lives in the cells: a difference is told, and never repaired from here."""
    serving = (cell for cell in fleet.cells if cell.state in {"active", "draining"})
    return _joined(_drift_of(cell, fleet, observation) for cell in serving)


def _drift_of(cell: Cell, fleet: Fleet, observation: Observation) -> Plan:
    obstacle = unreachability(cell, observation)
    if obstacle is not None:
        return Plan(waiting=(obstacle,))
    assigned_runs = [(run.first, run.last, run.epoch) for run in fleet.runs_of(cell.id)]
    owned_runs = [(run.first, run.last, run.epoch) for run in _known(cell, observation) if run.state == "active"]
    if assigned_runs == owned_runs:
        return Plan()
    moving = {unit for run in fleet.runs if run.is_moving for unit in range(run.first, run.last + 1)}
    assigned, owned = _spread(assigned_runs, without=moving), _spread(owned_runs, without=moving)
    if assigned == owned:
        return Plan()
    differing = sorted({unit for unit, _ in assigned ^ owned})
    detail = f"{len(differing)} units differ from the directory, the first is {differing[0]}"
    return _wait(WaitReason.CELL_UNITS_MUST_MATCH_ASSIGNMENT, cell.id, detail)


def _newcomers(fleet: Fleet) -> Plan:
    """Cells that joined a fleet whose units all have an owner."""
    newcomers = (cell for cell in fleet.cells if cell.state == "ready" and not fleet.runs_of(cell.id))
    if not fleet.runs:
        return Plan()
    detail = "every unit has a cell; this one stays ready and empty until it is activated"
    return _joined(_wait(WaitReason.UNITS_MUST_ARRIVE_BY_MOVES, cell.id, detail) for cell in newcomers)


def _routers(fleet: Fleet, observation: Observation) -> Plan:
    """A router with a newer directory than ours: ours was restored from a backup, or lost."""
    version = fleet.directory.version if fleet.directory else 0
    ahead = sorted(router for router, applied in observation.routers.items() if applied > version)
    return _joined(
        _wait(WaitReason.ROUTERS_MUST_NOT_BE_AHEAD, router, f"it applied a directory after {version}")
        for router in ahead
    )


def _known(cell: Cell, observation: Observation) -> tuple[UnitRun, ...]:
    """Every unit that the cell has ever heard of."""
    seen = observation.units[cell.id]
    return () if isinstance(seen, Unreachable) else seen.units


def _spread(runs: Iterable[tuple[int, int, int]], *, without: set[int]) -> set[tuple[int, int]]:
    return {(unit, epoch) for first, last, epoch in runs for unit in range(first, last + 1) if unit not in without}


def _wait(reason: WaitReason, subject: str, detail: str) -> Plan:
    return Plan(waiting=(Waiting(reason=reason, subject=subject, detail=detail),))


def _joined(plans: Iterable[Plan]) -> Plan:
    parts = tuple(plans)
    return Plan(
        actions=tuple(action for part in parts for action in part.actions),
        waiting=tuple(waiting for part in parts for waiting in part.waiting),
    )
