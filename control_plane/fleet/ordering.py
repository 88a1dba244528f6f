"""Which of the planned moves are ordered now: in portions, and never more at once than a cell bears.

Empty units go in large portions, because they are granted in one transaction; others in small ones, so that a failed
move costs little and progress is seen.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from contract.ids import CellId
from contract.moves import UNITS_MAX
from contract.values import value
from control_plane.fleet.board import PlannedMove
from control_plane.fleet.placing import Picture
from control_plane.fleet.reasons import Waiting, WaitReason

MOVES_PER_CELL_MAX = 2
"""Moves that a cell takes part in at once; a certificate is measured with so many under way."""
LOADED_UNITS_MAX = 64
ENTRIES_MAX = 200_000
"""Entries that one portion copies: some seconds at the rate that copies are held to."""


@value
class Ordering:
    orders: tuple[PlannedMove, ...]
    waiting: tuple[Waiting, ...] = ()


def ordered_now(moves: Sequence[PlannedMove], picture: Picture, busy: Counter[CellId]) -> Ordering:
    """`busy` counts the open moves that each cell takes part in."""
    taken = Counter(busy)
    orders: list[PlannedMove] = []
    delayed: Counter[CellId] = Counter()
    for portion in _in_turn([list(portions(move, picture)) for move in moves]):
        cells = (portion.from_cell, portion.to_cell)
        if any(taken[cell] >= MOVES_PER_CELL_MAX for cell in cells):
            delayed[portion.to_cell] += max(1, len(portion.units))
            continue
        taken.update(cells)
        orders.append(portion)
    detail = "{} units wait until one of the moves of a cell has ended; " + f"{MOVES_PER_CELL_MAX} at once may run"
    return Ordering(
        orders=tuple(orders),
        waiting=tuple(
            Waiting(reason=WaitReason.CONCURRENT_MOVES_MUST_BE_FEWER, subject=cell, detail=detail.format(count))
            for cell, count in sorted(delayed.items())
        ),
    )


def portions(move: PlannedMove, picture: Picture) -> Iterator[PlannedMove]:
    """The move in pieces that one order carries; the empty units first."""
    if move.wallet_id is not None:
        yield move
        return
    source = next((holder for holder in picture.holders if holder.cell == move.from_cell), None)
    is_known = source is not None and source.is_known
    empty = [unit for unit in move.units if is_known and unit not in picture.loads]
    loaded = [unit for unit in move.units if not is_known or unit in picture.loads]
    for start in range(0, len(empty), UNITS_MAX):
        yield replace(move, units=tuple(empty[start : start + UNITS_MAX]))
    for units in _bounded(loaded, picture):
        yield replace(move, units=tuple(units))


def _bounded(units: Iterable[int], picture: Picture) -> Iterator[list[int]]:
    portion: list[int] = []
    entries = 0
    for unit in units:
        more = picture.load_of(unit).entries
        if portion and (len(portion) >= LOADED_UNITS_MAX or entries + more > ENTRIES_MAX):
            yield portion
            portion, entries = [], 0
        portion.append(unit)
        entries += more
    if portion:
        yield portion


def _in_turn(queues: list[list[PlannedMove]]) -> Iterator[PlannedMove]:
    """One of each, again and again: no move waits for another one's last portion."""
    while queues := [queue for queue in queues if queue]:
        for queue in queues:
            yield queue.pop(0)
