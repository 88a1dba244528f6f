"""`cellwallet moves start|list|watch|cancel`: units that go from cell to cell while they are in use.

The mover carries orders out; a verb that is interrupted loses nothing but its view.
"""

import re
import uuid
from typing import Annotated, Any

import typer
from rich.table import Table

from cellwallet.commands.operators import Operator, Reached, watch
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, out, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Units that go from cell to cell.")

PAGE_MAX = 500
UNITS_MAX = 4_096
_UNITS = re.compile(r"\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*")

MoveArgument = Annotated[str, typer.Argument(metavar="MOVE_ID")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only order it.")]


def units_of(text: str) -> list[int]:
    """`7`, `0-99`, `1,5,10-20`."""
    if not _UNITS.fullmatch(text):
        raise typer.BadParameter("units are numbers and ranges, as in 1,5,10-20")
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not 0 <= int(last or first) - int(first) < UNITS_MAX:
            raise typer.BadParameter(f"{part} is no range of at most {UNITS_MAX:,} units")
        numbers |= set(range(int(first), int(last or first) + 1))
    if len(numbers) > UNITS_MAX:
        raise typer.BadParameter(f"one move takes at most {UNITS_MAX:,} units")
    return sorted(numbers)


@app.command()
def start(
    *,
    to: Annotated[str, typer.Option("--to", metavar="CELL", help="Where they go.")],
    units: Annotated[str | None, typer.Option(metavar="1,5,10-20", help="Slots, or isolated units.")] = None,
    wallet: Annotated[
        str | None, typer.Option(metavar="WALLET_ID", help="One wallet; it gets a unit of its own first.")
    ] = None,
    move_id: Annotated[
        str | None, typer.Option(help="The same id again is the same order.", show_default="new")
    ] = None,
    no_wait: NoWait = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Move units, or a wallet, to another cell while they are in use."""
    if (units is None) == (wallet is None):
        raise typer.BadParameter("name --units or --wallet, one of them")
    what: dict[str, Any] = {"wallet_id": wallet} if units is None else {"units": units_of(units)}
    operator = Operator(data)
    move = operator.post("/v1/moves", {**what, "to_cell": to, "move_id": move_id or str(uuid.uuid4())})
    _end(operator, move, no_wait=no_wait, as_json=as_json)


@app.command("list")
def list_moves(
    *,
    all_moves: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX)] = 50,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List moves, the newest first."""
    query = f"limit={limit}" if all_moves else f"limit={limit}&open=true"
    moves = Operator(data).get(f"/v1/moves?{query}")["moves"]
    if as_json:
        print_json({"moves": moves})
    elif moves:
        print_table(_table(moves))
    else:
        out().print("no moves" if all_moves else "no move is under way; --all shows those that have ended")


@app.command("watch")
def watch_move(move_id: MoveArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Follow a move until it has ended; exit code 1 unless every unit has arrived."""
    operator = Operator(data)
    _end(operator, operator.get(f"/v1/moves/{_id(move_id)}"), no_wait=False, as_json=as_json)


@app.command()
def cancel(move_id: MoveArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Stop a move: what has been granted stays with the new cell, everything else stays where it is."""
    move = Operator(data).post(f"/v1/moves/{_id(move_id)}/cancel")
    _tell(move, as_json=as_json)


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise typer.BadParameter(f"{text} is no id of a move") from None


def _end(operator: Operator, move: dict[str, Any], *, no_wait: bool, as_json: bool) -> None:
    if not no_wait:
        path = f"/v1/moves/{move['move_id']}"
        watch(f"{move['from_cell']} to {move['to_cell']}", lambda: _reached(operator.try_to_get(path)))
        move = operator.get(path)
    _tell(move, as_json=as_json)
    if not no_wait and move["state"] != "done":
        raise typer.Exit(1)


def _reached(move: dict[str, Any] | None) -> Reached | None:
    if move is None:
        return None
    facts = (move["state"], f"{move['copied_rows']:,} rows copied", (move["reason"] or "").replace("_", " "))
    note = ", ".join(fact for fact in facts if fact)
    return Reached(done=move["units_moved"], total=move["units"], is_over=move["ended_at"] is not None, note=note)


def _tell(move: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(move)
    else:
        print_table(_table([move]))
        if move["detail"]:
            out().print(f"{move['reason']}: {move['detail']}", highlight=False, markup=False)


def _table(moves: list[dict[str, Any]]) -> Table:
    table = Table("move", "from", "to", "state")
    for column in ("units", "moved", "rows copied", "longest pause"):
        table.add_column(column, justify="right")
    table.add_column("why")
    for move in moves:
        pause = "-" if move["pause_ms_max"] is None else f"{move['pause_ms_max']:.0f} ms"
        figures = (f"{move[name]:,}" for name in ("units", "units_moved", "copied_rows"))
        state = move["stop"] if move["state"] == "stopping" else move["state"]
        table.add_row(move["move_id"], move["from_cell"], move["to_cell"], state, *figures, pause, move["reason"] or "")
    return table
