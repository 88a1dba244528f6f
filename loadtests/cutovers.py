"""What moves under load did to those who sent: pauses, silences, errors, and latency around a cut-over. Pure.

A cut-over is the time from the fence to the activation. All instants are seconds of `time.monotonic`; an answer belongs
to the instant at which its request was meant to be sent, so that whoever waited for a pause counts with all of it.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contract.values import value
from loadtests.load import Seen, Tally

BEFORE_S, AFTER_S = 0.25, 0.75
"""Around a cut-over, what is looked at: routers learn the new owner by the first command that went astray."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@value
class Cutover:
    """One move that was done, as the mover's record has it and as who ordered it saw it."""

    ordered_at_s: float
    ended_at_s: float
    fenced_at_s: float
    pause_ms: float
    """From the order of the fence until the target served."""
    rows: int
    copy_ms: float

    @property
    def activated_at_s(self) -> float:
        return self.fenced_at_s + self.pause_ms / 1_000

    @property
    def duration_s(self) -> float:
        return self.ended_at_s - self.ordered_at_s

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.copy_ms * 1_000 if self.copy_ms else 0.0


@value
class Undone:
    """A move that ended otherwise; its unit is where it was."""

    ordered_at_s: float
    ended_at_s: float
    why: str


def quantiles_of(numbers: Iterable[float]) -> dict[str, float]:
    """Each is one of the numbers: the smallest that so many of them do not exceed."""
    ordered = sorted(numbers)
    if not ordered:
        return {}
    return {name: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for name, share in QUANTILES.items()}


def p99_of(numbers: Iterable[float]) -> float:
    """0 = there was none."""
    return quantiles_of(numbers).get("p99", 0.0)


def around(cutover: Cutover, trace: Iterable[Seen]) -> list[Seen]:
    """What was meant to be sent shortly before, during and shortly after it, in that order."""
    begins_s, ends_s = cutover.fenced_at_s - BEFORE_S, cutover.activated_at_s + AFTER_S
    return sorted(seen for seen in trace if begins_s <= seen.intended_at_s <= ends_s)


def longest_wait_ms(cutover: Cutover, trace: Iterable[Seen]) -> float | None:
    """Of any one request around it; None = nobody asked."""
    return max((seen.latency_ms for seen in around(cutover, trace)), default=None)


def longest_silence_ms(cutover: Cutover, trace: Iterable[Seen]) -> float:
    """Longest time around it in which no answer came."""
    answered_at_ms = sorted(seen.intended_at_s * 1_000 + seen.latency_ms for seen in around(cutover, trace))
    return max((after - before for before, after in itertools.pairwise(answered_at_ms)), default=0.0)


def still_and_moving(moves: Sequence[Cutover | Undone], trace: Iterable[Seen]) -> tuple[list[float], list[float]]:
    """Latencies in milliseconds of what was meant to be sent while no unit was being moved, and while one was."""
    still: list[float] = []
    moving: list[float] = []
    for seen in trace:
        is_moving = any(one.ordered_at_s <= seen.intended_at_s <= one.ended_at_s for one in moves)
        (moving if is_moving else still).append(seen.latency_ms)
    return still, moving


def errors_of(tally: Tally) -> dict[str, int]:
    """What a vendor saw that is neither an acceptance nor a true replay, by its kind."""
    kinds = {
        "refused": tally.refused,
        "answered otherwise": tally.unexpected,
        "unanswered": tally.unanswered,
        "never sent": tally.dropped,
        "replayed wrongly": tally.replays_wrong,
    }
    return {kind: count for kind, count in kinds.items() if count}


def typical(cutovers: Sequence[Cutover]) -> Cutover | None:
    """With the median pause; the shorter of two."""
    ordered = sorted(cutovers, key=lambda one: one.pause_ms)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def series_around(cutover: Cutover, trace: Iterable[Seen]) -> Mapping[str, Any]:
    """As a picture needs it: milliseconds from the fence, and latencies."""
    seen = around(cutover, trace)
    return {
        "pause_ms": round(cutover.pause_ms, 2),
        "at_ms": [_from_fence(cutover, one) for one in seen if not one.is_error],
        "latency_ms": [round(one.latency_ms, 2) for one in seen if not one.is_error],
        "errors_at_ms": [_from_fence(cutover, one) for one in seen if one.is_error],
    }


def _from_fence(cutover: Cutover, seen: Seen) -> float:
    return round((seen.intended_at_s - cutover.fenced_at_s) * 1_000, 2)
