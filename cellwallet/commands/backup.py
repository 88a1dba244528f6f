"""`cellwallet backup`: a copy of one cell's database, verified, while the cell goes on."""

from pathlib import Path
from typing import Annotated

import typer

from cellwallet.commands.copying import copying
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, fail, out, print_json
from cellwallet.commands.terminal import DataFolder as DataOption
from cellwallet.local.backups import BackupRefusedError, back_up
from cellwallet.local.folder import DataFolder
from cellwallet.local.pair_file import PairFileBrokenError, primary_folder
from cellwallet.local.postgres import Cluster

app = typer.Typer(add_completion=False)


@app.command()
def backup(
    *,
    cell: Annotated[str, typer.Argument(help="Id of the cell, such as cell-2.", metavar="CELL")],
    to: Annotated[Path, typer.Option("--to", help="A folder that does not exist yet, or is empty.")],
    data: DataOption = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Copy the database of a cell into a folder, and verify every checksum of it."""
    folder = DataFolder(data)
    if not folder.postgres(cell).is_dir():
        fail(f"{cell} is no cell of the data folder {folder.path}")
    try:
        with copying(f"backing up {cell}") as tell:
            note = back_up(Cluster(primary_folder(folder, cell)), to.resolve(), cell=cell, tell=tell)
    except (BackupRefusedError, PairFileBrokenError) as error:
        fail(str(error))
    if as_json:
        print_json({"cell": cell, "made_at": note.made_at, "bytes": note.bytes, "folder": str(to.resolve())})
    else:
        out().print(f"{cell} is backed up to {to}: {note.bytes / 2**20:,.0f} MiB, verified", highlight=False)
