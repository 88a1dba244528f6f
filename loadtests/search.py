"""The search for the highest rate that is sustained: which rate to try next, and when to stop. Pure.

First a candidate, by short tries: up in growing or shrinking steps until a rate fails, then between the best that held
and the worst that failed, until the two are near enough. Then long tries around the candidate. A figure comes only from
a rate that held for long; what failed only bounds it.
"""

import math
from dataclasses import replace

from contract.values import value

STEP = 1.25
"""How much further to go while nothing has failed yet (and back while nothing has held)."""

BELOW_CAPACITY = 0.85
"""Where to go from what an overloaded system served: latencies of a queue that is never empty have no bound."""

CONFIRMED_TENTHS_MIN = 5
"""Of the candidate: even a machine whose speed changes from minute to minute still gets a figure."""
CONFIRMED_TENTHS_MAX = 15


@value
class Search:
    """What is known so far: `held` was sustained, `failed` was not; None = not known."""

    start_per_s: float
    precision: float
    """Stop when the failed rate is at most so much (0.05 = 5 %) above the one that held."""
    tries_left: int
    held_per_s: float | None = None
    failed_per_s: float | None = None
    served_per_s: float | None = None
    """What was answered per second when a rate failed: more is not to be had."""

    @property
    def next_per_s(self) -> float | None:
        """The rate to try; None = enough is known, or enough was tried."""
        if self.tries_left <= 0:
            return None
        if self.held_per_s is None:
            return self.candidate_per_s
        if self.failed_per_s is None:
            return self.held_per_s * STEP
        if self.failed_per_s <= self.held_per_s * (1 + self.precision):
            return None
        return math.sqrt(self.held_per_s * self.failed_per_s)

    @property
    def candidate_per_s(self) -> float:
        """The best guess so far, to be confirmed."""
        if self.held_per_s is not None:
            return self.held_per_s
        if self.failed_per_s is None:
            return self.start_per_s
        lower = self.failed_per_s / STEP
        return lower if self.served_per_s is None else min(lower, self.served_per_s * BELOW_CAPACITY)

    def after(self, rate_per_s: float, *, has_held: bool, served_per_s: float | None = None) -> "Search":
        """A rate that fails also takes back a higher one that once held: noise must not flatter."""
        held, failed = self.held_per_s, self.failed_per_s
        if has_held:
            held = rate_per_s if held is None else max(held, rate_per_s)
        else:
            failed = rate_per_s if failed is None else min(failed, rate_per_s)
            held = None if held is not None and held >= rate_per_s else held
        return Search(
            start_per_s=self.start_per_s,
            precision=self.precision,
            tries_left=self.tries_left - 1,
            held_per_s=held,
            failed_per_s=failed,
            served_per_s=self.served_per_s if has_held else served_per_s,
        )


@value
class Confirmation:
    """Long tries: down from the candidate until a rate holds, or up from it until one does not.

    A short try may meet no pause of the machine, and then promises too much, or a pause, and then too little. Rates are
    in tenths of the candidate; None = not known.
    """

    candidate_per_s: float
    held_tenths: int | None = None
    failed_tenths: int | None = None

    @property
    def next_per_s(self) -> float | None:
        """The rate to try; None = enough is known, or none is left to be tried."""
        tenths = self._next_tenths
        return None if tenths is None else self.candidate_per_s * tenths / 10

    @property
    def held_per_s(self) -> float | None:
        return None if self.held_tenths is None else self.candidate_per_s * self.held_tenths / 10

    def after(self, *, has_held: bool) -> "Confirmation":
        """With what came of `next_per_s`."""
        tenths = self._next_tenths
        return replace(self, held_tenths=tenths) if has_held else replace(self, failed_tenths=tenths)

    @property
    def _next_tenths(self) -> int | None:
        if self.held_tenths is None:
            lower = 10 if self.failed_tenths is None else self.failed_tenths - 1
            return lower if lower >= CONFIRMED_TENTHS_MIN else None
        higher = self.held_tenths + 1
        return higher if self.failed_tenths is None and higher <= CONFIRMED_TENTHS_MAX else None
