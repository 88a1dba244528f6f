"""Filling a new cell and draining one that leaves: every slot finds a cell by the cells' fair shares.

Neighbouring slots stay together where their weight allows it, so that the directory stays short. A filled cell takes
from each other one what that one has above its own share, and no more.
"""

from collections import Counter
from itertools import accumulate

from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST
from control_plane.fleet.board import SPREAD_MAX, Board, Cause, stretch
from control_plane.fleet.placing import Holder, Picture, slot_shares, slots_of
from control_plane.fleet.reasons import Waiting, WaitReason


def drain(board: Board, leaving: Holder) -> tuple[Waiting, ...]:
    """Every movable unit of the cell goes elsewhere; what stays is told."""
    if not board.units[leaving.cell]:
        return ()
    if not board.takers:
        detail = f"{len(leaving.units)} units have nowhere to go: add or activate another cell"
        return (Waiting(reason=WaitReason.ANOTHER_CELL_MUST_BE_ACTIVE, subject=leaving.cell, detail=detail),)
    places = _Places(board)
    targets: dict[CellId, list[int]] = {}
    homeless: list[int] = []
    for unit in board.movable(leaving):
        target = places.take(unit, board.dimension.weight_of(unit))
        if target is None:
            homeless.append(unit)
        else:
            targets.setdefault(target, []).append(unit)
    for target, units in sorted(targets.items()):
        board.move(units, from_cell=leaving.cell, to_cell=target, cause=Cause.DRAIN)
    return (*_without_room(leaving.cell, homeless), *held_back(board, leaving))


def fill(board: Board, newcomer: Holder, *, cause: Cause = Cause.FILL) -> tuple[Waiting, ...]:
    """The cell gets its share of slots, a stretch from each cell that has more than its own."""
    missing = _wanted(board)[newcomer.cell]
    told: list[Waiting] = []
    for donor, surplus in _donors(board):
        units = slots_of(board.movable(donor))
        count = min(missing, surplus, len(units))
        if count <= 0:
            continue
        chosen = _stretch(board, units, count, donor=donor.cell, newcomer=newcomer.cell)
        if chosen:
            board.move(chosen, from_cell=donor.cell, to_cell=newcomer.cell, cause=cause)
            missing -= len(chosen)
        if len(chosen) < count:
            left = sorted(set(units) - set(chosen))
            told += _without_room(newcomer.cell, left[: count - len(chosen)])
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


def lacking(board: Board) -> list[Holder]:
    """Cells that have clearly fewer slots than their share."""
    shares, wanted = slot_shares(board.picture), _wanted(board)
    return [holder for holder in board.takers if wanted[holder.cell] > shares[holder.cell] * SPREAD_MAX]


def held_back(board: Board, holder: Holder, *, and_resting: bool = False) -> tuple[Waiting, ...]:
    """What of the cell is not to be moved now, one line per reason."""
    units = board.units[holder.cell]
    reasons = {**(board.picture.resting if and_resting else {}), **board.picture.held_back}
    held = [why for unit, why in sorted(reasons.items()) if unit in units]
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


def _stretch(board: Board, units: list[int], count: int, *, donor: CellId, newcomer: CellId) -> tuple[int, ...]:
    """Neighbours that do not burden the newcomer; where there are none, the lightest units, and as many as it bears."""
    wanted = board.weights[donor] * count / len(slots_of(board.units[donor]))
    room = max(0.0, board.room(newcomer, up_to=board.mean * (1 + SPREAD_MAX / 2)))
    chosen = stretch(units, count, dimension=board.dimension, wanted=wanted, room=room)
    if chosen:
        return chosen
    lightest = sorted(units, key=board.dimension.weight_of)[:count]
    sums = accumulate(map(board.dimension.weight_of, lightest))
    return tuple(sorted(unit for unit, weight in zip(lightest, sums, strict=True) if weight <= room))


class _Places:
    """Finds each unit of a leaving cell its next one: the same as for its neighbour as long as that fits."""

    def __init__(self, board: Board) -> None:
        cells = [holder.cell for holder in board.takers]
        carried = sum(board.weights.values()) / sum(board.dimension.limits.values())
        level = carried * (1 + SPREAD_MAX / 2)
        self._wanted = _wanted(board)
        self._rooms = {cell: board.room(cell) for cell in cells}
        self._even_rooms = {cell: board.room(cell, up_to=level) for cell in cells}
        self._current: CellId | None = None

    def take(self, unit: int, weight: float) -> CellId | None:
        """None where no cell has room."""
        is_slot = unit < ISOLATED_UNIT_FIRST
        current = self._current
        if current is None or not is_slot or self._wanted[current] <= 0 or not _fits(weight, self._even_rooms[current]):
            current = self._best(self._even_rooms, weight) or self._best(self._rooms, weight)
        if current is None:
            return None
        self._current = current
        self._rooms[current] -= weight
        self._even_rooms[current] -= weight
        if is_slot:
            self._wanted[current] -= 1
        return current

    def _best(self, rooms: dict[CellId, float], weight: float) -> CellId | None:
        """The one with room that lacks most slots."""
        fitting = [cell for cell, room in rooms.items() if _fits(weight, room)]
        return min(fitting, key=lambda cell: (-self._wanted[cell], cell), default=None)


def _fits(weight: float, room: float) -> bool:
    """What weighs nothing fits everywhere."""
    return weight <= max(0.0, room)


def _without_room(cell: CellId, units: list[int]) -> tuple[Waiting, ...]:
    if not units:
        return ()
    detail = f"{_units(len(units))} would put a cell above its placement ceiling, the first is {units[0]}: add a cell"
    return (Waiting(reason=WaitReason.TARGET_MUST_HAVE_ROOM, subject=cell, detail=detail),)


def _units(count: int) -> str:
    return f"{count} unit{'s' if count != 1 else ''}"
