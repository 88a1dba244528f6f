"""A load of a given shape on one cell, and what came back: no search, no certificate."""

import time
from collections.abc import Callable
from itertools import count

from loadtests.certification.site import Site
from loadtests.generator import Generator
from loadtests.load import Load, Openings, Pace, Postings
from loadtests.payloads import wallet_of

Tell = Callable[[str], None]
LoadShape = tuple[tuple[float, float], ...]
"""Rate per second and seconds, one stretch after the other."""
SECONDS_MAX, STRETCHES_MAX, RATE_MAX_PER_S = 3_600.0, 100, 1_000_000.0
OPENING_TIMEOUT_S = 600.0
OPENING_CONCURRENCY = 64
OVERDRAFT_LIMIT = 1_000_000_000_000


class ShapeMustBeWholeError(ValueError):
    """A shape with holes; the message names the stretch."""


def shape_of(text: str) -> LoadShape:
    """`200:5,600:10` is 200 per second for 5 s, then 600 for 10 s.

    Raises:
        ShapeMustBeWholeError: a stretch is missing, is no RATE:SECONDS, or lasts for nothing.

    """
    stretches = text.split(",")
    if len(stretches) > STRETCHES_MAX:
        raise ShapeMustBeWholeError(f"a shape has at most {STRETCHES_MAX} stretches")
    shape = tuple(_stretch(number, stretch) for number, stretch in enumerate(stretches, start=1))
    if sum(seconds for _, seconds in shape) > SECONDS_MAX:
        raise ShapeMustBeWholeError(f"a shape lasts {SECONDS_MAX:.0f} s at most")
    return shape


def _stretch(number: int, text: str) -> tuple[float, float]:
    rate, _, seconds = text.partition(":")
    try:
        stretch = float(rate), float(seconds)
    except ValueError as error:
        raise ShapeMustBeWholeError(f"stretch {number} ({text!r}) is no RATE:SECONDS") from error
    if not (0 < stretch[0] <= RATE_MAX_PER_S and 0 < stretch[1] <= SECONDS_MAX):
        raise ShapeMustBeWholeError(f"stretch {number} ({text!r}) needs a rate and a time above 0, within bounds")
    return stretch


def apply(
    site: Site, generator: Generator, shape: LoadShape, *, wallets: int, tell: Tell
) -> list[dict[str, float | int]]:
    """A row of figures per stretch."""
    owners = site.owners(wallets)
    asks = Openings(owners=owners, token=site.vendor_token("loader"), overdraft_limit=OVERDRAFT_LIMIT)
    generator.run(
        Load(
            targets=site.door.targets,
            asks=asks,
            pace=Pace(duration_s=OPENING_TIMEOUT_S, concurrency=OPENING_CONCURRENCY),
        )
    )
    opened = [wallet_of(owner) for owner in owners]
    rows: list[dict[str, float | int]] = []
    first_run = int(time.time()) & 0x0FFF_FFFF  # ids of a running platform's earlier loads must differ
    for run, (rate_per_s, seconds) in zip(count(first_run), shape, strict=False):
        tell(f"{rate_per_s:g}/s for {seconds:g} s")
        postings = Postings(wallets=opened, token=site.vendor_token("loader"), seed=run & 0xFFFF, run=run)
        tally = generator.run(
            Load(targets=site.door.targets, asks=postings, pace=Pace(duration_s=seconds, rate_per_s=rate_per_s))
        )
        rows.append(
            {
                "offered_per_s": rate_per_s,
                "seconds": seconds,
                "answered_per_s": round(tally.rate_per_s, 1),
                "p50_ms": round(tally.latencies.quantile_us(0.5) / 1_000, 2),
                "p99_ms": round(tally.latencies.quantile_us(0.99) / 1_000, 2),
                "refused_for_capacity": tally.statuses[429],
                "errors": tally.unexpected - tally.statuses[429] + tally.unanswered,
                "late": tally.late,
                "dropped": tally.dropped,
            }
        )
    return rows
