"""The days of a simulated fleet as a picture: burden, moves, cells and the length of the map."""

from collections.abc import Sequence
from pathlib import Path

from cellwallet.fleet_simulation.run import Look
from cellwallet.plots import Figure, blank, save


def draw(looks: Sequence[Look], file: Path) -> None:
    """Write a PNG.

    Raises:
        PlotsMustBeInstalledError: the extra is not there.
        OSError: the file cannot be written.

    """
    figure = blank(width_in=11, height_in=7.5)
    days = [one.day + one.hour / 24 for one in looks]
    _draw_burden(figure, days, looks)
    _draw_per_day(figure, looks)
    axes = figure.add_subplot(2, 2, 3)
    axes.plot(days, [one.cells for one in looks], color="#5e81ac")
    axes.set_ylabel("cells that take units")
    axes.set_xlabel("day")
    axes = figure.add_subplot(2, 2, 4)
    axes.plot(days, [one.stretches for one in looks], color="#8fbcbb")
    axes.set_ylabel("stretches of the map")
    axes.set_xlabel("day")
    axes.set_ylim(bottom=0)
    save(figure, file)


def _draw_burden(figure: Figure, days: Sequence[float], looks: Sequence[Look]) -> None:
    axes = figure.add_subplot(2, 2, 1)
    axes.plot(days, [one.busiest * 100 for one in looks], color="#bf616a", label="busiest cell", linewidth=1)
    axes.plot(days, [one.mean * 100 for one in looks], color="#5e81ac", label="mean", linewidth=1)
    axes.axhline(looks[0].ceiling * 100, color="#d08770", linestyle="--", label="placement ceiling")
    axes.set_ylabel("% of the certified limit")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _draw_per_day(figure: Figure, looks: Sequence[Look]) -> None:
    axes = figure.add_subplot(2, 2, 2)
    numbers = sorted({one.day for one in looks})
    moved = [sum(one.moved_units for one in looks if one.day == day) for day in numbers]
    axes.bar(numbers, moved, color="#a3be8c")
    axes.set_ylabel("units moved per day")
