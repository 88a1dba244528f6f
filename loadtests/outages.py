"""How long nothing was acknowledged around a change of roles, as those who sent saw it. Pure.

All instants are seconds of `time.monotonic`. An acknowledgement belongs to the instant at which it arrived.
"""

import itertools
from collections.abc import Iterable, Sequence

from contract.values import value
from loadtests.load import Seen

BEFORE_S, AFTER_S = 0.5, 0.5
"""Around a change, what is looked at: the silence begins a little before whoever orders it has seen it done."""


@value
class Change:
    """The roles of a cell's two databases have changed once."""

    began_at_s: float
    """The primary was killed, or the switch-over was ordered."""
    protected_at_s: float
    """What is acknowledged is in two places again."""
    told_s: float | None = None
    """The pause by the platform's own account."""

    @property
    def unprotected_s(self) -> float:
        return self.protected_at_s - self.began_at_s


def silence_s(change: Change, trace: Iterable[Seen]) -> float:
    """Longest time around it in which nothing was acknowledged; of a sender whom nobody answered, all of it."""
    begins_s, ends_s = change.began_at_s - BEFORE_S, change.protected_at_s + AFTER_S
    arrived = (seen.intended_at_s + seen.latency_ms / 1_000 for seen in trace if not seen.is_error)
    within = sorted(at_s for at_s in arrived if begins_s < at_s < ends_s)
    return max(after - before for before, after in itertools.pairwise([begins_s, *within, ends_s]))


def errors_around(changes: Sequence[Change], trace: Iterable[Seen]) -> int:
    """Answers that were neither an acceptance nor a true replay, to what was meant to be sent around the changes."""
    return sum(
        seen.is_error and any(one.began_at_s - BEFORE_S <= seen.intended_at_s <= one.protected_at_s for one in changes)
        for seen in trace
    )
