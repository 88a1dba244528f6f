"""Filling a new cell and draining one that leaves: every slot finds a cell by the cells' fair shares.

Neighbouring slots stay together where their weight allows it, so that the directory stays short. A filled cell takes
from each other one what that one has above its own share, and no more.
"""

from collections import Counter

from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST
from control_plane.fleet.board import Board, Cause, stretch
from control_plane.fleet.placing import Holder, Picture, slot_shares, slots_of
from control_plane.fleet.reasons import Waiting, WaitReason


def drain(board: Board, leaving: Holder) -> tuple[Waiting, ...]:
    """Every movable unit of the cell goes elsewhere; what stays is told."""
    if not board.units[leaving.cell]:
        return ()
    if not board.takers:
        detail = f"{len(leaving.units)} units have nowhere to go: add or activate another cell"
        return (Waiting(reason=WaitReason.ANOTHER_CELL_MUST_BE_ACTIVE, subject=leaving.cell, detail=detail),)
    wanted = _wanted(board)
    targets: dict[CellId, list[int]] = {}
    homeless: list[int] = []
    rooms = {holder.cell: board.room(holder.cell) for holder in board.takers}
    current: CellId | None = None
    for unit in board.movable(leaving):
        weight = board.dimension.weight_of(unit)
        if current is None or unit >= ISOLATED_UNIT_FIRST or wanted[current] <= 0 or weight > rooms[current]:
            current = _best(wanted, rooms, weight)
        if current is None:
            homeless.append(unit)
            continue
        targets.setdefault(current, []).append(unit)
        rooms[current] -= weight
        if unit < ISOLATED_UNIT_FIRST:
            wanted[current] -= 1
    for target, units in sorted(targets.items()):
        board.move(units, from_cell=leaving.cell, to_cell=target, cause=Cause.DRAIN)
    return (*_without_room(leaving.cell, homeless), *held_back(board, leaving))


def fill(board: Board, newcomer: Holder) -> tuple[Waiting, ...]:
    """The cell gets its share of slots, a stretch from each cell that has more than its own."""
    missing = _wanted(board)[newcomer.cell]
    told: list[Waiting] = []
    for donor, surplus in _donors(board):
        units = slots_of(board.movable(donor))
        count = min(missing, surplus, len(units))
        if count <= 0:
            continue
        slots = len(slots_of(board.units[donor.cell]))
        chosen = stretch(
            units,
            count,
            dimension=board.dimension,
            wanted=board.weights[donor.cell] * count / slots,
            room=board.room(newcomer.cell),
        )
        if len(chosen) < count:
            told += _without_room(newcomer.cell, units[: count - len(chosen)])
        if chosen:
            board.move(chosen, from_cell=donor.cell, to_cell=newcomer.cell, cause=Cause.FILL)
            missing -= len(chosen)
        told += held_back(board, donor)
    return tuple(told)


def is_filled(picture: Picture, newcomer: Holder) -> bool:
    """It has its share, or nobody has more than their own; counted as if all open moves had ended."""
    shares = slot_shares(picture)
    if len(slots_of(newcomer.units)) >= shares[newcomer.cell]:
        return True
    return not any(
        len(slots_of(holder.units)) > shares[holder.cell]
        if holder.role == "takes"
        else holder.role == "gives" and slots_of(holder.units)
        for holder in picture.holders
    )


def held_back(board: Board, holder: Holder) -> tuple[Waiting, ...]:
    """What of the cell is not to be moved now, one line per reason."""
    units = board.units[holder.cell]
    held = [why for unit, why in sorted(board.picture.held_back.items()) if unit in units]
    counts = Counter(one.reason for one in held)
    first = {one.reason: one.detail for one in reversed(held)}
    return tuple(
        Waiting(reason=reason, subject=holder.cell, detail=f"{_units(count)}, the first: {first[reason]}")
        for reason, count in sorted(counts.items())
        if reason is not WaitReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE
    )


def _wanted(board: Board) -> dict[CellId, int]:
    """Slots that each taking cell lacks; negative for one that has more than its share."""
    shares = slot_shares(board.picture)
    return {cell: share - len(slots_of(board.units[cell])) for cell, share in shares.items()}


def _donors(board: Board) -> list[tuple[Holder, int]]:
    """Who has more than its share, the one with most of it first."""
    wanted = _wanted(board)
    donors = [(holder, -wanted[holder.cell]) for holder in board.takers if wanted[holder.cell] < 0]
    return sorted(donors, key=lambda one: (-one[1], one[0].cell))


def _best(wanted: dict[CellId, int], rooms: dict[CellId, float], weight: float) -> CellId | None:
    fitting = [cell for cell, room in rooms.items() if weight <= room]
    return min(fitting, key=lambda cell: (-wanted[cell], cell), default=None)


def _without_room(cell: CellId, units: list[int]) -> tuple[Waiting, ...]:
    if not units:
        return ()
    detail = f"{_units(len(units))} would put a cell above its placement ceiling, the first is {units[0]}: add a cell"
    return (Waiting(reason=WaitReason.TARGET_MUST_HAVE_ROOM, subject=cell, detail=detail),)


def _units(count: int) -> str:
    return f"{count} unit{'s' if count != 1 else ''}"
