"""The circuit breaker of one cell or of one API process: a table of states, and the counters that drive it.

Closed: everything goes through. Open: nothing does until it has cooled down. Half-open: one probe is under way, and
its outcome decides. A probe that is lost for longer than its patience is replaced by another.
"""

from enum import StrEnum

from contract.values import value


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(StrEnum):
    ANSWERED = "answered"
    FAILED = "failed"
    FAILED_TOO_OFTEN = "failed_too_often"
    PROBED = "probed"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CLOSED, Event.ANSWERED): State.CLOSED,
    (State.CLOSED, Event.FAILED): State.CLOSED,
    (State.CLOSED, Event.FAILED_TOO_OFTEN): State.OPEN,
    (State.OPEN, Event.ANSWERED): State.CLOSED,  # a late answer is a sign of life like any other
    (State.OPEN, Event.FAILED): State.OPEN,  # requests that were under way when it opened
    (State.OPEN, Event.PROBED): State.HALF_OPEN,
    (State.HALF_OPEN, Event.ANSWERED): State.CLOSED,
    (State.HALF_OPEN, Event.FAILED): State.OPEN,
    (State.HALF_OPEN, Event.PROBED): State.HALF_OPEN,
}


@value
class BreakerLimits:
    failures_max: int
    """Failures in a row that open it."""
    cool_down_first_s: float
    cool_down_max_s: float
    """Each failed probe doubles the cooling down up to here."""
    probe_patience_s: float
    """A probe without an outcome for so long no longer keeps others out."""


class Breaker:
    """Mutable, and read and written between two awaits only."""

    __slots__ = ("_cool_down_s", "_failures", "_limits", "_probe_at", "cool_at", "opened_at", "state")

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._failures = 0
        self._cool_down_s = limits.cool_down_first_s
        self._probe_at = 0.0
        self.state = State.CLOSED
        self.opened_at = 0.0
        """When it last left closed."""
        self.cool_at = 0.0
        """When it lets the next probe through."""

    def lets_through(self, now: float) -> bool:
        if self.state is State.CLOSED:
            return True
        return now >= self.next_try_at(now)

    def next_try_at(self, now: float) -> float:
        """The instant from which a request may go through; `now` or earlier means at once."""
        match self.state:
            case State.CLOSED:
                return now
            case State.OPEN:
                return self.cool_at
            case State.HALF_OPEN:
                return self._probe_at + self._limits.probe_patience_s

    def sent(self, now: float) -> None:
        """A request goes through; while not closed it is the probe."""
        if self.state is not State.CLOSED:
            self.state = TRANSITIONS[self.state, Event.PROBED]
            self._probe_at = now

    def answered(self) -> None:
        if self._failures == 0 and self.state is State.CLOSED:
            return
        self.state = TRANSITIONS[self.state, Event.ANSWERED]
        self._failures = 0
        self._cool_down_s = self._limits.cool_down_first_s

    def failed(self, now: float) -> None:
        self._failures += 1
        before = self.state
        event = Event.FAILED
        if before is State.CLOSED and self._failures >= self._limits.failures_max:
            event = Event.FAILED_TOO_OFTEN
            self.opened_at = now
        self.state = TRANSITIONS[before, event]
        if self.state is State.OPEN and before is not State.OPEN:
            self._cool_down(now, is_again=before is State.HALF_OPEN)

    def _cool_down(self, now: float, *, is_again: bool) -> None:
        if is_again:
            self._cool_down_s = min(self._cool_down_s * 2, self._limits.cool_down_max_s)
        self.cool_at = now + self._cool_down_s
