"""Which figures of a run's document go into which picture, and how far each goal is from being reached. Pure.

A picture per judged target. A figure that no goal names goes where the figures are that its own name is most like; one
that is like none goes into a picture of its own kind, so that every figure of any document is drawn once at least.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from loadtests.targets import GOALS

OTHER = "other"
"""The picture of figures that belong to no judged target."""
CUTOVERS = "P8-cutovers"
"""The picture of latency around moves; of a run that made some. It has no figures, but series."""


def gallery(document: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The pictures of a document: a target (or `OTHER`, or `CUTOVERS`) and its figures, in the document's order."""
    figures = document["figures"]
    named = {target: _named(target, figures) for target in document["targets"]}
    shown: dict[str, set[str]] = {target: set(names) for target, names in named.items()}
    for figure in figures:
        if not any(figure in names for names in named.values()):
            shown.setdefault(_nearest(figure, named), set()).add(figure)
    found = {
        picture: tuple(figure for figure in figures if figure in shown[picture])
        for picture in (*document["targets"], OTHER)
        if picture in shown
    }
    return found | ({CUTOVERS: ()} if document.get("cutovers") else {})


def share_of_goal(part: Mapping[str, Any]) -> float:
    """1 = just reached, more is better, whichever sense the goal has."""
    measured, target = float(part["value"]), float(part["target"])
    if part["sense"] == "at_least":
        return measured / target if target else math.inf
    if not target:
        return 1.0 if not measured else 0.0
    return target / measured if measured > 0 else 0.0


def needed(target: str) -> set[str]:
    """The figures that a target compares."""
    return {need for goal in GOALS.get(target, ()) for need in goal.needs}


def as_of(figure: str, target: str) -> str:
    """What a figure is called that another run has as well, where it is the one that this target was judged by."""
    return f"{figure} of {target}"


def _named(target: str, figures: Mapping[str, Any]) -> set[str]:
    names = (name if (name := as_of(need, target)) in figures else need for need in needed(target))
    return {name for name in names if name in figures}


def _nearest(figure: str, named: Mapping[str, Iterable[str]]) -> str:
    """By words that the names share: `interactive.hot.8` is with `sql_ledger.hot.8`."""
    words = set(figure.split("."))
    alike = {
        target: max((len(words & set(name.split("."))) for name in names), default=0) for target, names in named.items()
    }
    best = max(alike, key=lambda target: alike[target], default=OTHER)
    return best if alike.get(best) else OTHER
