"""The first placement: an empty fleet's first cells share all slots evenly, each a contiguous stretch.

Later placement is by moves; this is the only time that units get an owner without one.
"""

from collections.abc import Sequence

from contract.ids import CellId
from contract.slots import SLOTS
from contract.values import value


@value
class Share:
    """The slots `first..last` of one cell."""

    cell: CellId
    first: int
    last: int


def first_shares(cells: Sequence[CellId]) -> tuple[Share, ...]:
    """Shares in id order whose sizes differ by at most one and that cover every slot exactly once."""
    ordered = sorted(set(cells))
    bounds = [index * SLOTS // len(ordered) for index in range(len(ordered) + 1)]
    return tuple(
        Share(cell=cell, first=first, last=following - 1)
        for cell, first, following in zip(ordered, bounds, bounds[1:], strict=False)
    )
