"""Which cells this data folder holds. Only a retired one is dropped, and its number never comes back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellwallet.local.failover import Place
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

    @property
    def database_zones(self) -> Mapping[Place, str]:
        """Of the places of its databases, which never change: at home, and in the zone after it."""
        return {"first": self.home_zone, "second": ZONES[(ZONES.index(self.home_zone) + 1) % len(ZONES)]}


@value
class Members:
    first_cells: int
    """How many cells share the slots when the fleet is born."""
    cells: tuple[Member, ...]
    """Those that run."""
    numbered: int
    """How many there ever were."""
    retired: tuple[str, ...] = ()
    have_standbys: bool = False
    """Whether each cell's database has a standby that commits wait for."""


def ensure_members(
    path: Path, *, cells: int | None, default_cells: int, api_processes: int, standbys: bool | None = None
) -> Members:
    """The recorded cells, and new ones up to `cells`; none given = as recorded, or the default at the first start.

    Retired ones count: the same number again brings nobody back and nobody new. Standbys likewise: as recorded, unless
    somebody wants otherwise.
    """
    recorded = _recorded(path)
    known = int(recorded["cells"]) if recorded else 0
    count = max(known, cells if cells is not None else (known or default_cells))
    first_cells = int(recorded["first_cells"]) if recorded else count
    retired = tuple(recorded.get("retired", ())) if recorded else ()
    had_standbys = bool(recorded and recorded.get("standbys"))
    have_standbys = had_standbys if standbys is None else standbys
    if (count, have_standbys) != (known, had_standbys):
        _record(path, first_cells=first_cells, cells=count, retired=retired, standbys=have_standbys)
    everybody = (member(number, api_processes=api_processes) for number in range(count))
    return Members(
        first_cells=first_cells,
        cells=tuple(one for one in everybody if one.id not in retired),
        numbered=count,
        retired=retired,
        have_standbys=have_standbys,
    )


def record_retired(path: Path, cell: str) -> None:
    """From now on no start brings it back."""
    recorded = _recorded(path) or {}
    retired = tuple(sorted({*recorded.get("retired", ()), cell}))
    _record(
        path,
        first_cells=recorded["first_cells"],
        cells=recorded["cells"],
        retired=retired,
        standbys=bool(recorded.get("standbys")),
    )


def member(number: int, *, api_processes: int) -> Member:
    """The cell of this number, from 0."""
    return Member(
        id=f"cell-{number + 1}",
        home_zone=ZONES[number % len(ZONES)],
        api_zones=tuple(ZONES[(number + process) % len(ZONES)] for process in range(api_processes)),
    )


def _recorded(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _record(path: Path, *, first_cells: int, cells: int, retired: tuple[str, ...], standbys: bool) -> None:
    described: dict[str, Any] = {"first_cells": first_cells, "cells": cells}
    write_json(
        path,
        described | ({"retired": list(retired)} if retired else {}) | ({"standbys": True} if standbys else {}),
    )
