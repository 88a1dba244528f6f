"""Cells that the control plane has retired: their processes are not needed any more, their data is kept until asked.

Asks the control plane alone; whether a cell may be retired was decided there, by the cell's own word.
"""

import asyncio
import json
import shutil

from cellwallet.local.failover import PLACES
from cellwallet.local.folder import DataFolder
from cellwallet.local.pair_file import place_folder, primary_folder
from cellwallet.local.probe import get
from cellwallet.local.processes import processes_in


class DataMustBeUnusedError(Exception):
    """A process still works in the database that was to be deleted."""


async def retired_cells(control_plane_url: str, *, token: str) -> frozenset[str] | None:
    """None when the control plane does not tell."""
    answer = await asyncio.to_thread(get, f"{control_plane_url}/v1/cells", token=token)
    if answer is None or answer.status != 200:
        return None
    return frozenset(cell["id"] for cell in json.loads(answer.body)["cells"] if cell["state"] == "retired")


def kept_data(folder: DataFolder, cell: str) -> str | None:
    """Where the primary of a cell was last; None once it was deleted."""
    path = primary_folder(folder, cell)
    return str(path) if path.exists() else None


def delete_data(folder: DataFolder, cell: str) -> None:
    """The database, and what its processes remembered; logs and keys stay, they prove what the cell once signed.

    Raises:
        DataMustBeUnusedError: somebody works with it.

    """
    databases = [place_folder(folder, cell, place) for place in PLACES]
    for database in databases:
        if processes_in(database / "pgdata"):
            raise DataMustBeUnusedError(f"a PostgreSQL still works in {database}")
    for path in (*databases, *folder.state(cell).parent.glob(f"{cell}-api-*")):
        if path.exists():
            shutil.rmtree(path)
    folder.pair(cell).unlink(missing_ok=True)
