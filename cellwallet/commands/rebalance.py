"""`cellwallet rebalance`: relieve cells that carry too much; with `--dry-run` only show what would move, and why."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cellwallet.commands.operators import Operator
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, err, fail, out, print_json
from cellwallet.plots import PlotsMustBeInstalledError, blank, save

app = typer.Typer(add_completion=False)


@app.command()
def rebalance(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and order nothing.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw each cell before and after into this file.")
    ] = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Move as few units as bring every cell below its level; what stays is listed with the reason."""
    plan = Operator(data).post("/v1/rebalances", {"dry_run": dry_run})
    if as_json:
        print_json(plan)
    else:
        _print(plan, is_order=not dry_run)
    if picture is not None:
        _draw(plan, picture)


def _print(plan: dict[str, Any], *, is_order: bool) -> None:
    shares = Table("cell", title=f"weighed by {plan['dimension']}")
    for column in ("units", "after", "load", "after"):
        shares.add_column(column, justify="right")
    for before, after in zip(plan["before"], plan["after"], strict=True):
        shares.add_row(
            before["cell"],
            f"{before['units']:,}",
            f"{after['units']:,}",
            _share(before["score"]),
            _share(after["score"]),
        )
    print_table(shares)
    if plan["moves"]:
        moves = Table("from", "to", "what", "why", title="moves" if is_order else "would move")
        moves.add_column("commands/s", justify="right")
        for move in plan["moves"]:
            what = f"wallet {move['wallet_id']}" if move["wallet_id"] else f"{len(move['units']):,} units"
            moves.add_row(move["from_cell"], move["to_cell"], what, move["cause"], f"{move['weight']:,.1f}")
        print_table(moves)
    if plan["waiting"]:
        waiting = Table("what stays", "what must hold", "because", title="does not move")
        for one in plan["waiting"]:
            waiting.add_row(one["subject"], one["reason"].replace("_", " "), one["detail"])
        print_table(waiting)
    if is_order and plan["moves"]:
        out().print("ordered; `cellwallet moves list` and `cellwallet cells list` show how far it is", highlight=False)


def _share(score: float | None) -> str:
    return "-" if score is None else f"{score:.0%}"


def _draw(plan: dict[str, Any], file: Path) -> None:
    try:
        draw(plan, file)
    except (PlotsMustBeInstalledError, OSError) as error:
        fail(str(error))
    err().print(f"written: {file}", highlight=False)


def draw(plan: dict[str, Any], file: Path) -> None:
    """Two bars for each cell: before and after; its load, and its units.

    Raises:
        PlotsMustBeInstalledError: the extra is not there.
        OSError: the file cannot be written.

    """
    figure = blank(width_in=11, height_in=4.6)
    cells = [share["cell"] for share in plan["before"]]
    moved = sum(max(1, len(move["units"])) for move in plan["moves"])
    figure.suptitle(f"{moved:,} units in {len(plan['moves'])} moves")
    panels = (("load, % of the limit" if plan["dimension"] == "traffic" else "load, % of an equal part", "score", 100),)
    for place, (label, member, scale) in enumerate((*panels, ("units", "units", 1)), start=1):
        axes = figure.add_subplot(1, 2, place)
        for offset, (name, colour) in enumerate((("before", "#d08770"), ("after", "#5e81ac"))):
            heights = [(share[member] or 0) * scale for share in plan[name]]
            places = [number + (offset - 0.5) * 0.38 for number in range(len(cells))]
            bars = axes.bar(places, heights, width=0.36, label=name, color=colour)
            if len(cells) <= 12:
                axes.bar_label(bars, fmt="{:,.0f}", fontsize=7)
        axes.set_xticks(range(len(cells)), cells, rotation=45 if len(cells) > 6 else 0, fontsize=8)
        axes.set_ylabel(label)
        axes.legend(fontsize=8)
    save(figure, file)
