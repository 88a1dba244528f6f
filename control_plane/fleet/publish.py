"""What the directory says next, and which publications are refused.

The directory always holds the full map. Versions and epochs never decrease; a unit with a new owner has a higher
epoch; a document that gives too many units to other cells, or leaves a cell out, needs an explicit allowance: this
is the one fault that cells do not contain.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from contract.directory import CHANGE_SHARE_MAX, DirectoryCell, DirectoryDocument
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS
from contract.values import value
from control_plane.fleet.instants import instant_text, unix_ms
from control_plane.fleet.model import Cell, Fleet, OwnedRun
from control_plane.fleet.reasons import Waiting, WaitReason

LISTED_STATES = frozenset({"ready", "active", "draining", "empty"})
"""A registered cell has not passed its preflight, a retired one is gone: routers know neither."""


_OF_THE_PUBLICATION = {"version", "previous_version", "issued_at", "is_large_change_meant"}
"""Members that tell one publication from another and say nothing of the fleet."""


@value
class Allowance:
    """What an operator has explicitly allowed one publication to do."""

    reassigned: bool = False
    dropped_cells: frozenset[str] = frozenset()


NO_ALLOWANCE = Allowance()


@value
class UnitChange:
    """A compare-and-set on one unit: applies only while the unit is at `from_epoch`."""

    unit: int
    from_epoch: int
    cell: str
    epoch: int
    is_moving: bool


@value
class Publication:
    """A document to be signed and published right after version `after`, together with the changes that it shows."""

    document: DirectoryDocument
    after: int | None
    changes: tuple[UnitChange, ...] = ()


def next_version(last: int | None, now: datetime) -> int:
    """Above the last one, and above any earlier life of this fleet: a rebuilt directory is not older."""
    return max((last or 0) + 1, unix_ms(now))


def next_publication(
    fleet: Fleet, now: datetime, *, allowance: Allowance = NO_ALLOWANCE
) -> Publication | tuple[Waiting, ...]:
    """The publication that brings the directory up to the fleet: refused, or nothing to say `()`."""
    previous = fleet.directory
    document = directory_of(fleet, now)
    if previous is None:
        return Publication(document=document, after=None)
    if says_the_same(previous, document):
        return ()
    refusals = publication_refusals(previous, document, allowance=allowance)
    if refusals:
        return refusals
    is_large = bool(publication_refusals(previous, document, allowance=NO_ALLOWANCE))
    return Publication(document=document.model_copy(update={"is_large_change_meant": is_large}), after=previous.version)


def directory_of(fleet: Fleet, now: datetime) -> DirectoryDocument:
    previous_version = fleet.directory.version if fleet.directory else None
    return DirectoryDocument(
        version=next_version(previous_version, now),
        previous_version=previous_version,
        issued_at=instant_text(now),
        cells={cell.id: _listed(cell, fleet.evacuated_zones) for cell in fleet.cells if cell.state in LISTED_STATES},
        **_unit_members(fleet.runs, fleet.isolated),
    )


def shows_units(document: DirectoryDocument, runs: tuple[OwnedRun, ...], isolated: Mapping[str, int]) -> bool:
    """Whether the document says of every unit what `runs` say."""
    shown = _unit_members(runs, isolated)
    return all(getattr(document, name) == member for name, member in shown.items())


def says_the_same(one: DirectoryDocument, other: DirectoryDocument) -> bool:
    """Whether two documents say the same of cells and units, whatever their numbers and times."""
    return one.model_dump(exclude=_OF_THE_PUBLICATION) == other.model_dump(exclude=_OF_THE_PUBLICATION)


def publication_refusals(
    previous: DirectoryDocument, following: DirectoryDocument, *, allowance: Allowance
) -> tuple[Waiting, ...]:
    """Why `following` may not follow `previous`; empty when it may."""
    return (
        *_lost_slots(previous, following),
        *_epoch_refusals(previous, following),
        *_share_refusals(previous, following, allowance),
        *_drop_refusals(previous, following, allowance),
    )


def _listed(cell: Cell, evacuated_zones: frozenset[str]) -> DirectoryCell:
    return DirectoryCell(
        api=tuple(instance.api for instance in cell.instances),
        zone_weights=dict.fromkeys(sorted(evacuated_zones), 0),
        state=cell.state,
    )


def _unit_members(runs: tuple[OwnedRun, ...], isolated: Mapping[str, int]) -> dict[str, Any]:
    """The members of a directory document that speak of units. A rejoined unit has a row and is not spoken of."""
    isolated_units = frozenset(isolated.values())
    units = [
        (unit, run)
        for run in runs
        if run.last >= ISOLATED_UNIT_FIRST or run.epoch > 1 or run.is_moving
        for unit in range(run.first, run.last + 1)
        if unit < SLOTS or unit in isolated_units
    ]
    return {
        "slots": _joined(tuple((run.last - run.first + 1, str(run.cell)) for run in runs if run.last < SLOTS)),
        "isolated": dict(isolated),
        "unit_cells": {unit: run.cell for unit, run in units if unit in isolated_units},
        "epochs": {unit: run.epoch for unit, run in units if run.epoch > 1},
        "moving": tuple(unit for unit, run in units if run.is_moving),
    }


def _joined(runs: tuple[tuple[int, str], ...]) -> tuple[tuple[int, str], ...]:
    """Neighbouring runs of the same cell as one: epochs and moves may have split them."""
    joined: list[tuple[int, str]] = []
    for count, cell in runs:
        if joined and joined[-1][1] == cell:
            joined[-1] = (joined[-1][0] + count, cell)
        else:
            joined.append((count, cell))
    return tuple(joined)


def _owners(document: DirectoryDocument) -> dict[int, str]:
    return {**dict(enumerate(document.slot_cells())), **document.unit_cells}


def _lost_slots(previous: DirectoryDocument, following: DirectoryDocument) -> tuple[Waiting, ...]:
    if previous.slots and not following.slots:
        return (_refusal(WaitReason.UNITS_MUST_NOT_DISAPPEAR, f"all {SLOTS} slots would lose their cell"),)
    return ()


def _epoch_refusals(previous: DirectoryDocument, following: DirectoryDocument) -> tuple[Waiting, ...]:
    before, after = _owners(previous), _owners(following)
    kept = before.keys() & after.keys()
    fallen = [unit for unit in kept if following.epochs.get(unit, 1) < previous.epochs.get(unit, 1)]
    stolen = [
        unit
        for unit in kept
        if before[unit] != after[unit] and following.epochs.get(unit, 1) == previous.epochs.get(unit, 1)
    ]
    refusals = []
    if fallen:
        refusals.append(_refusal(WaitReason.EPOCHS_MUST_NOT_DECREASE, _some("units", fallen)))
    if stolen:
        refusals.append(_refusal(WaitReason.EPOCH_MUST_RISE_WITH_NEW_OWNER, _some("units", stolen)))
    return tuple(refusals)


def _share_refusals(
    previous: DirectoryDocument, following: DirectoryDocument, allowance: Allowance
) -> tuple[Waiting, ...]:
    before, after = _owners(previous), _owners(following)
    reassigned = sum(1 for unit, cell in before.items() if after.get(unit, cell) != cell)
    if allowance.reassigned or reassigned <= CHANGE_SHARE_MAX * len(before):
        return ()
    detail = f"{reassigned} of {len(before)} units would change their cell, {CHANGE_SHARE_MAX:.0%} may"
    return (_refusal(WaitReason.REASSIGNED_SHARE_MUST_BE_ALLOWED, detail),)


def _drop_refusals(
    previous: DirectoryDocument, following: DirectoryDocument, allowance: Allowance
) -> tuple[Waiting, ...]:
    dropped = sorted(previous.cells.keys() - following.cells.keys() - allowance.dropped_cells)
    return (_refusal(WaitReason.DROPPED_CELL_MUST_BE_ALLOWED, _some("cells", dropped)),) if dropped else ()


def _refusal(reason: WaitReason, detail: str) -> Waiting:
    return Waiting(reason=reason, subject="directory", detail=detail)


def _some(what: str, members: list[int] | list[str]) -> str:
    shown = ", ".join(str(member) for member in sorted(members)[:5])
    return f"{len(members)} {what}: {shown}{', ...' if len(members) > 5 else ''}"
