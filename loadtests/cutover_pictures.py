"""Latency over time around the cut-over of a typical move, one panel for each subject: every request is a point.

Drawn from the document alone; x is when a request was meant to be sent, so who arrived early in a pause waited longest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellwallet.plots import BAD, FAINT, GOOD, OURS, WARM, blank, save

WIDTH_IN, PANEL_IN = 9.0, 2.4
SMALL = 8


def draw_cutovers(cutovers: Mapping[str, Any], file: Path, *, is_quick: bool, is_small: bool = False) -> None:
    picture = blank(width_in=WIDTH_IN, height_in=PANEL_IN * len(cutovers) + 0.4)
    quick = " (quick run: not worth quoting)" if is_quick else ""
    picture.suptitle(f"Latency around the cut-over of a typical move{quick}", fontsize=SMALL + 3)
    panels = picture.subplots(len(cutovers), 1, squeeze=False)[:, 0]
    for axes, told in zip(panels, cutovers.values(), strict=True):
        _draw_cutover(axes, told)
    panels[-1].set_xlabel("request meant to be sent, ms from the fence", fontsize=SMALL)
    save(picture, file, is_small=is_small)


def _draw_cutover(axes: Any, told: Mapping[str, Any]) -> None:
    axes.axvspan(0, told["pause_ms"], color=FAINT, label=f"pause: {told['pause_ms']:,.0f} ms")
    axes.axvline(0, color=WARM, linewidth=1, label="fence")
    axes.axvline(told["pause_ms"], color=GOOD, linewidth=1, label="activation")
    axes.plot(told["at_ms"], told["latency_ms"], "o", color=OURS, markersize=2.5)
    if told["errors_at_ms"]:
        errors = told["errors_at_ms"]
        axes.plot(errors, [0] * len(errors), "x", color=BAD, markersize=5, label=f"errors: {len(errors)}")
    axes.set_title(told["title"], fontsize=SMALL + 1, loc="left")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("latency, ms", fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=SMALL - 1, frameon=False, loc="upper right")
