"""The way to a planned switch-over of a cell's primary database, as an evacuation needs it: one small port."""

from typing import Protocol

from contract.primaries import PrimaryDirection
from contract.values import value
from control_plane.fleet.model import Cell, Unreachable


@value
class SwitchedOver:
    """The primary is where it was wanted, whoever brought it there."""

    detail: str = ""


@value
class UnderWay:
    detail: str = ""


@value
class MustWait:
    """Nothing was begun: something has to come first, and may come by itself."""

    detail: str


@value
class NotAvailable:
    """It cannot be done, and will not be by waiting; people must know."""

    detail: str


@value
class SwitchFailed:
    detail: str


SwitchOutcome = SwitchedOver | UnderWay | MustWait | NotAvailable | SwitchFailed | Unreachable


@value
class SwitchOrder:
    """Where the primary is to be: not in the zone, or in it again. It never says that it is to change places."""

    cell: Cell
    zone: str
    direction: PrimaryDirection
    fence: int
    """The number of the lease under which it is given; a lower one than the last is not obeyed."""
    may_begin: bool = True
    """Else it is only told how far it is; MustWait where nothing is under way."""
    is_begun: bool = False
    """It was told to be under way before. Whose promotion it is, this does not tell."""


class SwitchOvers(Protocol):
    async def switch(self, order: SwitchOrder) -> SwitchOutcome:
        """Begin it if it is needed, or tell how far it is: the same order again changes nothing. Bounded in time."""

    async def close(self) -> None: ...


class NoSwitchOvers:
    """Where nobody told the control plane what carries the databases of its cells: each is believed to be at home."""

    async def switch(self, order: SwitchOrder) -> SwitchOutcome:
        home = order.cell.home_zone
        if order.direction == "away" and home != order.zone:
            return SwitchedOver(detail=f"its home is zone {home}; this control plane cannot ask where its primary is")
        return NotAvailable(detail="this control plane was not told what carries the databases of its cells")

    async def close(self) -> None:
        return
