"""Who holds which units, how heavy they are, and what each cell may carry: the values that rebalancing works on.

Weights are traffic: the only thing that cells are certified for. The score of a cell is what it carries of its limit;
where not all cells are certified, of an equal part of everything. How many slots a cell should have is told apart.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS
from contract.values import value
from control_plane.fleet.reasons import WaitReason

Role = Literal["takes", "gives", "keeps"]
"""An active cell takes and gives; a draining one gives all; any other is left alone."""
TRAFFIC_MIN_PER_S = 1.0
"""Of a cell on average, where none is certified: less is chance, and no reason to move anything."""
HOT_WALLET_SHARE = 0.10
"""Of a cell's limit: a wallet above it is worth a unit of its own."""


@value
class UnitLoad:
    """What a cell tells of one unit."""

    wallets: int = 0
    entries: int = 0
    rate_per_s: float = 0.0


@value
class HotWallet:
    wallet_id: str
    unit: int
    rate_per_s: float


@value
class Holder:
    """A cell with the units that it has once all open moves have ended."""

    cell: CellId
    role: Role
    units: tuple[int, ...] = ()
    """Ascending."""
    is_filling: bool = False
    """It has been activated and has not had its share yet."""
    limit_per_s: float | None = None
    """None = not certified."""
    ceiling: float = 1.0
    """Share of the limit that placement may give it."""
    is_known: bool = True
    """Whether it has told the loads of its units."""


@value
class Picture:
    """Everything that a plan of moves follows from."""

    holders: tuple[Holder, ...]
    """In id order."""
    loads: Mapping[int, UnitLoad]
    """By unit; a unit without an entry is empty, if its cell is known."""
    hot_wallets: tuple[HotWallet, ...] = ()
    """The busiest first."""
    held_back: Mapping[int, "Held"]
    """Units that are not to be moved now, and why."""
    resting: Mapping[int, "Held"]
    """Units that only an order about their cell may move again so soon, and why."""
    isolated: int = 0
    """Wallets that have a unit of their own."""

    def load_of(self, unit: int) -> UnitLoad:
        return self.loads.get(unit, NO_LOAD)


NO_LOAD = UnitLoad()


@value
class Held:
    """Why a unit stays where it is for now."""

    reason: WaitReason
    detail: str


@value
class Dimension:
    """A way to weigh units. `limits` and `ceilings` are of the cells that take."""

    name: str
    weights: Mapping[int, float]
    limits: Mapping[CellId, float]
    ceilings: Mapping[CellId, float]
    """Share of the limit that a cell may be given."""

    def weight_of(self, unit: int) -> float:
        return self.weights.get(unit, 0.0)


def is_certified(picture: Picture) -> bool:
    """Whether every cell that takes has a limit: otherwise their shares cannot be compared with one."""
    takers = [holder for holder in picture.holders if holder.role == "takes"]
    return bool(takers) and all(holder.limit_per_s is not None for holder in takers)


def dimension_of(picture: Picture) -> Dimension:
    takers = [holder for holder in picture.holders if holder.role == "takes"]
    rates = {unit: load.rate_per_s for unit, load in picture.loads.items() if load.rate_per_s > 0}
    if is_certified(picture):
        return Dimension(
            name="traffic",
            weights=rates,
            limits={holder.cell: holder.limit_per_s or 1.0 for holder in takers},
            ceilings={holder.cell: holder.ceiling for holder in takers},
        )
    total = sum(rates.values())
    is_enough = bool(takers) and total >= TRAFFIC_MIN_PER_S * len(takers)
    return Dimension(
        name="traffic, evenly",
        weights=rates if is_enough else {},
        limits={holder.cell: total / len(takers) if is_enough else 1.0 for holder in takers},
        ceilings={holder.cell: float("inf") for holder in takers},
    )


def weight_of(units: Iterable[int], dimension: Dimension) -> float:
    return sum(map(dimension.weight_of, units))


def scores(picture: Picture) -> dict[CellId, float]:
    """What each taking cell carries, as a share of its limit."""
    dimension = dimension_of(picture)
    return {
        holder.cell: weight_of(holder.units, dimension) / dimension.limits[holder.cell]
        for holder in picture.holders
        if holder.role == "takes"
    }


def slot_shares(picture: Picture) -> dict[CellId, int]:
    """How many slots each taking cell should have: by certified limits, else evenly; together every slot."""
    takers = [holder for holder in picture.holders if holder.role == "takes"]
    by_limit = is_certified(picture)
    sizes = {holder.cell: (holder.limit_per_s or 1.0) * holder.ceiling if by_limit else 1.0 for holder in takers}
    total = sum(sizes.values())
    exact = {cell: SLOTS * size / total for cell, size in sizes.items()}
    shares = {cell: int(wanted) for cell, wanted in exact.items()}
    most_missing = sorted(exact, key=lambda cell: (shares[cell] - exact[cell], cell))
    for cell in most_missing[: SLOTS - sum(shares.values())]:
        shares[cell] += 1
    return shares


def slots_of(units: Iterable[int]) -> list[int]:
    """Those that are no isolated wallets."""
    return [unit for unit in units if unit < ISOLATED_UNIT_FIRST]
