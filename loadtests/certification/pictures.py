"""A certificate's two pictures: latency over rate, and how latencies are spread at the limit."""

from pathlib import Path

from cellwallet.plots import blank, save
from contract.certificate import CapacityCertificate
from loadtests.histogram import Histogram, upper_end_us

BINS_MS = [10 ** (exponent / 16) for exponent in range(-48, 81)]
"""From a microsecond to a hundred seconds, sixteen per power of ten; what nobody saw stays empty."""
COLOURS = {"normal": "#5e81ac", "degraded": "#d08770"}


def draw_latency(certificate: CapacityCertificate, file: Path) -> None:
    figure = blank(width_in=9, height_in=5)
    axes = figure.add_subplot()
    labelled = set()
    for one in certificate.rounds:
        steps = sorted(one.steps, key=lambda step: step.rate_per_s)
        rates = [step.rate_per_s for step in steps]
        label = None if one.topology in labelled else f"p99, {one.topology} topology"
        labelled.add(one.topology)
        axes.plot(rates, [step.p99_ms for step in steps], "o-", color=COLOURS[one.topology], alpha=0.7, label=label)
        axes.plot(rates, [step.p50_ms for step in steps], ".:", color=COLOURS[one.topology], alpha=0.5)
    axes.axhline(certificate.objective.p99_ms_max, color="#bf616a", linestyle="--", label="bound of p99")
    axes.axvline(certificate.limit_per_s, color="#4c566a", linestyle=":", label="certified limit")
    axes.set_yscale("log")
    axes.set_xlabel("commands/s offered (open loop)")
    axes.set_ylabel("latency from the intended instant, ms (dotted: p50)")
    axes.set_title(f"{certificate.subject.kind} {certificate.subject.id}: {certificate.limit_per_s:,.0f} commands/s")
    axes.legend(fontsize=8)
    save(figure, file)


def draw_histogram(latencies: dict[str, Histogram], file: Path) -> None:
    figure = blank(width_in=9, height_in=5)
    axes = figure.add_subplot()
    for topology, histogram in latencies.items():
        ms = [upper_end_us(bucket) / 1_000 for bucket in histogram.counts]
        shares = [count / histogram.count * 100 for count in histogram.counts.values()]
        label = f"{topology} topology"
        axes.hist(ms, bins=BINS_MS, weights=shares, histtype="step", color=COLOURS[topology], label=label)
    seen_ms = [upper_end_us(bucket) / 1_000 for one in latencies.values() for bucket in one.counts]
    axes.set_xlim(min(seen_ms) / 2, max(seen_ms) * 2)
    axes.set_xscale("log")
    axes.set_xlabel("latency from the intended instant, ms")
    axes.set_ylabel("% of commands at the highest rate that held")
    axes.legend(fontsize=8)
    save(figure, file)
