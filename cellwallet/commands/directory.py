"""`cellwallet directory`: which cell has which units, as published; and the way back when that was lost."""

from collections import Counter
from typing import Annotated

import typer
from rich.table import Table

from cellwallet.commands.operators import Operator
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, out, print_json
from contract.directory import DirectoryDocument

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def directory() -> None:
    """The map from wallets to cells."""


@app.command()
def show(*, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """The published directory: cells, their slots, isolated wallets, units on their way."""
    document = Operator(data).get("/v1/directory")
    if as_json:
        print_json(document)
        return
    shown = DirectoryDocument.model_validate({name: of for name, of in document.items() if name != "signature"})
    slots, runs = Counter(shown.slot_cells()), Counter(cell for _, cell in shown.slots)
    isolated = Counter(shown.unit_cells.values())
    table = Table("cell", "state", title=f"version {shown.version}, issued {shown.issued_at}")
    for column in ("slots", "stretches", "isolated wallets", "processes"):
        table.add_column(column, justify="right")
    for name, cell in sorted(shown.cells.items()):
        table.add_row(
            name, cell.state, f"{slots[name]:,}", f"{runs[name]:,}", f"{isolated[name]:,}", str(len(cell.api))
        )
    print_table(table)
    highest = max(shown.epochs.values(), default=1)
    out().print(f"{len(shown.moving)} units are on their way; the highest epoch is {highest}", highlight=False)


@app.command()
def rebuild(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only ask the cells, and tell what would change.")] = False,
    allow_large_change: Annotated[
        bool, typer.Option("--allow-large-change", help="More than 5 % of the recorded units may change their cell.")
    ] = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Ask every cell what it owns, and make that the directory; nothing is changed where two cells claim a unit."""
    wanted = {"dry_run": dry_run, "allow_large_change": allow_large_change}
    answer = Operator(data).post("/v1/directory/rebuild", wanted)
    if as_json:
        print_json(answer)
        return
    verb = "would be" if dry_run else "were"
    out().print(
        f"{answer['units']:,} units of {', '.join(answer['cells'])} {verb} taken over from the cells; "
        f"{answer['changed']:,} of them changed their cell",
        highlight=False,
    )
    for claim in answer["superseded"]:
        out().print(f"superseded claim of {claim}", highlight=False)
