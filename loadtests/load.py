"""What a load is, as values: whom it asks for what, at which pace, and what came of it. Pure.

Closed loop: so many requests are under way at any time; it finds the peak, and its latencies flatter. Open loop: a
constant rate of arrivals, whatever the answers do; latency counts from the intended instant.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Literal, NamedTuple

from contract.values import value
from loadtests.histogram import Histogram, merged

LATE_MS = 10
"""A request that leaves this much after its intended instant is counted as late (and is as slow as it is late)."""
SAMPLES_MAX = 3
"""Unexpected answers that are kept to be read."""


@value
class Target:
    """One process that answers, on 127.0.0.1."""

    port: int
    host: str = "127.0.0.1"


@value
class Postings:
    """Credits and debits in turn, each with a fresh id; `duplicates` of them sent a second time."""

    wallets: Sequence[str]
    token: str
    skew: float = 0.0
    duplicates: float = 0.01
    seed: int = 0
    run: int = 0
    """Makes ids of different runs differ."""
    shown: Literal["postings"] = "postings"


@value
class Openings:
    """Opens these wallets, once each."""

    owners: Sequence[str]
    token: str
    overdraft_limit: int
    shown: Literal["openings"] = "openings"


@value
class Reads:
    """Asks for these paths, round and round."""

    paths: Sequence[str]
    wallets: Sequence[str]
    """The wallet of each path: it decides which process is asked."""
    token: str
    shown: Literal["reads"] = "reads"


@value
class Bulks:
    """Requests of so many credits and debits each, over these wallets in turn; every one with a fresh id."""

    wallets: Sequence[str]
    token: str
    operations: int
    run: int = 0
    shown: Literal["bulks"] = "bulks"


@value
class Pace:
    """Exactly one of `rate_per_s` (open loop) and `concurrency` (closed loop) is set."""

    duration_s: float
    rate_per_s: float | None = None
    concurrency: int | None = None
    count_max: int | None = None
    """End of a closed loop before its time."""
    warm_up_s: float = 0.0
    """Part of the duration that is not measured."""
    drain_s: float = 10.0
    """How long answers are waited for after the last request; longer than any deadline that is given to requests."""
    connections_max: int = 512
    """Per target. A request that finds none free waits for one, and its latency grows."""

    @property
    def loop(self) -> Literal["open", "closed"]:
        return "closed" if self.rate_per_s is None else "open"


@value
class Load:
    targets: tuple[Target, ...]
    asks: Postings | Openings | Reads | Bulks
    pace: Pace
    is_traced: bool = False
    """Whether every answer is kept with its instant: for rates of some hundred per second."""


class Seen(NamedTuple):
    """An answer as its sender saw it."""

    intended_at_s: float
    """By `time.monotonic`."""
    latency_ms: float
    """From the intended instant."""
    is_error: bool
    """Neither an acceptance nor a true replay, or no answer at all."""


@value
class Tally:
    """What one sender saw."""

    latencies: Histogram
    """Of what was answered as expected within the measured time."""
    statuses: Counter[int]
    accepted: int
    """Answered 200 or 201, duplicates left out."""
    refused: int
    """Answered 422: decided and recorded too."""
    replayed: int
    """Duplicates answered exactly as their original."""
    replays_wrong: int
    delta: int
    """Sum of what the accepted commands changed balances by."""
    late: int
    lag_max_s: float
    """Longest that a request left after its intended instant."""
    dropped: int
    """Never sent, for too many were waiting for a connection."""
    unanswered: int
    unexpected: int
    """Other statuses than the load expects."""
    measured_s: float
    elapsed_s: float
    """From the start until the last answer."""
    cpu_s: float
    """Of the sender itself."""
    samples: tuple[str, ...] = field(default=())
    turned_away: Histogram = field(default_factory=Histogram)
    """Latencies of what was answered 429 within the measured time."""
    trace: tuple[Seen, ...] = ()
    """Of a traced load, in the order of the answers."""

    @property
    def acknowledged(self) -> int:
        return self.accepted + self.refused

    @property
    def measured(self) -> int:
        return self.latencies.count

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    @property
    def rate_per_s(self) -> float:
        return self.measured / self.measured_s if self.measured_s else 0.0

    @property
    def served_per_s(self) -> float:
        """Answers over all of the time: under overload, what the target can do at most."""
        return self.answered / self.elapsed_s if self.elapsed_s else 0.0


def together(tallies: Iterable[Tally]) -> Tally:
    """Of senders that worked at the same time."""
    parts = list(tallies)
    return Tally(
        latencies=merged(part.latencies for part in parts),
        statuses=sum((part.statuses for part in parts), Counter[int]()),
        accepted=sum(part.accepted for part in parts),
        refused=sum(part.refused for part in parts),
        replayed=sum(part.replayed for part in parts),
        replays_wrong=sum(part.replays_wrong for part in parts),
        delta=sum(part.delta for part in parts),
        late=sum(part.late for part in parts),
        lag_max_s=max(part.lag_max_s for part in parts),
        dropped=sum(part.dropped for part in parts),
        unanswered=sum(part.unanswered for part in parts),
        unexpected=sum(part.unexpected for part in parts),
        measured_s=max(part.measured_s for part in parts),
        elapsed_s=max(part.elapsed_s for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        turned_away=merged(part.turned_away for part in parts),
        samples=tuple(sample for part in parts for sample in part.samples)[:SAMPLES_MAX],
        trace=tuple(seen for part in parts for seen in part.trace),
    )
