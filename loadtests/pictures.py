"""A run's pictures: per target its figures side by side, with every round as a point, and how far its goals are.

Drawn from the document alone, whichever run it is of and however much of it was measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellwallet.plots import BAD, GOOD, NEUTRAL, OTHERS, OURS, WARM, blank, save
from loadtests.cutover_pictures import draw_cutovers
from loadtests.gallery import CUTOVERS, gallery, share_of_goal
from loadtests.peers import PEERS
from loadtests.targets import P99_MS_MAX

WIDTH_IN, LINE_IN, PANEL_IN = 9.0, 0.3, 0.9
"""Of a picture; of a bar; and what a panel has around its bars."""
QUANTILE_COLOURS = {"p50": OURS, "p90": OURS, "p99": WARM, "p99_9": BAD}
SMALL = 8
PEER_NAMES = {*(peer.name for peer in PEERS), "tigerbeetle"}
Document = Mapping[str, Any]


def draw_pictures(document: Document, folder: Path, *, is_small: bool = False) -> dict[str, Path]:
    """A PNG per target (and one of what belongs to none); pictures of earlier runs are taken away.

    Raises:
        PlotsMustBeInstalledError: the extra is not there.

    """
    shown = gallery(document)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.png" for name in shown}
    if CUTOVERS in shown:
        draw_cutovers(document["cutovers"], files[CUTOVERS], is_quick=document["quick"], is_small=is_small)
    for name, figures in shown.items():
        if name == CUTOVERS:
            continue
        _draw(
            document, name, {figure: document["figures"][figure] for figure in figures}, files[name], is_small=is_small
        )
    for stale in set(folder.glob("*.png")) - set(files.values()):
        stale.unlink()
    return files


def _draw(document: Document, name: str, figures: Document, file: Path, *, is_small: bool) -> None:
    parts = document["targets"].get(name, {}).get("parts", [])
    by_unit: dict[str, dict[str, Any]] = {}
    for figure, told in figures.items():
        by_unit.setdefault(told["unit"], {})[figure] = told
    slow = {figure: told for figure, told in figures.items() if told["loop"] == "open" and told["latency_ms"]}
    lines = [*map(len, by_unit.values()), *([len(slow)] if slow else []), *([len(parts)] if parts else [])]
    heights = [PANEL_IN + LINE_IN * count for count in lines]
    picture = blank(width_in=WIDTH_IN, height_in=sum(heights) + 0.4)
    picture.suptitle(_title(document, name), fontsize=SMALL + 3)
    panels = iter(picture.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
    for unit, of_unit in by_unit.items():
        _draw_figures(next(panels), unit, of_unit)
    if slow:
        _draw_latencies(next(panels), slow)
    if parts:
        _draw_goals(next(panels), parts)
    save(picture, file, is_small=is_small)


def _title(document: Document, name: str) -> str:
    target = document["targets"].get(name)
    verdict = "" if target is None else ": reached" if target["reached"] else ": not reached"
    quick = " (quick run: not worth quoting)" if document["quick"] else ""
    return f"{name}{verdict}{quick}"


def _draw_figures(axes: Any, unit: str, figures: Document) -> None:
    """Medians as bars, rounds as points; what failed a check is hatched."""
    medians = [told["median"] for told in figures.values()]
    colours = [OTHERS if figure.partition(".")[0] in PEER_NAMES else OURS for figure in figures]
    bars = axes.barh(range(len(figures)), medians, color=colours, height=0.7)
    for bar, told in zip(bars, figures.values(), strict=True):
        if not told["valid"]:
            bar.set(hatch="///", edgecolor=BAD)
    for line, told in enumerate(figures.values()):
        rounds = [one["value"] for one in told["rounds"]]
        axes.plot(rounds, [line] * len(rounds), "o", color=NEUTRAL, markersize=3.5)
    furthest = [max(told["median"], *(one["value"] for one in told["rounds"])) for told in figures.values()]
    for line, (median, end) in enumerate(zip(medians, furthest, strict=True)):
        axes.annotate(
            _number(median), (end, line), xytext=(5, 0), textcoords="offset points", va="center", fontsize=SMALL
        )
    _lines(axes, [f"{figure}" + ("" if told["valid"] else " (invalid)") for figure, told in figures.items()])
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{unit} (bars: medians; points: rounds)", fontsize=SMALL)


def _draw_latencies(axes: Any, figures: Document) -> None:
    for line, told in enumerate(figures.values()):
        seen = {name: told["latency_ms"][name] for name in QUANTILE_COLOURS if told["latency_ms"].get(name, 0) > 0}
        axes.plot(list(seen.values()), [line] * len(seen), "-", color=NEUTRAL, linewidth=1)
        for name, ms in seen.items():
            axes.plot([ms], [line], "D", color=QUANTILE_COLOURS[name], markersize=4)
            place = (0, 5 if name in {"p50", "p99"} else -11)
            label = f"{name.replace('_', '.')} {ms:,.3g}"
            axes.annotate(label, (ms, line), xytext=place, textcoords="offset points", ha="center", fontsize=SMALL - 2)
    axes.axvline(P99_MS_MAX, color=BAD, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks("{x:g}")
    axes.margins(x=0.1)
    _lines(axes, list(figures))
    axes.set_xlabel("latency from the intended instant, ms (open loop; dashed: bound of p99)", fontsize=SMALL)


def _draw_goals(axes: Any, parts: Sequence[Document]) -> None:
    shares = [share_of_goal(part) for part in parts]
    colours = [GOOD if part["reached"] else BAD for part in parts]
    axes.barh(range(len(parts)), shares, color=colours, height=0.6)
    for line, (part, share) in enumerate(zip(parts, shares, strict=True)):
        sign = "\N{GREATER-THAN OR EQUAL TO}" if part["sense"] == "at_least" else "\N{LESS-THAN OR EQUAL TO}"
        text = f"{_number(part['value'])} {part['unit']}, to reach {sign} {part['target']:,g}"
        axes.annotate(text, (share, line), xytext=(5, 0), textcoords="offset points", va="center", fontsize=SMALL - 1)
    axes.axvline(1, color=NEUTRAL, linestyle="--", linewidth=1)
    axes.set_xlim(0, 1.9 * max(1.0, *shares))
    _lines(axes, [part["name"] for part in parts])
    axes.set_xlabel("share of the goal (1 = just reached, more is better)", fontsize=SMALL)


def _lines(axes: Any, names: Sequence[str]) -> None:
    """From top to bottom, as they come in the document."""
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="x", which="both", labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1_000 else f"{figure:,.4g}"
