"""The traffic of a simulated fleet: skewed, growing, with days, fashions and a few wallets that run hot. Seeded.

Wallets are not kept one by one: what a slot carries is the sum over many small wallets, and the large ones by name.
"""

import math
from collections.abc import Mapping
from random import Random

from contract.slots import ISOLATED_UNIT_FIRST, SLOTS
from contract.values import value
from control_plane.fleet.placing import HotWallet, UnitLoad


@value
class Demand:
    """What the fleet is asked to do, and how that changes."""

    wallets: int = 10_000_000
    rate_per_s: float = 34_000.0
    """Of the first day, on average."""
    growth_per_day: float = 0.01
    skew: float = 0.6
    """Of the slots among one another: the spread of the logarithm of their share."""
    drift_per_day: float = 0.05
    """How much a slot's share wanders, by the same measure."""
    hot_wallets: int = 40
    """Wallets that are worth a name: two per cent of all traffic between them."""
    hot_share: float = 0.02
    day_swing: float = 0.35
    """The busiest hour over the mean."""
    entries_per_wallet: float = 120.0


class Traffic:
    def __init__(self, demand: Demand, *, seed: int) -> None:
        self._demand = demand
        self._dice = Random(seed)  # noqa: S311 - loads, no secrets
        self._shares = [self._dice.lognormvariate(0, demand.skew) for _ in range(SLOTS)]
        weights = [1 / (rank + 1) for rank in range(demand.hot_wallets)]
        self._hot = {
            f"hot-{rank:02}": (self._dice.randrange(SLOTS), weight / sum(weights))
            for rank, weight in enumerate(weights)
        }
        self._units: dict[str, int] = {}

    def isolate(self, wallet_id: str, *, unit: int) -> None:
        """From now on its traffic is that of a unit of its own."""
        self._units[wallet_id] = unit

    def pass_a_day(self) -> None:
        drift = self._demand.drift_per_day
        self._shares = [share * math.exp(self._dice.gauss(0, drift)) for share in self._shares]

    def rate_per_s(self, *, day: int, hour: float) -> float:
        demand = self._demand
        swing = 1 + demand.day_swing * math.sin((hour - 9) / 24 * 2 * math.pi)
        return float(demand.rate_per_s * (1 + demand.growth_per_day) ** day * swing)

    def units(self, *, day: int, hour: float) -> Mapping[int, UnitLoad]:
        rate_per_s, demand = self.rate_per_s(day=day, hour=hour), self._demand
        total = sum(self._shares)
        growth = (1 + demand.growth_per_day) ** day
        wallets = demand.wallets * growth / SLOTS
        rates = {slot: rate_per_s * (1 - demand.hot_share) * share / total for slot, share in enumerate(self._shares)}
        for wallet in self.hot_wallets(day=day, hour=hour):
            rates[wallet.unit] = rates.get(wallet.unit, 0.0) + wallet.rate_per_s
        return {
            unit: UnitLoad(
                wallets=round(wallets) if unit < ISOLATED_UNIT_FIRST else 1,
                entries=round(wallets * demand.entries_per_wallet) if unit < ISOLATED_UNIT_FIRST else 1_000_000,
                rate_per_s=rate,
            )
            for unit, rate in rates.items()
        }

    def hot_wallets(self, *, day: int, hour: float) -> tuple[HotWallet, ...]:
        rate_per_s = self.rate_per_s(day=day, hour=hour) * self._demand.hot_share
        return tuple(
            HotWallet(wallet_id=wallet, unit=self._units.get(wallet, slot), rate_per_s=rate_per_s * share)
            for wallet, (slot, share) in self._hot.items()
        )
