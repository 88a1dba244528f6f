"""`cellwallet cells add`: one cell more on this machine, in the platform that runs."""

import typer

from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, err, fail, out, print_json
from cellwallet.commands.terminal import DataFolder as DataOption
from cellwallet.local.control import PlatformMustRunError, request
from cellwallet.local.folder import DataFolder

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def cells() -> None:
    """Cells of the platform."""


@app.command()
def add(*, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Start another cell: its PostgreSQL and its API processes. It joins empty; a rebalance gives it units."""
    try:
        with err().status("starting the database and the processes of another cell"):
            answer = request(DataFolder(data).control_socket, "add_cell")
    except PlatformMustRunError as error:
        fail(str(error))
    if "error" in answer:
        fail(answer["error"])
    if as_json:
        print_json(answer)
    else:
        out().print(f"{answer['cell']} runs and has joined, without units", highlight=False)
