"""When requests are meant to be sent: at a constant rate, whatever the answers do (open loop). Pure.

The instants are exact multiples of the period, so that a late sender cannot hide its lateness by shifting what
follows: latency counts from the intended instant.
"""

import math

from contract.values import value


@value
class Arrivals:
    """`share` of `shares` senders who together send `rate_per_s` for `duration_s`; instants are seconds from start."""

    rate_per_s: float
    duration_s: float
    share: int = 0
    shares: int = 1

    @property
    def total(self) -> int:
        """How many this sender sends."""
        everybody = math.floor(self.rate_per_s * self.duration_s)
        return max(0, -((self.share - everybody) // self.shares))

    def intended_s(self, number: int) -> float:
        """When the request with this number (from 0) of this sender is meant to be sent."""
        return (number * self.shares + self.share) / self.rate_per_s

    def due(self, elapsed_s: float) -> int:
        """How many of this sender's requests are meant to have been sent by then."""
        if elapsed_s < 0:
            return 0
        begun = math.floor(elapsed_s * self.rate_per_s) - self.share
        return max(0, min(self.total, begun // self.shares + 1))
