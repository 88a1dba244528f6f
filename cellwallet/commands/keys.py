"""`cellwallet keys make`: keys and tokens of a fleet that runs elsewhere, as its charts and compose.yaml want them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from cellwallet.commands.terminal import AsJson, fail, out, print_json
from cellwallet.local.identities import RESERVED, write_identities
from contract.ids import CELL_PATTERN

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keys and tokens of a fleet that does not run on this machine."""


@app.command()
def make(
    *,
    cell: Annotated[list[str], typer.Option(help="Id of a cell; may be given again.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for them. Keys that are there already stay.")],
    as_json: AsJson = False,
) -> None:
    """Make what each part needs to be known by the others: a folder each, named as it, for one Secret each.

    `cellwallet tokens issue --data FOLDER` then issues tokens of vendors and operators.
    """
    for name in cell:
        if re.fullmatch(CELL_PATTERN, name) is None or name in RESERVED:
            raise typer.BadParameter(f"{name!r} must match {CELL_PATTERN} and name no other part", param_hint="--cell")
    try:
        written = write_identities(folder, dict.fromkeys(cell))
    except OSError as error:
        fail(str(error))
    if as_json:
        print_json({"folders": [str(path) for path in written]})
    else:
        out().print("\n".join(f"{path}: {_files(path)}" for path in written), highlight=False)


def _files(folder: Path) -> str:
    return " ".join(sorted(path.name for path in folder.iterdir()))
