"""Whether a request may enter: the rate limit of its vendor, and the certified capacity of the cell.

Both are token buckets of one second's worth (at least one request) and are asked before any work is done. The
configuration states them for the whole cell; a process enforces its share. No clock, no HTTP: time comes in.
"""

import math
from typing import Final

from contract.configuration import CellConfiguration
from contract.ids import VendorId
from contract.problems import Problem
from contract.reasons import Reason

BURST_S: Final = 1.0
"""Seconds of the rate that may come at once: smooths what clients batch, and is forgotten within a second."""


class TokenBucket:
    """Holds `burst` tokens at most, gains `rate_per_s`; within t seconds it gives at most rate * t + burst.

    A request that costs more than `burst` is let in by a full bucket, which then owes the rest; otherwise it could
    never be served at any load. The bound is then rate * t + the largest cost.
    """

    __slots__ = ("_at_s", "_tokens", "burst", "rate_per_s")

    def __init__(self, *, rate_per_s: float, now_s: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * BURST_S)
        self._tokens = self.burst
        self._at_s = now_s

    def wait_s(self, cost: float, now_s: float) -> float:
        """Seconds until `cost` fits; 0 = now. Takes nothing."""
        self._refill(now_s)
        return max(0.0, (min(cost, self.burst) - self._tokens) / self.rate_per_s)

    def take(self, cost: float) -> None:
        self._tokens -= cost

    def change_rate(self, rate_per_s: float, now_s: float) -> None:
        """Tokens stay as they are, within the new burst: a new configuration is no reason for a new burst."""
        self._refill(now_s)
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * BURST_S)
        self._tokens = min(self._tokens, self.burst)

    def _refill(self, now_s: float) -> None:
        if now_s > self._at_s:  # a clock that steps back gains nothing and loses nothing
            self._tokens = min(self.burst, self._tokens + (now_s - self._at_s) * self.rate_per_s)
            self._at_s = now_s


class Admission:
    """The door of one process. Without limits everything passes, at the price of one look-up."""

    def __init__(self) -> None:
        self._processes = 1
        self._vendors: dict[VendorId, TokenBucket] = {}
        self._capacity: TokenBucket | None = None

    def configure(self, configuration: CellConfiguration, now_s: float) -> None:
        self._processes = configuration.api_processes
        rates = {
            VendorId(vendor): policy.rate_per_s
            for vendor, policy in configuration.vendors.items()
            if policy.rate_per_s is not None
        }
        self._vendors = {vendor: self._bucket(self._vendors.get(vendor), rate, now_s) for vendor, rate in rates.items()}
        capacity_per_s = configuration.capacity_per_s
        self._capacity = None if capacity_per_s is None else self._bucket(self._capacity, capacity_per_s, now_s)

    def admit(self, vendor_id: VendorId, now_s: float, *, commands: int = 1) -> Problem | None:
        """None = come in. A request counts once for its vendor; its commands (0 for a read) count for the cell."""
        vendor = self._vendors.get(vendor_id)
        capacity = self._capacity if commands else None
        if vendor is None and capacity is None:
            return None
        if vendor is not None:
            wait_s = vendor.wait_s(1, now_s)
            if wait_s > 0:
                return self._rate_problem(vendor, wait_s)
        if capacity is not None:
            wait_s = capacity.wait_s(commands, now_s)
            if wait_s > 0:
                return self._capacity_problem(capacity, wait_s)
            capacity.take(commands)
        if vendor is not None:
            vendor.take(1)
        return None

    def _bucket(self, present: TokenBucket | None, rate_per_s: float, now_s: float) -> TokenBucket:
        share_per_s = rate_per_s / self._processes
        if present is None:
            return TokenBucket(rate_per_s=share_per_s, now_s=now_s)
        present.change_rate(share_per_s, now_s)
        return present

    def _rate_problem(self, bucket: TokenBucket, wait_s: float) -> Problem:
        limit_per_s = bucket.rate_per_s * self._processes
        return Problem(
            reason=Reason.REQUEST_MUST_FIT_RATE_LIMIT,
            detail=f"The vendor's limit is {limit_per_s:g} requests per second.",
            facts=_facts("vendor", limit_per_s, wait_s),
        )

    def _capacity_problem(self, bucket: TokenBucket, wait_s: float) -> Problem:
        limit_per_s = bucket.rate_per_s * self._processes
        return Problem(
            reason=Reason.CELL_MUST_HAVE_CAPACITY,
            detail="The cell is at its certified capacity.",
            facts=_facts("cell", limit_per_s, wait_s),
        )


def _facts(policy: str, limit_per_s: float, wait_s: float) -> dict[str, object]:
    """What the answer's Retry-After and RateLimit headers are written from, in whole numbers as they want them."""
    retry_after_s = max(1, math.ceil(wait_s))
    window_s = max(1, math.ceil(1 / limit_per_s))
    return {
        "retry_after_s": retry_after_s,
        "rate_limit": {
            "policy": policy,
            "quota": max(1, math.floor(limit_per_s * window_s)),
            "window_s": window_s,
            "remaining": 0,
            "reset_s": retry_after_s,
        },
    }
