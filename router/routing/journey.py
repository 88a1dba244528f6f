"""When and where one request is sent again, until an answer is final or its deadline is too near.

Every route that the router forwards is repeatable (reads, writes by the ids of the things themselves), so a request
that may have been received may be sent again; a route that is not repeatable must not enter the table of routes.
Randomness (jitter in 0..1) and instants come in as arguments.
"""

from enum import StrEnum

from contract.values import value
from router.routing.directory import Instance

ATTEMPTS_MAX = 40
"""Sendings of one request; with the waits between them they span the longest deadline."""

WAIT_FIRST_S = 0.02
WAIT_MAX_S = 0.4
"""Between rounds over all instances of a cell, doubling: fast at first, because most outages are one restart."""

MOVING_WAIT_MAX_S = 0.1
"""While a wallet moves: a move pauses a unit for well below a second."""

ANSWER_MARGIN_S = 0.005
"""A request is not sent again when less than this is left of its deadline: it could not be answered."""

SLOW_S = 1.0
"""Silence for at least so long speaks against an instance. A shorter deadline is the vendor's choice and no sign."""


class Silence(StrEnum):
    """Why an attempt brought no answer."""

    UNSENT = "unsent"
    """No connection: certainly not received."""
    BROKEN = "broken"
    """The connection ended early: perhaps received."""
    TIMED_OUT = "timed_out"
    """No answer in the time of the attempt: perhaps received."""


@value
class AskAgain:
    """Choose again at this instant; `now` means at once."""

    at: float


@value
class GiveUp:
    """Nothing that could still be tried fits into the deadline."""


class Journey:
    """What one request has been through. Mutable, owned by one request."""

    __slots__ = ("_attempts", "_moving", "_rounds", "_tried", "deadline", "misdirections")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.misdirections = 0
        self._attempts = 0
        self._moving = 0
        self._rounds = 0
        self._tried: set[str] = set()

    @property
    def sendings(self) -> int:
        return self._attempts

    def next_instance(self, instances: tuple[Instance, ...]) -> Instance:
        """The best instance that was not tried in this round; the round ends with `fell_silent`."""
        self._attempts += 1
        for instance in instances:
            if instance.url not in self._tried:
                return instance
        return instances[0]

    def has_alternative(self, instances: tuple[Instance, ...], chosen: Instance) -> bool:
        return any(instance.url != chosen.url and instance.url not in self._tried for instance in instances)

    def answer_by(self, now: float, *, has_alternative: bool) -> float:
        """How long to wait for this attempt: half of what is left while another instance could still do it."""
        left_s = self.deadline - now
        return now + left_s / 2 if has_alternative else self.deadline

    def fell_silent(
        self, chosen: Instance, instances: tuple[Instance, ...], *, now: float, jitter: float
    ) -> tuple[AskAgain | GiveUp, bool]:
        """What to do after an attempt without an answer, and whether all instances have been tried in vain."""
        if self.has_alternative(instances, chosen):
            self._tried.add(chosen.url)
            return self._at(now, now), False
        self._tried.clear()
        self._rounds += 1
        return self._at(now + _backoff(self._rounds, WAIT_MAX_S, jitter), now), True

    def is_moving(self, *, now: float, jitter: float) -> AskAgain | GiveUp:
        """The cell answered that the wallet is on its way to another cell."""
        self._tried.clear()
        self._moving += 1
        return self._at(now + _backoff(self._moving, MOVING_WAIT_MAX_S, jitter), now)

    def was_misdirected(self, *, has_new_owner: bool, now: float) -> AskAgain | GiveUp:
        """The cell answered that another one owns the wallet: follow once."""
        self.misdirections += 1
        if not has_new_owner or self.misdirections > 1:
            return GiveUp()
        self._tried.clear()
        return self._at(now, now)

    def may_wait_until(self, ask_again_at: float | None, *, jitter: float) -> AskAgain | GiveUp:
        """The cell cannot be asked before `ask_again_at`: wait for it, spread out, if the deadline allows."""
        if ask_again_at is None:
            return GiveUp()
        return self._at(ask_again_at + jitter * WAIT_FIRST_S, ask_again_at)

    def _at(self, at: float, now: float) -> AskAgain | GiveUp:
        fits = max(at, now) + ANSWER_MARGIN_S < self.deadline and self._attempts < ATTEMPTS_MAX
        return AskAgain(at=at) if fits else GiveUp()


def _backoff(times: int, max_s: float, jitter: float) -> float:
    """Doubling from the first wait up to `max_s`, of which a random half is taken off."""
    full_s = min(WAIT_FIRST_S * 2.0 ** min(times - 1, 16), max_s)
    return full_s * (0.5 + jitter / 2)
