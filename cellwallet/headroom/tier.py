"""How many stateless processes (routers, API processes of a cell) each zone needs, so that any zone may go. Pure.

    k per zone = ⌈d/(c·u·(N−1))⌉ + p                                        traffic that goes to any zone
    k per zone = max over failed j, surviving z of ⌈d·s_z/(1−s_j)/(c·u)⌉ + p  traffic that stays in its zone

d demand, c safe rate of a process, u target utilisation, N zones, s shares of zones, p processes that may be missing.
Computed with exact fractions: a ceiling must not turn on the last bit of a product.
"""

import math
from fractions import Fraction

from cellwallet.headroom.sound import HeadroomMustBeSoundError, exactly, must_be_at_least, must_be_positive
from contract.values import value

SHARES_TOLERANCE = 1e-6
"""Shares are written with a few digits: 0.333333 three times is a whole."""


@value
class Tier:
    """What is asked of a tier, and of one of its processes."""

    demand_per_s: float
    process_per_s: float
    """c: what one process does safely."""
    zones: int = 3
    utilisation: float = 0.8
    """u: of the safe rate, with a zone gone and processes missing."""
    missing: int = 1
    """p: processes of a zone that may be missing at any time (a roll-out, a crash)."""
    shares: tuple[float, ...] = ()
    """Of zones, when traffic stays in its zone; empty = it goes anywhere."""

    def __post_init__(self) -> None:
        must_be_positive("demand_per_s (d)", self.demand_per_s)
        must_be_positive("process_per_s (c)", self.process_per_s)
        must_be_at_least("zones (N): one zone cannot be lost, so zones", self.zones, 2)
        must_be_at_least("missing (p)", self.missing, 0)
        if not 0 < self.utilisation <= 1:
            raise HeadroomMustBeSoundError(f"utilisation (u) must be above 0 and at most 1, not {self.utilisation:g}")
        if self.shares:
            self._shares_must_be_whole()

    def _shares_must_be_whole(self) -> None:
        if len(self.shares) != self.zones:
            raise HeadroomMustBeSoundError(f"there must be a share for each of {self.zones} zones")
        if not all(0 <= share < 1 for share in self.shares):
            raise HeadroomMustBeSoundError("each zone's share must be at least 0 and below 1: no zone may have it all")
        if abs(math.fsum(self.shares) - 1) > SHARES_TOLERANCE:
            raise HeadroomMustBeSoundError(f"the zones' shares must add up to 1, not {math.fsum(self.shares):g}")

    @property
    def processes_per_zone(self) -> int:
        """K."""
        usable_per_s = exactly(self.process_per_s) * exactly(self.utilisation)
        return math.ceil(self._busiest_per_s() / usable_per_s) + self.missing

    @property
    def processes(self) -> int:
        return self.zones * self.processes_per_zone

    def busiest_share(self, *, missing: int = 0) -> float:
        """Utilisation of the safe rate in the busiest zone left, one zone gone and `missing` processes of it."""
        working = self.processes_per_zone - missing
        return float(self._busiest_per_s() / (exactly(self.process_per_s) * working))

    @property
    def everyday_share(self) -> float:
        """Utilisation of the safe rate with everything there, in the busiest zone."""
        of_zone = exactly(max(self.shares)) if self.shares else Fraction(1, self.zones)
        demand_per_s = exactly(self.demand_per_s) * of_zone
        return float(demand_per_s / (exactly(self.process_per_s) * self.processes_per_zone))

    def _busiest_per_s(self) -> Fraction:
        """Demand on the busiest zone that is left, whichever is lost."""
        demand_per_s = exactly(self.demand_per_s)
        if not self.shares:
            return demand_per_s / (self.zones - 1)
        shares = [exactly(share) for share in self.shares]
        return max(
            demand_per_s * surviving / (1 - lost)
            for failed, lost in enumerate(shares)
            for zone, surviving in enumerate(shares)
            if zone != failed
        )


def utilisation_ceiling(zones: int) -> float:
    """(N−1)/N: a tier that is busier than this every day does not survive the loss of a zone."""
    must_be_at_least("zones (N): one zone cannot be lost, so zones", zones, 2)
    return (zones - 1) / zones
