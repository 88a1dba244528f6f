"""How much a cell may be given, and how many cells a demand takes. Pure.

λmax   = L·(1−δ)·(1−m) / (1 + ρF/D)       what a cell carries with a zone gone, while units move, after a failover
λplace = λmax / ((1+v)·(1+g)^T)           what placement gives it: its share may be uneven, and it grows until
                                          somebody can act
cells  = ⌈Λ/λplace⌉ + S                   S stay empty: adding capacity is then a move, and no purchase
"""

import math

from cellwallet.headroom.sound import HeadroomMustBeSoundError as Unsound
from cellwallet.headroom.sound import (
    must_be_at_least,
    must_be_finite,
    must_be_positive,
    must_be_share,
    must_not_be_negative,
)
from contract.slots import SLOTS
from contract.values import value


@value
class CellMargins:
    """What a cell was measured to do, and what must not take it by surprise. Shares are of 1."""

    limit_per_s: float
    """L: the highest rate of commands at which the cell keeps its promises."""
    degraded_loss: float = 0.10
    """δ: share of the limit that is gone with a zone's API processes and one standby."""
    moves_loss: float = 0.05
    """m: share of the limit that two concurrent moves take."""
    failover_s: float = 30.0
    """F: how long nothing is written while a standby takes over."""
    returning_share: float = 0.6
    """ρ: of the commands that came meanwhile, those that come again."""
    drain_s: float = 300.0
    """D: within which time what has come again must be worked off."""

    def __post_init__(self) -> None:
        must_be_positive("limit_per_s (L)", self.limit_per_s)
        must_be_share("degraded_loss (δ)", self.degraded_loss)
        must_be_share("moves_loss (m)", self.moves_loss)
        if self.degraded_loss + self.moves_loss >= 1:
            raise Unsound("degraded_loss (δ) and moves_loss (m) must be below 1 together: nothing would be left")
        must_not_be_negative("failover_s (F)", self.failover_s)
        must_not_be_negative("returning_share (ρ)", self.returning_share)
        must_be_positive("drain_s (D)", self.drain_s)

    @property
    def worst_per_s(self) -> float:
        """What the cell still does with a zone gone and units moving: it is never asked for more."""
        return self.limit_per_s * (1 - self.degraded_loss) * (1 - self.moves_loss)

    @property
    def carried_per_s(self) -> float:
        """λmax: steady demand that leaves room to work off what a failover held up."""
        carried_per_s = self.worst_per_s / (1 + self.returning_share * self.failover_s / self.drain_s)
        must_be_finite("λmax", carried_per_s)
        return carried_per_s


@value
class Outlook:
    """What becomes of a cell's share until somebody can act."""

    spread: float = 0.15
    """v: how far above the mean the busiest cell may be."""
    growth_per_day: float = 0.01
    """g: 0.01 = 1 % more demand each day."""
    lead_days: float = 7.0
    """T: until new capacity is there."""

    def __post_init__(self) -> None:
        must_not_be_negative("spread (v)", self.spread)
        must_not_be_negative("growth_per_day (g)", self.growth_per_day)
        must_not_be_negative("lead_days (T)", self.lead_days)

    @property
    def factor(self) -> float:
        """By how much the demand on the busiest cell may exceed today's mean."""
        try:
            return float((1 + self.spread) * (1 + self.growth_per_day) ** self.lead_days)
        except OverflowError as error:
            raise Unsound("(1 + growth_per_day) ^ lead_days is beyond all bounds") from error


def placed_per_s(margins: CellMargins, outlook: Outlook) -> float:
    """λplace: what placement may give to a cell."""
    rate_per_s = margins.carried_per_s / outlook.factor
    must_be_finite("λplace", rate_per_s)
    return rate_per_s


def cells_for(demand_per_s: float, *, placed_per_s: float, spare_cells: int = 1) -> int:
    """Cells that a demand takes, the empty ones included."""
    must_be_positive("demand_per_s (Λ)", demand_per_s)
    must_be_positive("placed_per_s (λplace)", placed_per_s)
    must_be_at_least("spare_cells (S)", spare_cells, 1)
    if demand_per_s / placed_per_s > SLOTS:
        raise Unsound(
            f"Λ/λplace comes out as {demand_per_s / placed_per_s:g} cells, and no more than {SLOTS} can have wallets"
        )
    return math.ceil(demand_per_s / placed_per_s) + spare_cells
