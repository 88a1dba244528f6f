"""What numbers may be, and exact arithmetic for them: a plan made of nonsense is worse than none. Pure."""

import math
from fractions import Fraction

RATE_MAX_PER_S = 1e12
"""More is a mistake in the unit."""


class HeadroomMustBeSoundError(ValueError):
    """A number that no fleet can have; the message names it and says what must hold."""


def exactly(number: float) -> Fraction:
    """The number that was written, and not its neighbour in binary: 600 / (1,000 · 0.6) is 1 and must not become 2."""
    return Fraction(repr(float(number)))


def must_be_share(name: str, number: float) -> None:
    """From 0 (nothing) to below 1 (all)."""
    if not 0 <= number < 1:
        raise HeadroomMustBeSoundError(f"{name} must be at least 0 and below 1, not {number:g}")


def must_be_positive(name: str, number: float) -> None:
    if not 0 < number <= RATE_MAX_PER_S:
        raise HeadroomMustBeSoundError(f"{name} must be above 0 and at most {RATE_MAX_PER_S:g}, not {number:g}")


def must_not_be_negative(name: str, number: float) -> None:
    if not 0 <= number <= RATE_MAX_PER_S:
        raise HeadroomMustBeSoundError(f"{name} must be from 0 to {RATE_MAX_PER_S:g}, not {number:g}")


def must_be_at_least(name: str, number: int, least: int) -> None:
    if number < least:
        raise HeadroomMustBeSoundError(f"{name} must be at least {least}, not {number}")


def must_be_finite(name: str, number: float) -> None:
    if not math.isfinite(number) or number <= 0:
        raise HeadroomMustBeSoundError(f"{name} comes out as {number:g}: the margins leave nothing to plan with")
