"""`cellwallet status`: the processes of a running platform, how its cells are by their own account, what each may take
besides, and whether what they acknowledge is in two places.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, fail, out, print_json
from cellwallet.commands.terminal import DataFolder as DataOption
from cellwallet.local.control import PlatformMustRunError, request
from cellwallet.local.folder import DataFolder
from cellwallet.local.health import CellHealth, cell_health, cell_limit
from cellwallet.local.stack import StackMustExistError, read_stack

app = typer.Typer(add_completion=False)


@app.command()
def status(*, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Show the processes of the platform and the health of its cells. Exit code 1 when it is not ready."""
    folder = DataFolder(data)
    try:
        answer = request(folder.control_socket, "status")
    except PlatformMustRunError as error:
        if as_json:
            print_json({"state": "stopped", "processes": [], "standbys": [], "cells": []})
        fail(str(error))
    cells = _cells_health(folder, answer["processes"])
    if as_json:
        print_json(answer | {"cells": [cell.document() for cell in cells]})
    else:
        _show(answer, cells)
    if answer["state"] != "ready":
        raise typer.Exit(1)


def _cells_health(folder: DataFolder, processes: list[dict[str, Any]]) -> list[CellHealth]:
    try:
        stack = read_stack(folder.path)
    except StackMustExistError:
        return []
    admin_urls = {process["name"]: process["admin_url"] for process in processes}
    with ThreadPoolExecutor(max_workers=8) as threads:
        return list(
            threads.map(
                lambda cell: cell_health(
                    cell,
                    admin_urls=[url for name, url in admin_urls.items() if url and name.startswith(f"{cell.id}-api")],
                    limit=cell_limit(stack.control_plane_url, cell.id, token=stack.tokens.operator),
                ),
                stack.cells,
            )
        )


def _show(answer: dict[str, Any], cells: list[CellHealth]) -> None:
    out().print(f"platform {answer['state']}", highlight=False)
    print_table(_processes_table(answer["processes"]))
    if cells:
        print_table(_cells_table(cells))
    if answer.get("standbys"):
        print_table(_standbys_table(answer["standbys"]))


def _processes_table(processes: list[dict[str, Any]]) -> Table:
    table = Table("process", "pid", "state", "uptime", "restarts", "url")
    for process in processes:
        up_s = time.time() - process["started_at_s"] if process["pid"] else None
        table.add_row(
            process["name"],
            str(process["pid"] or ""),
            process["state"],
            "" if up_s is None else _duration(up_s),
            str(process["restarts"]),
            process["url"] or "",
        )
    return table


def _cells_table(cells: list[CellHealth]) -> Table:
    table = Table("cell", "home zone", "API ready", "accepted", "refused", "queued", "configuration")
    for name in ("limit/s", "now/s", "headroom/s"):
        table.add_column(name, justify="right")
    for cell in cells:
        table.add_row(
            cell.id,
            cell.home_zone,
            f"{cell.ready} of {cell.processes}",
            f"{cell.accepted:,}",
            f"{cell.refused:,}",
            f"{cell.queued:,}",
            f"version {cell.configuration_version}",
            _limit(cell),
            "?" if cell.taken_per_s is None else f"{cell.taken_per_s:,.0f}",
            _headroom(cell),
        )
    return table


def _standbys_table(standbys: list[dict[str, Any]]) -> Table:
    table = Table("cell", "primary", "phase", "protected", "lag", "promotions", "waits for")
    for one in standbys:
        is_protected = one["is_protected"]
        table.add_row(
            one["cell"],
            f"{one['primary']}, zone {one.get('primary_zone', '?')}",
            one["phase"],
            "yes" if is_protected else "[bold red]NO[/]",
            f"{one['lag_bytes']:,} bytes, {one['lag_s'] * 1_000:,.0f} ms" if one["is_streaming"] else "",
            str(one["promotions"]),
            "" if is_protected else escape(one["trouble"] or one["why"]),
        )
    return table


def _limit(cell: CellHealth) -> str:
    if cell.limit is None:
        return "?"
    if cell.limit.per_s is None:
        return "none"
    return f"{cell.limit.per_s:,.0f} {'certified' if cell.limit.is_certified else 'by hand'}"


def _headroom(cell: CellHealth) -> str:
    """Without a limit there is none to tell."""
    if cell.headroom_per_s is None or cell.limit is None or not cell.limit.per_s:
        return ""
    return f"{cell.headroom_per_s:,.0f} ({cell.headroom_per_s / cell.limit.per_s:.0%})"


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}"
