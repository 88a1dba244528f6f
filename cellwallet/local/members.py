"""Which cells this data folder holds. A cell is never dropped: its database holds money."""

import json
from pathlib import Path

from cellwallet.local.folder import write_json
from contract.values import value

ZONES = ("a", "b", "c")


@value
class Member:
    """One cell on this machine."""

    id: str
    home_zone: str
    api_zones: tuple[str, ...]
    """One API process each: the home zone first, then the next ones."""


@value
class Members:
    first_cells: int
    """How many cells share the slots when the fleet is born."""
    cells: tuple[Member, ...]


def ensure_members(path: Path, *, cells: int | None, default_cells: int, api_processes: int) -> Members:
    """The recorded cells, and new ones up to `cells`; none given = as recorded, or the default at the first start."""
    recorded = json.loads(path.read_text()) if path.exists() else None
    known = int(recorded["cells"]) if recorded else 0
    count = max(known, cells if cells is not None else (known or default_cells))
    first_cells = int(recorded["first_cells"]) if recorded else count
    if count != known:
        write_json(path, {"first_cells": first_cells, "cells": count})
    return Members(
        first_cells=first_cells, cells=tuple(member(number, api_processes=api_processes) for number in range(count))
    )


def member(number: int, *, api_processes: int) -> Member:
    """The cell of this number, from 0."""
    return Member(
        id=f"cell-{number + 1}",
        home_zone=ZONES[number % len(ZONES)],
        api_zones=tuple(ZONES[(number + process) % len(ZONES)] for process in range(api_processes)),
    )
