"""The search for the highest rate that is sustained: which rate to try next, and when to stop. Pure.

First a candidate, by short tries: up in growing or shrinking steps until a rate fails, then between the best that held
and the worst that failed, until the two are near enough. Then a walk of long tries that begins there. A figure comes
only from a rate that held for long; what failed only says where to look.
"""

import math

from contract.values import value

STEP = 1.25
"""How much further to go while nothing has failed yet (and back while nothing has held)."""

BELOW_CAPACITY = 0.85
"""Where to go from what an overloaded system served: latencies of a queue that is never empty have no bound."""

WALK_STEP = 1.08
"""Between long tries: a few of them cross what a machine changes within minutes, and it is no more than they differ by
themselves."""
BELOW_CANDIDATE = 0.85
"""Where the walk begins: a short try seldom meets what decides the p99 of a long one."""


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
class Walk:
    """Long tries, one after the other: a step up from a rate that held, a step down from one that did not.

    Near the highest rate one and the same rate holds in one minute and not in the next, so that a single crossing is
    found by luck. A walk crosses it again and again; what held on the way lies just below it.
    """

    next_per_s: float

    @classmethod
    def of(cls, candidate_per_s: float) -> "Walk":
        return cls(next_per_s=candidate_per_s * BELOW_CANDIDATE)

    def after(self, *, has_held: bool) -> "Walk":
        """With what came of `next_per_s`."""
        return Walk(next_per_s=self.next_per_s * WALK_STEP if has_held else self.next_per_s / WALK_STEP)
