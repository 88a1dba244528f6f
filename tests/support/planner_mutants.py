"""Planners that are wrong in one place: copies of the planner's own modules with one text of theirs replaced.

The values that go in are those of the real planner; only what decides is copied.
"""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import control_plane.fleet

FLEET = Path(control_plane.fleet.__file__).parent
COPIED = ("board", "resettling", "relief", "rebalancing", "ordering")
"""Each after those that it imports."""
PACKAGE = "mutant_of_the_planner"

Planner = types.SimpleNamespace
"""With `rebalancing`, `automatic` and `ordered_now`, as the real modules have them."""


@contextmanager
def mutant_planner(module: str, was: str, becomes: str) -> Iterator[Planner]:
    """Fails where the text is not there exactly once: a mutant of a line that is gone proves nothing."""
    sources = {name: (FLEET / f"{name}.py").read_text() for name in COPIED}
    assert sources[module].count(was) == 1, f"{was!r} is not exactly once in {module}.py"
    sources[module] = sources[module].replace(was, becomes)
    made: dict[str, types.ModuleType] = {}
    try:
        for name, source in sources.items():
            made[name] = sys.modules[f"{PACKAGE}.{name}"] = types.ModuleType(f"{PACKAGE}.{name}")
            exec(compile(_with_copies(source), f"mutant of {name}.py", "exec"), made[name].__dict__)  # noqa: S102 - ours
        yield planner_of(made["rebalancing"], made["ordering"])
    finally:
        for name in made:
            del sys.modules[f"{PACKAGE}.{name}"]


def planner_of(rebalancing: Any, ordering: Any) -> Planner:
    named: dict[str, Callable[..., Any]] = {
        "rebalancing": rebalancing.rebalancing,
        "automatic": rebalancing.automatic,
        "ordered_now": ordering.ordered_now,
    }
    return types.SimpleNamespace(**named)


def _with_copies(source: str) -> str:
    for name in COPIED:
        source = source.replace(f"from control_plane.fleet.{name} import", f"from {PACKAGE}.{name} import")
    return source
