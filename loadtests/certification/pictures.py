"""A certificate's pictures: its limits, latency over rate, and how latencies are spread at the limit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellwallet.plots import BAD, GOOD, NEUTRAL, OTHERS, OURS, WARM, blank, save
from contract.certificate import CapacityCertificate, Part, Round
from loadtests.certification.judgement import limit_of
from loadtests.certification.parts import ROUTER_PARTS, TITLES
from loadtests.histogram import Histogram, upper_end_us

BINS_MS = [10 ** (exponent / 16) for exponent in range(-48, 81)]
"""From a microsecond to a hundred seconds, sixteen per power of ten; what nobody saw stays empty."""
COLOURS: dict[Part, str] = {"normal": OURS, "degraded": WARM, "router_python": GOOD, "router_haproxy": OTHERS}
SMALL = 8


def draw_limits(certificate: CapacityCertificate, file: Path) -> None:
    """Each part's limit with its rounds as points; what was not measured is told and has no bar."""
    rounds = _rounds(certificate)
    limits = {part: _limit(certificate, part) for part in rounds}
    missing = {one.part: one.why for one in certificate.unmeasured}
    figure = blank(width_in=9, height_in=1.2 + 0.5 * (len(limits) + len(missing)))
    axes = figure.add_subplot()
    axes.barh(range(len(limits)), list(limits.values()), color=[COLOURS[part] for part in limits], height=0.6)
    for line, (part, of_part) in enumerate(rounds.items()):
        found = [one.limit_per_s for one in of_part]
        axes.plot(found, [line] * len(found), "o", color=NEUTRAL, markersize=3.5)
        place = (max([limits[part], *found]), line)
        axes.annotate(
            f"{limits[part]:,.0f}", place, xytext=(6, 0), textcoords="offset points", va="center", fontsize=SMALL
        )
    for line, why in enumerate(missing.values(), start=len(limits)):
        axes.annotate(f" not measured: {why[:90]}", (0, line), va="center", fontsize=SMALL, color=BAD)
    names = [TITLES[part] for part in (*limits, *missing)]
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * max(one.limit_per_s for of_part in rounds.values() for one in of_part))
    axes.set_xlabel(
        f"commands/s with p99 \N{LESS-THAN OR EQUAL TO} {certificate.objective.p99_ms_max:g} ms (points: rounds)"
    )
    axes.set_title(_title(certificate))
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, file, is_small=True)


def draw_latency(certificate: CapacityCertificate, file: Path) -> None:
    """The cell itself; and next to it, where they were measured, what comes through routers."""
    rounds = _rounds(certificate)
    cell = {part: of_part for part, of_part in rounds.items() if part not in ROUTER_PARTS.values()}
    routers = {part: of_part for part, of_part in rounds.items() if part in ROUTER_PARTS.values()}
    panels = [one for one in (cell, routers) if one]
    figure = blank(width_in=9 if len(panels) == 1 else 12, height_in=5)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        _draw_steps(axes, panel)
        axes.axhline(certificate.objective.p99_ms_max, color=BAD, linestyle="--", label="bound of p99")
        for part in panel:
            label = f"limit, {TITLES[part]}"
            axes.axvline(_limit(certificate, part), color=COLOURS[part], linestyle=":", label=label)
        axes.legend(fontsize=SMALL)
    figure.suptitle(_title(certificate))
    save(figure, file, is_small=True)


def draw_histogram(latencies: Mapping[Part, Histogram], file: Path) -> None:
    figure = blank(width_in=9, height_in=5)
    axes = figure.add_subplot()
    for part, histogram in latencies.items():
        ms = [upper_end_us(bucket) / 1_000 for bucket in histogram.counts]
        shares = [count / histogram.count * 100 for count in histogram.counts.values()]
        axes.hist(ms, bins=BINS_MS, weights=shares, histtype="step", color=COLOURS[part], label=TITLES[part])
    seen_ms = [upper_end_us(bucket) / 1_000 for one in latencies.values() for bucket in one.counts]
    axes.set_xlim(min(seen_ms) / 2, max(seen_ms) * 2)
    axes.set_xscale("log")
    axes.set_xlabel("latency from the intended instant, ms")
    axes.set_ylabel("% of commands at the highest rate that held")
    axes.legend(fontsize=SMALL)
    save(figure, file, is_small=True)


def _draw_steps(axes: Any, rounds: Mapping[Part, tuple[Round, ...]]) -> None:
    for part, of_part in rounds.items():
        for number, one in enumerate(of_part):
            steps = sorted(one.steps, key=lambda step: step.rate_per_s)
            rates = [step.rate_per_s for step in steps]
            label = f"p99, {TITLES[part]}" if number == 0 else None
            axes.plot(rates, [step.p99_ms for step in steps], "o-", color=COLOURS[part], alpha=0.85, label=label)
            axes.plot(rates, [step.p50_ms for step in steps], ".:", color=COLOURS[part], alpha=0.7)
    axes.set_yscale("log")
    axes.set_xlabel("commands/s offered (open loop)")
    axes.set_ylabel("latency from the intended instant, ms (dotted: p50)")


def _rounds(certificate: CapacityCertificate) -> dict[Part, tuple[Round, ...]]:
    """Of every part that was measured in rounds."""
    found: dict[Part, tuple[Round, ...]] = {}
    for topology in ("normal", "degraded"):
        rounds = tuple(one for one in certificate.rounds if one.topology == topology)
        found |= {topology: rounds} if rounds else {}
    return found | {ROUTER_PARTS[one.data_plane]: one.rounds for one in certificate.routers}


def _limit(certificate: CapacityCertificate, part: Part) -> float:
    if part == "degraded":
        return limit_of(certificate.rounds, "degraded")
    routers = {ROUTER_PARTS[one.data_plane]: one.limit_per_s for one in certificate.routers}
    return routers.get(part, certificate.limit_per_s)


def _title(certificate: CapacityCertificate) -> str:
    notes = [note for is_so, note in ((certificate.is_quick, "quick"), (certificate.is_noisy, "noisy")) if is_so]
    noted = f" ({' and '.join(notes)}: not to be relied on)" if notes else ""
    return f"{certificate.subject.kind} {certificate.subject.id}: {certificate.limit_per_s:,.0f} commands/s{noted}"
