"""The board on which moves are tried: who would hold what, and how heavy each cell would be, move after move.

Keeps the promise that no plan may break: no cell above its room, no unit twice in a plan.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import accumulate

from contract.ids import CellId
from contract.values import value
from control_plane.fleet.placing import Dimension, Holder, Picture, dimension_of, weight_of

SPREAD_MAX = 0.20
"""How far above the mean of the fleet the busiest cell may be before units move."""


class Cause(StrEnum):
    DRAIN = "drain"
    FILL = "fill"
    CEILING = "ceiling"
    SPREAD = "spread"


@value
class PlannedMove:
    """Units of one cell that another one shall have; or one wallet, to be isolated first."""

    units: tuple[int, ...] = ()
    wallet_id: str | None = None
    unit_of_wallet: int | None = None
    """The slot that the wallet leaves."""
    from_cell: CellId
    to_cell: CellId
    cause: Cause
    weight: float
    """In the dimension of the plan."""


class Board:
    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.dimension: Dimension = dimension_of(picture)
        self.takers = [holder for holder in picture.holders if holder.role == "takes"]
        self.units: dict[CellId, set[int]] = {holder.cell: set(holder.units) for holder in picture.holders}
        self.weights: dict[CellId, float] = {
            holder.cell: weight_of(holder.units, self.dimension) for holder in picture.holders
        }
        self._moved: set[int] = set()
        self._moves: dict[tuple[CellId, CellId, Cause, str | None], PlannedMove] = {}

    @property
    def moves(self) -> tuple[PlannedMove, ...]:
        """Units that go the same way for the same cause are one move."""
        return tuple(self._moves.values())

    def score(self, cell: CellId) -> float:
        return self.weights[cell] / self.dimension.limits[cell]

    def room(self, cell: CellId, *, up_to: float | None = None) -> float:
        """What the cell may still be given: up to its ceiling, or to a lower share of its limit."""
        ceiling = self.dimension.ceilings[cell]
        level = ceiling if up_to is None else min(ceiling, up_to)
        return level * self.dimension.limits[cell] - self.weights[cell]

    @property
    def mean(self) -> float:
        """The score of every taking cell, if all that is placed were spread by their limits."""
        limits = sum(self.dimension.limits.values())
        return sum(self.weights[holder.cell] for holder in self.takers) / limits if limits else 0.0

    def movable(self, holder: Holder) -> list[int]:
        """In ascending order; what the plan has moved stays there."""
        return sorted(self.units[holder.cell] - self._moved - self.picture.held_back.keys())

    def rested(self, holder: Holder) -> list[int]:
        """Those that may move without an order about their cell."""
        return [unit for unit in self.movable(holder) if unit not in self.picture.resting]

    def move(self, units: Sequence[int], *, from_cell: CellId, to_cell: CellId, cause: Cause) -> None:
        self.units[from_cell].difference_update(units)
        self.units[to_cell].update(units)
        self._moved.update(units)
        weight = weight_of(units, self.dimension)
        self._record(PlannedMove(units=tuple(units), from_cell=from_cell, to_cell=to_cell, cause=cause, weight=weight))

    def move_wallet(
        self, wallet_id: str, *, unit: int, weight: float, from_cell: CellId, to_cell: CellId, cause: Cause
    ) -> None:
        self._record(
            PlannedMove(
                wallet_id=wallet_id,
                unit_of_wallet=unit,
                from_cell=from_cell,
                to_cell=to_cell,
                cause=cause,
                weight=weight,
            )
        )

    def _record(self, move: PlannedMove) -> None:
        self.weights[move.from_cell] -= move.weight
        self.weights[move.to_cell] += move.weight
        way = (move.from_cell, move.to_cell, move.cause, move.wallet_id)
        known = self._moves.get(way)
        self._moves[way] = move if known is None else _joined(known, move)


def _joined(one: PlannedMove, other: PlannedMove) -> PlannedMove:
    return replace(one, units=(*one.units, *other.units), weight=one.weight + other.weight)


LIKE_ENOUGH = 0.25
"""The last stretch is taken when its weight is so near to the wanted one: it keeps the map short and plans stable."""


def stretch(units: Sequence[int], count: int, *, dimension: Dimension, wanted: float, room: float) -> tuple[int, ...]:
    """So many neighbouring units of a cell whose weight is as wanted and fits into the room; none if there are none."""
    sums = [0.0, *accumulate(map(dimension.weight_of, units))]
    last = len(units) - count
    weights = [sums[start + count] - sums[start] for start in range(last + 1)]
    if weights[last] <= room and abs(weights[last] - wanted) <= LIKE_ENOUGH * wanted:
        return tuple(units[last:])
    fitting = [start for start, weight in enumerate(weights) if weight <= room]
    if not fitting:
        return ()
    best = min(reversed(fitting), key=lambda start: abs(weights[start] - wanted))
    return tuple(units[best : best + count])


def coldest(board: Board, cells: Iterable[CellId], *, weight: float, up_to: float | None = None) -> CellId | None:
    """The least burdened cell that has room for the weight."""
    fitting = [cell for cell in cells if weight <= board.room(cell, up_to=up_to)]
    return min(fitting, key=lambda cell: (board.score(cell), cell), default=None)
