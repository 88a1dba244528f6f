"""The directory that shows some units as moving, as no longer moving, or as the target's."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Literal

from contract.ids import CellId
from control_plane.fleet.model import Fleet, OwnedRun
from control_plane.fleet.publish import Publication, UnitChange, next_publication
from control_plane.fleet.reasons import Waiting
from control_plane.moves.model import MovedUnit, MoveRecord

Shown = Literal["moving", "staying", "moved"]


def changes_of(move: MoveRecord, shown: Shown, fleet: Fleet) -> tuple[UnitChange, ...]:
    """What the units in hand need to be shown like that; none of those that are already."""
    here = _runs_of(fleet.runs, {unit.unit for unit in move.in_hand})
    wanted = (_change(move, unit, shown) for unit in move.in_hand)
    return tuple(change for change in wanted if not _is_shown(here[change.unit], change))


def publication_of(fleet: Fleet, changes: tuple[UnitChange, ...], now: datetime) -> Publication | tuple[Waiting, ...]:
    """Refused where directories refuse; `()` where the last one says all of it."""
    changed = replace(fleet, runs=changed_runs(fleet.runs, changes))
    following = next_publication(changed, now)
    if not isinstance(following, Publication):
        return following
    return Publication(document=following.document, after=following.after, changes=changes)


def changed_runs(runs: Iterable[OwnedRun], changes: tuple[UnitChange, ...]) -> tuple[OwnedRun, ...]:
    """The runs after the changes, as the database will join them: equal neighbours as one."""
    by_unit = {change.unit: change for change in changes}
    pieces = [piece for run in runs for piece in _pieces(run, by_unit)]
    joined: list[OwnedRun] = []
    for piece in sorted(pieces, key=lambda one: one.first):
        if joined and _continues(joined[-1], piece):
            joined[-1] = _run(joined[-1].first, piece.last, piece)
        else:
            joined.append(piece)
    return tuple(joined)


def _change(move: MoveRecord, unit: MovedUnit, shown: Shown) -> UnitChange:
    is_moved = shown == "moved"
    return UnitChange(
        unit=unit.unit,
        from_epoch=unit.from_epoch,
        cell=move.to_cell if is_moved else move.from_cell,
        epoch=unit.to_epoch if is_moved else unit.from_epoch,
        is_moving=shown == "moving",
    )


def _is_shown(run: OwnedRun, change: UnitChange) -> bool:
    """Also when the unit has gone further since: a directory never goes back."""
    if run.epoch != change.epoch:
        return run.epoch > change.epoch
    return (run.cell, run.is_moving) == (change.cell, change.is_moving)


def _runs_of(runs: Iterable[OwnedRun], units: set[int]) -> dict[int, OwnedRun]:
    return {unit: run for run in runs for unit in units.intersection(range(run.first, run.last + 1))}


def _pieces(run: OwnedRun, changes: dict[int, UnitChange]) -> list[OwnedRun]:
    touched = [unit for unit in range(run.first, run.last + 1) if unit in changes] if changes else []
    if not touched:
        return [run]
    numbers = range(run.first, run.last + 1)
    return [_piece([*members], run, change) for change, members in groupby(numbers, key=changes.get)]


def _piece(members: list[int], run: OwnedRun, change: UnitChange | None) -> OwnedRun:
    if change is None:
        return _run(members[0], members[-1], run)
    return OwnedRun(
        first=members[0],
        last=members[-1],
        cell=CellId(change.cell),
        epoch=change.epoch,
        is_moving=change.is_moving,
    )


def _run(first: int, last: int, like: OwnedRun) -> OwnedRun:
    return OwnedRun(first=first, last=last, cell=like.cell, epoch=like.epoch, is_moving=like.is_moving)


def _continues(one: OwnedRun, other: OwnedRun) -> bool:
    alike = (one.cell, one.epoch, one.is_moving) == (other.cell, other.epoch, other.is_moving)
    return alike and other.first == one.last + 1
