"""A fleet in memory: what the control plane's database would record, and cells that adopt units once.

`MemoryFleet` keeps the promises of `control_plane.store` (compare-and-set everywhere) and passes the same conformance
suite (tests/integration/control_plane/test_store_conformance.py); the pure core needs nothing more to be exercised.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from contract.fleet import CellUnits, UnitRun
from contract.ids import CellId
from control_plane.fleet.configuration import ConfigurationPublication
from control_plane.fleet.model import Cell, Fleet, Instance, Observation, OwnedRun, Policy, Unreachable
from control_plane.fleet.placement import Share
from control_plane.fleet.plan import (
    Action,
    AssignFirstUnits,
    ChangeState,
    ForgetInstance,
    Plan,
    PutFirstUnits,
    plan,
)
from control_plane.fleet.publish import Publication, UnitChange, shows_units

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "issuer-1", "alg": "EdDSA"}]}
EMPTY_FLEET = Fleet(isolated={}, vendors={}, configurations={})


def instance(cell: str, *, number: int = 1, seen_at: datetime = NOON, revision: str = "0001") -> Instance:
    return Instance(
        url=f"http://{cell}-{number}:8080",
        zone="zone-a",
        admin_url=f"http://{cell}-{number}:8081",
        schema_revision=revision,
        software_version="0.1.0",
        first_seen_at=seen_at,
        seen_at=seen_at,
    )


def cell(name: str, state: str = "registered", *instances: Instance) -> Cell:
    return Cell(id=CellId(name), state=state, home_zone="zone-a", instances=instances or (instance(name),))


def fleet_of(cells: Iterable[Cell], *runs: OwnedRun, **members: object) -> Fleet:
    ordered = tuple(sorted(cells, key=lambda one: one.id))
    return replace(EMPTY_FLEET, cells=ordered, runs=runs, **members)


def owned(name: str, *runs: tuple[int, int], epoch: int = 1, state: str = "active") -> CellUnits:
    return CellUnits(
        cell=name,
        units=tuple(UnitRun(first=first, last=last, state=state, epoch=epoch) for first, last in runs),
    )


def seeing(*units: CellUnits, unreachable: Iterable[str] = (), **members: object) -> Observation:
    seen: dict[CellId, CellUnits | Unreachable] = {CellId(one.cell): one for one in units}
    seen |= {CellId(name): Unreachable(detail="connection refused") for name in unreachable}
    plain = Observation(units=seen, listening_since=NOON - timedelta(hours=1), routers={}, jwks=JWKS)
    return replace(plain, **members)


class MemoryFleet:
    """What is recorded. Every write says whether it was done, and does nothing where it was outpaced."""

    def __init__(self) -> None:
        self.fleet = EMPTY_FLEET

    def register(self, name: str, new: Instance) -> bool:
        """False for a retired cell."""
        known = {one.id: one for one in self.fleet.cells}
        found = known.get(CellId(name))
        if found is None:
            found = Cell(id=CellId(name), state="registered", home_zone="zone-a")
        if found.state == "retired":
            return False
        others = tuple(one for one in found.instances if one.url != new.url)
        instances = tuple(sorted((*others, new), key=lambda one: one.url))
        self._put_cell(replace(found, instances=instances))
        return True

    def assign_first_units(self, shares: tuple[Share, ...]) -> bool:
        if self.fleet.runs:
            return False
        runs = tuple(OwnedRun(first=one.first, last=one.last, cell=one.cell) for one in shares)
        self.fleet = replace(self.fleet, runs=runs)
        return True

    def change_state(self, name: CellId, *, seen: str, following: str) -> bool:
        found = next((one for one in self.fleet.cells if one.id == name), None)
        if found is None or found.state != seen:
            return False
        self._put_cell(replace(found, state=following))
        return True

    def forget_instance(self, name: CellId, dead: Instance) -> bool:
        found = next(one for one in self.fleet.cells if one.id == name)
        if dead not in found.instances:
            return False
        self._put_cell(replace(found, instances=tuple(one for one in found.instances if one != dead)))
        return True

    def publish_directory(self, publication: Publication) -> bool:
        newest = self.fleet.directory.version if self.fleet.directory else None
        runs = _changed(self.fleet.runs, publication.changes)
        if newest != publication.after or runs is None:
            return False
        if not shows_units(publication.document, runs, self.fleet.isolated):
            return False
        self.fleet = replace(self.fleet, runs=runs, directory=publication.document)
        return True

    def publish_configuration(self, publication: ConfigurationPublication) -> bool:
        name = CellId(publication.document.cell)
        previous = self.fleet.configurations.get(name)
        if (previous.version if previous else None) != publication.after:
            return False
        published = {**self.fleet.configurations, name: publication.document}
        self.fleet = replace(self.fleet, configurations=published)
        return True

    def _put_cell(self, changed: Cell) -> None:
        others = (one for one in self.fleet.cells if one.id != changed.id)
        self.fleet = replace(self.fleet, cells=tuple(sorted((*others, changed), key=lambda one: one.id)))


class World:
    """The recorded fleet, the cells as they are, and the clock."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.store = MemoryFleet()
        self.adopted: dict[str, tuple[tuple[int, int], ...]] = {}
        self.unreachable: set[str] = set()
        self.refused_by_cells = 0
        self.now = NOON

    def observe(self) -> Observation:
        answers = [
            owned(one.id, *self.adopted.get(one.id, ()))
            for one in self.store.fleet.cells
            if one.id not in self.unreachable
        ]
        return seeing(*answers, unreachable=self.unreachable)

    def plan(self) -> Plan:
        return plan(self.store.fleet, self.observe(), self.policy, self.now)

    def act(self, actions: Iterable[Action]) -> list[bool]:
        return [self.do(action) for action in actions]

    def do(self, action: Action) -> bool:
        match action:
            case ForgetInstance():
                return self.store.forget_instance(action.cell, action.instance)
            case ChangeState():
                return self.store.change_state(action.cell, seen=action.seen, following=action.following)
            case AssignFirstUnits():
                return self.store.assign_first_units(action.shares)
            case PutFirstUnits():
                return self._put(action)
            case Publication():
                return self.store.publish_directory(action)
            case ConfigurationPublication():
                return self.store.publish_configuration(action)

    def settle(self, *, planned: Callable[[], Plan] | None = None, passes_max: int = 20) -> Plan:
        """The plan that has nothing left to do."""
        for _ in range(passes_max):
            following = (planned or self.plan)()
            if not any(self.act(following.actions)):
                return following
        raise AssertionError(f"the plan still has {following.actions} after {passes_max} passes")

    def _put(self, action: PutFirstUnits) -> bool:
        if action.cell in self.unreachable:
            return False
        if self.adopted.setdefault(action.cell, action.runs) != action.runs:
            self.refused_by_cells += 1
            return False
        return True


def _changed(runs: tuple[OwnedRun, ...], changes: tuple[UnitChange, ...]) -> tuple[OwnedRun, ...] | None:
    """The runs after all changes, or None when one of them starts from another epoch."""
    units = {unit: run for run in runs for unit in range(run.first, run.last + 1)}
    if any(change.unit not in units or units[change.unit].epoch != change.from_epoch for change in changes):
        return None
    for change in changes:
        units[change.unit] = OwnedRun(
            first=change.unit,
            last=change.unit,
            cell=CellId(change.cell),
            epoch=change.epoch,
            is_moving=change.is_moving,
        )
    return _runs_of(units) if changes else runs


def _runs_of(units: dict[int, OwnedRun]) -> tuple[OwnedRun, ...]:
    runs: list[OwnedRun] = []
    for unit, run in sorted(units.items()):
        last = runs[-1] if runs else None
        is_alike = last is not None and (last.cell, last.epoch, last.is_moving) == (run.cell, run.epoch, run.is_moving)
        if last is not None and is_alike and last.last == unit - 1:
            runs[-1] = replace(last, last=unit)
        else:
            runs.append(replace(run, first=unit, last=unit))
    return tuple(runs)
