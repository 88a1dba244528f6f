"""The record of a cell's two databases in the data folder: whole at any time, and on disk before it is believed.

A cell that never had a standby has none. Decides nothing: that is failover.py.
"""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from cellwallet.local.failover import NEXT, PLACES, Pair, Place
from cellwallet.local.folder import DataFolder


class PairFileBrokenError(Exception):
    """The record is there and says nothing: a person must look which of the two databases is the primary."""


class RolesMustBeSettledError(Exception):
    """A change of roles was broken off; `cellwallet up` ends it."""


def read_pair(path: Path) -> Pair | None:
    """Raises PairFileBrokenError."""
    try:
        told = json.loads(path.read_bytes())
        pair = Pair(**{name: told[name] for name in asdict(Pair())})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PairFileBrokenError(f"{path} cannot be read: {error!r}") from error
    if pair.primary not in PLACES or pair.phase not in NEXT:
        raise PairFileBrokenError(f"{path} tells of place {pair.primary!r} in phase {pair.phase!r}")
    return pair


def write_pair(path: Path, pair: Pair) -> None:
    """Survives a power cut once this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w") as stream:
        stream.write(json.dumps(asdict(pair), indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    keep(path.parent)


def keep(folder: Path) -> None:
    """What was made, renamed or removed in the folder survives a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def place_folder(data: DataFolder, cell: str, place: Place) -> Path:
    """Where the database of this place is; the first is where a cell without a standby has its only one."""
    return data.postgres(cell if place == "first" else f"{cell}-second")


def primary_folder(data: DataFolder, cell: str) -> Path:
    """Where the cell's primary is."""
    pair = read_pair(data.pair(cell))
    return place_folder(data, cell, pair.primary if pair else "first")


def forget_standby(data: DataFolder, cell: str) -> None:
    """The primary's data are about to be replaced, while nothing of the cell runs: its standby is one of other data.

    Raises:
        RolesMustBeSettledError: which of the two is the primary is just being changed.

    """
    pair = read_pair(data.pair(cell))
    if pair is None:
        return
    if not pair.is_settled:
        raise RolesMustBeSettledError(f"the databases of {cell} change their roles: start the platform once, to end it")
    write_pair(data.pair(cell), replace(pair, phase="alone"))
