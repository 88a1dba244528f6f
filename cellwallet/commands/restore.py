"""`cellwallet restore`: a cell's database as it was at a backup. The cell is closed afterwards, whoever starts it."""

from pathlib import Path
from typing import Annotated

import typer

from cellwallet.commands.copying import copying
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, fail, out, print_json
from cellwallet.commands.terminal import DataFolder as DataOption
from cellwallet.local.backups import BackupRefusedError, read_note, restore
from cellwallet.local.control import PlatformMustRunError, request
from cellwallet.local.folder import DataFolder
from cellwallet.local.pair_file import PairFileBrokenError, RolesMustBeSettledError, forget_standby, primary_folder
from cellwallet.local.postgres import Cluster

app = typer.Typer(add_completion=False)


@app.command(name="restore")
def restore_cell(
    *,
    cell: Annotated[str, typer.Argument(help="Id of the cell, such as cell-2.", metavar="CELL")],
    source: Annotated[Path, typer.Option("--from", help="What `cellwallet backup` made.")],
    data: DataOption = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of a cell's database; a running platform stops the cell for it, and starts it again."""
    folder = DataFolder(data)
    if not folder.postgres(cell).is_dir():
        fail(f"{cell} is no cell of the data folder {folder.path}")
    try:
        note = read_note(source.resolve())
        is_running = folder.holder() is not None
        if is_running and note.cell == cell:
            _ask(folder, "halt_cell", cell)
        try:
            forget_standby(folder, cell)
            with copying(f"restoring {cell}") as tell:
                kept = restore(Cluster(primary_folder(folder, cell)), source.resolve(), cell=cell, tell=tell)
        finally:
            if is_running and note.cell == cell:
                _ask(folder, "resume_cell", cell)
    except (BackupRefusedError, PairFileBrokenError, RolesMustBeSettledError) as error:
        fail(str(error))
    if as_json:
        print_json({"cell": cell, "made_at": note.made_at, "replaced": str(kept) if kept else None})
        return
    out().print(
        f"{cell} is as it was at {note.made_at}, and closed: it serves nobody until it is opened", highlight=False
    )
    if kept:
        out().print(f"what was there is kept in {kept}", highlight=False, markup=False)
    out().print(f"next: cellwallet cells adjudicate {cell}", highlight=False)


def _ask(folder: DataFolder, do: str, cell: str) -> None:
    try:
        answer = request(folder.control_socket, do, cell=cell)
    except PlatformMustRunError as error:
        fail(str(error))
    if "error" in answer:
        fail(answer["error"])
