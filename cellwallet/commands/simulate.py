"""`cellwallet simulate fleet`: how a large fleet would fare for weeks, with the plan that the control plane follows."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import AsJson, err, fail, print_json
from cellwallet.fleet_simulation.loads import Demand
from cellwallet.fleet_simulation.picture import draw
from cellwallet.fleet_simulation.run import LOOK_HOURS, Look, Settings, Simulation
from cellwallet.fleet_simulation.summary import Summary, summary_of
from cellwallet.plots import PlotsMustBeInstalledError

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def simulate() -> None:
    """What would become of a platform, without one."""


@app.command()
def fleet(
    *,
    cells: Annotated[int, typer.Option(min=2, max=1_000, help="Cells at the beginning.")] = 100,
    days: Annotated[int, typer.Option(min=1, max=365)] = 60,
    wallets: Annotated[int, typer.Option(min=1, help="At the beginning.")] = 10_000_000,
    tps: Annotated[float, typer.Option("--tps", min=1, help="Commands per second of the first day.")] = 34_000.0,
    limit: Annotated[float, typer.Option(min=1, help="Certified limit of a cell, per second.")] = 800.0,
    growth: Annotated[float, typer.Option(min=0, max=1, help="Per day; 0.01 = 1 %.")] = 0.01,
    seed: Annotated[int, typer.Option(help="The same seed gives the same days.")] = 1,
    picture: Annotated[Path | None, typer.Option("--out", metavar="PNG", help="Draw the days into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a fleet grow for weeks: units that move, cells that are added, and how even it stays."""
    demand = Demand(wallets=wallets, rate_per_s=tps, growth_per_day=growth)
    simulation = Simulation(Settings(cells=cells, days=days, limit_per_s=limit, seed=seed, demand=demand))
    began_s = time.monotonic()
    looks: list[Look] = []
    with Progress(console=err(), disable=not err().is_terminal, transient=True) as progress:
        task = progress.add_task(f"{days} days of {cells} cells, seed {seed}", total=days * 24 // LOOK_HOURS)
        for look in simulation.looks():
            looks.append(look)
            progress.update(task, advance=1)
    found = summary_of(looks)
    if as_json:
        print_json({"seed": seed, **asdict(found)})
    else:
        print_table(_table(found, seed=seed, took_s=time.monotonic() - began_s))
    if picture is not None:
        try:
            draw(looks, picture)
        except (PlotsMustBeInstalledError, OSError) as error:
            fail(str(error))
        err().print(f"written: {picture}", highlight=False)


def _table(found: Summary, *, seed: int, took_s: float) -> Table:
    table = Table("what", title=f"{found.looks * LOOK_HOURS // 24} days, seed {seed}, in {took_s:.0f} s")
    table.add_column("how much", justify="right")
    balance = "never" if found.looks_to_balance is None else f"{found.looks_to_balance} looks"
    for what, much in (
        ("cells, first and last day", f"{found.cells_first} -> {found.cells_last}"),
        ("until the first plan had nothing left to move", balance),
        ("moves per day", f"{found.moves_per_day:,.1f}"),
        ("units moved per day, and on the busiest", f"{found.units_per_day:,.1f}, {found.units_per_day_max:,}"),
        ("entries copied per day", f"{found.entries_per_day:,.0f}"),
        ("looks with a cell above its placement ceiling", f"{found.looks_above_ceiling:,} of {found.looks:,}"),
        ("busiest cell over the mean, at the end", f"{found.busiest_last:.2f}"),
        ("stretches of the map, at most", f"{found.stretches_max:,} (about {found.map_bytes_max / 1024:,.0f} KiB)"),
    ):
        table.add_row(what, much)
    return table
