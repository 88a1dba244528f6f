"""`cellwallet cells`: what each cell has; cells that come, are filled, drained and retired."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from cellwallet.commands.installing import install
from cellwallet.commands.operators import URL, Operator, Reached, is_elsewhere, watch
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, err, fail, out, print_json
from cellwallet.commands.terminal import DataFolder as DataOption
from cellwallet.local.control import PlatformMustRunError, request
from cellwallet.local.folder import DataFolder

app = typer.Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Id of the cell, such as cell-2.", metavar="CELL")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the units; what was ordered goes on.")]
MOVES_ASKED, MOVES_TOLD = 50, 2
"""Of the open moves: a line has room for so many."""
ADJUDICATION_TIMEOUT_S = 60.0
RESENDING_TIMEOUT_S = 200.0
RESENDING_PATIENCE_S, RESENDING_PAUSE_S = 30.0, 1.0
"""For transfers of a page that get no answer: a cell that was opened a moment ago is still finding its database."""
OPENING_TIMEOUT_S = 1_900.0
"""The cell audits itself in full."""
UNITS_SHOWN_MAX = 50
MOVE_REASONS = ("must_have_room", "must_rest", "must_answer", "must_be_reachable", "must_be_orderable", "be_active")
"""Ends of reasons that an operator who waits wants to see."""


app.command()(install)


@app.callback()
def cells() -> None:
    """Cells of the platform."""


@app.command(name="list")
def show(*, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Every cell: its state, its units, and its share of all of them."""
    operator = Operator(data)
    found = operator.get("/v1/cells")["cells"]
    closed = {one["cell"]: one for one in operator.get("/v1/quarantines")["cells"] if one["is_quarantined"]}
    total = sum(cell["units"] for cell in found) or 1
    if as_json:
        told = [{**cell, "share": cell["units"] / total, "is_quarantined": cell["id"] in closed} for cell in found]
        print_json({"cells": told})
        return
    table = Table("cell", "state", "zone")
    for column in ("units", "share", "certified/s", "processes"):
        table.add_column(column, justify="right")
    for cell in found:
        capacity = cell["capacity_per_s"]
        table.add_row(
            cell["id"],
            _state(cell, closed.get(cell["id"])),
            cell["home_zone"],
            f"{cell['units']:,}",
            f"{cell['units'] / total:.1%}",
            f"{capacity:,.0f}" if capacity else "-",
            "-" if cell["state"] == "retired" else str(len(cell["api"])),
        )
    print_table(table)


@app.command()
def add(
    *,
    empty: Annotated[bool, typer.Option("--empty", help="Leave it ready and empty, as a spare.")] = False,
    no_wait: NoWait = False,
    data: DataOption = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Start another cell on this machine, and give it its share of the units."""
    _must_be_here("a cell elsewhere is started there; when it has joined: cellwallet cells activate")
    try:
        with err().status("starting the database and the processes of another cell"):
            answer = request(DataFolder(data).control_socket, "add_cell")
    except PlatformMustRunError as error:
        fail(str(error))
    if "error" in answer:
        fail(answer["error"])
    name, operator = answer["cell"], Operator(data)
    watch(f"{name} joins", lambda: _joined(operator, name))
    if empty:
        _tell(operator.get(f"/v1/cells/{name}"), as_json=as_json, cell=name)
        return
    _order(operator, name, "activate", no_wait=no_wait, as_json=as_json)


@app.command()
def activate(*, cell: Name, no_wait: NoWait = False, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Give a ready, empty or draining cell its share of the units."""
    _order(Operator(data), cell, "activate", no_wait=no_wait, as_json=as_json)


@app.command()
def drain(*, cell: Name, no_wait: NoWait = False, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Move every unit of a cell away; it is empty at the end, and may then be retired or activated again."""
    _order(Operator(data), cell, "drain", no_wait=no_wait, as_json=as_json)


@app.command()
def retire(
    *,
    cell: Name,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete its database too, for good; asks twice.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """End the life of an empty cell for good, and stop its processes; refused while anything of it remains."""
    operator, folder = Operator(data), DataFolder(data)
    if is_elsewhere():
        _retire_elsewhere(operator, cell, delete_data=delete_data, as_json=as_json)
        return
    if delete_data and not yes:
        _ask_twice(cell, folder)
    retired = operator.post(f"/v1/cells/{cell}/retire")
    answer = _let_go(folder, cell, delete_data=delete_data)
    if as_json:
        print_json({**_facts(retired, cell), "data": answer["data"]})
        return
    out().print(f"{cell} is retired and its processes are stopped", highlight=False)
    fate = f"its data stays in {answer['data']}" if answer["data"] else "its data is deleted"
    out().print(f"{fate}; its id is not used again", highlight=False, markup=False)


@app.command()
def adjudicate(*, cell: Name, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Hold a restored cell against the directory and all other cells: what it gave away becomes theirs. Repeatable."""
    told = Operator(data, timeout_s=ADJUDICATION_TIMEOUT_S).post(f"/v1/cells/{cell}/adjudicate")
    if as_json:
        print_json(told)
        return
    _tell_of_units(told["units"])
    out().print(f"{cell} keeps {told['kept']:,} units", highlight=False)
    verdicts = {one["verdict"] for one in told["units"]}
    if "contradicted" in verdicts:
        out().print("it cannot be opened as long as units contradict one another", highlight=False)
    elif "missing" in verdicts:
        out().print(f"missing units are not in the backup; who gave them may have them: cellwallet cells revive {cell}")
        hint = f"cellwallet cells open {cell} --without-missing"
        out().print(f"to go on without them: {hint}", highlight=False)
    else:
        out().print(f"next: cellwallet cells open {cell}", highlight=False)


@app.command()
def revive(*, cell: Name, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Units that came to a restored cell after its backup: the cells that gave them serve them again. Repeatable."""
    told = Operator(data, timeout_s=ADJUDICATION_TIMEOUT_S).post(f"/v1/cells/{cell}/revive")
    if as_json:
        print_json(told)
        return
    if not told["revived"] and not told["left"]:
        out().print(f"{cell} has every unit that the directory says it has", highlight=False)
        return
    _tell_of_units([{**one, "verdict": "revived", "detail": ""} for one in told["revived"]])
    _tell_of_units([{**one, "verdict": "left", "cell": None, "detail": one["why"]} for one in told["left"]])
    out().print(
        f"{len(told['revived']):,} units of {cell} are served by the cells that had given them", highlight=False
    )
    if told["left"]:
        out().print(f"{len(told['left']):,} are served by nobody; the table says why", highlight=False)


@app.command(name="open")
def open_again(
    *,
    cell: Name,
    without_missing: Annotated[
        bool, typer.Option("--without-missing", help="Although units came since that the backup does not have.")
    ] = False,
    data: DataOption = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Let a restored cell serve again: it is adjudicated once more and audited in full first."""
    operator = Operator(data, timeout_s=OPENING_TIMEOUT_S)
    with err().status(f"{cell} is adjudicated and audits itself"):
        opened = operator.post(f"/v1/cells/{cell}/open", {"without_missing": without_missing})
    if as_json:
        print_json(opened)
        return
    checked = ", ".join(f"{count:,} {what}" for what, count in sorted(opened["audited"].items()))
    out().print(f"{cell} is open and has {opened['kept']:,} units; audited: {checked}", highlight=False)


@app.command()
def resend(
    *,
    cell: Name,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Sent then or later (RFC 3339, UTC); else ten minutes before its last entry."),
    ] = None,
    data: DataOption = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """A restored and opened cell has lost transfers that it had taken in: ask for all of them again. Repeatable."""
    operator = Operator(data, timeout_s=RESENDING_TIMEOUT_S)
    senders = [one["id"] for one in operator.get("/v1/cells")["cells"] if one["state"] != "retired"]
    asked = taken = 0
    refused: list[dict[str, Any]] = []
    with err().status("") as status:
        for sender in (one for one in senders if one != cell):
            after: list[str] | None = None
            while True:
                status.update(f"{sender} asks again: {asked:,} transfers asked, {len(refused):,} refused")
                page = _resent(operator, cell, {"from_cell": sender, "since": since, "after": after})
                if page["unknown"]:
                    fail(f"{page['unknown']} transfers of {sender} got no answer; the same command again goes on")
                asked, taken, after = asked + page["asked"], taken + page["taken"], page["after"]
                refused += page["refused"]
                if after is None:
                    break
    if as_json:
        print_json({"asked": asked, "taken": taken, "refused": refused})
    else:
        _tell_of_resent(asked, taken, refused)
    if refused:
        raise typer.Exit(1)


def _resent(operator: Operator, cell: str, page: dict[str, Any]) -> dict[str, Any]:
    """The page, asked again while transfers of it get no answer and patience lasts; asking again is harmless."""
    ends_s = time.monotonic() + RESENDING_PATIENCE_S
    while True:
        told: dict[str, Any] = operator.post(f"/v1/cells/{cell}/resend", page)
        if not told["unknown"] or time.monotonic() > ends_s:
            return told
        time.sleep(RESENDING_PAUSE_S)


@app.command(name="switch-over")
def switch_over(*, cell: Name, data: DataOption = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Let the standby of a cell's database become the primary, and the primary its standby; nothing is lost."""
    _must_be_here("databases elsewhere are switched over there, by what runs them")
    try:
        with err().status(f"the databases of {cell} change their roles"):
            answer = request(DataFolder(data).control_socket, "switch_over", cell=cell)
    except PlatformMustRunError as error:
        fail(str(error))
    if "error" in answer:
        fail(answer["error"])
    if as_json:
        print_json(answer)
        return
    paused_ms = answer["pause_s"] * 1_000
    out().print(f"{cell}: the {answer['primary']} database is the primary; writes waited {paused_ms:,.0f} ms")


def _tell_of_resent(asked: int, taken: int, refused: Sequence[Mapping[str, Any]]) -> None:
    out().print(f"{asked:,} transfers asked again, {taken:,} are where they belong", highlight=False)
    if not refused:
        return
    table = Table("from", "transaction", "to", "amount", "reason")
    for one in refused[:UNITS_SHOWN_MAX]:
        amount = f"{one['amount']:,} {one['currency']}"
        table.add_row(one["wallet_id"], one["transaction_id"], one["to_wallet_id"], amount, one["reason"])
    print_table(table)
    out().print(f"{len(refused):,} are refused now and in no wallet: a person must decide", highlight=False)


def _state(cell: Mapping[str, Any], closed: Mapping[str, Any] | None) -> str:
    if closed is None:
        return f"{cell['state']}, being filled" if cell["is_filling"] else str(cell["state"])
    following = "open" if closed["is_adjudicated"] and not closed["contradicted"] else "adjudicate"
    return f"{cell['state']}, in quarantine ({closed['cause']}): cellwallet cells {following} {cell['id']}"


def _tell_of_units(units: Sequence[Mapping[str, Any]]) -> None:
    if not units:
        return
    table = Table("unit", "verdict", "cell", "epoch", "detail")
    for one in units[:UNITS_SHOWN_MAX]:
        table.add_row(str(one["unit"]), one["verdict"], one["cell"] or "-", str(one["epoch"] or "-"), one["detail"])
    print_table(table)
    if len(units) > UNITS_SHOWN_MAX:
        out().print(f"and {len(units) - UNITS_SHOWN_MAX:,} more; --json tells all", highlight=False)


def _ask_twice(cell: str, folder: DataFolder) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("where nobody can be asked, --delete-data needs --yes")
    typer.confirm(f"Retire {cell} and delete its database in {folder.postgres(cell)}?", abort=True, err=True)
    if typer.prompt(f"There is no way back. Type {cell} to delete it", err=True) != cell:
        fail(f"{cell} is left as it is")


def _must_be_here(otherwise: str) -> None:
    """For what is asked of the processes of this machine and of no control plane."""
    if is_elsewhere():
        fail(f"{otherwise} ({URL} is set)")


def _retire_elsewhere(operator: Operator, cell: str, *, delete_data: bool, as_json: bool) -> None:
    """Its processes and its database are stopped by whoever started them."""
    if delete_data:
        raise typer.BadParameter("--delete-data is for cells of this machine")
    retired = operator.post(f"/v1/cells/{cell}/retire")
    if as_json:
        print_json({**_facts(retired, cell), "data": None})
        return
    out().print(f"{cell} is retired; stopping its processes is up to whoever started them", highlight=False)


def _let_go(folder: DataFolder, cell: str, *, delete_data: bool) -> dict[str, Any]:
    try:
        with err().status(f"stopping the processes of {cell}"):
            answer = request(folder.control_socket, "let_retired_cell_go", cell=cell, delete_data=delete_data)
    except PlatformMustRunError as error:
        fail(f"{cell} is retired, but its processes are somebody else's: {error}")
    if "error" in answer:
        fail(f"{cell} is retired, but {answer['error']}")
    return answer


def _order(operator: Operator, cell: str, verb: str, *, no_wait: bool, as_json: bool) -> None:
    ordered = operator.post(f"/v1/cells/{cell}/{verb}")
    if not no_wait and verb == "activate":
        target = _target(operator, cell)
        watch(f"{cell} is being filled", lambda: _filled(operator, cell, target))
    if not no_wait and verb == "drain":
        most = ordered["units"]
        watch(f"{cell} is being drained", lambda: _drained(operator, cell, most))
    _tell(operator.get(f"/v1/cells/{cell}"), as_json=as_json, cell=cell)


def _tell(shown: Mapping[str, Any], *, as_json: bool, cell: str) -> None:
    if as_json:
        print_json(_facts(shown, cell))
    else:
        out().print(f"{cell} is {shown['state']} and has {shown['units']:,} units", highlight=False)


def _facts(shown: Mapping[str, Any], cell: str) -> dict[str, Any]:
    return {"cell": cell, "state": shown["state"], "units": shown["units"], "is_filling": shown["is_filling"]}


def _target(operator: Operator, cell: str) -> int:
    """How many units it will have."""
    plan = operator.post("/v1/rebalances", {"dry_run": True})
    return next((share["units"] for share in plan["after"] if share["cell"] == cell), 0)


def _joined(operator: Operator, cell: str) -> Reached | None:
    shown = operator.try_to_get("/v1/cells")
    if shown is None:
        return None
    state = next((one["state"] for one in shown["cells"] if one["id"] == cell), "unknown")
    is_over = state not in {"unknown", "registered"}
    return Reached(done=int(is_over), total=1, is_over=is_over, note=state)


def _filled(operator: Operator, cell: str, target: int) -> Reached | None:
    shown = operator.try_to_get(f"/v1/cells/{cell}")
    if shown is None:
        return None
    is_over = not shown["is_filling"] or shown["state"] != "active"
    return Reached(done=shown["units"], total=max(target, shown["units"]), is_over=is_over, note=_note(operator))


def _drained(operator: Operator, cell: str, most: int) -> Reached | None:
    shown = operator.try_to_get(f"/v1/cells/{cell}")
    if shown is None:
        return None
    is_over = shown["state"] != "draining"
    return Reached(done=most - shown["units"], total=most, is_over=is_over, note=_note(operator))


def _note(operator: Operator) -> str:
    """What keeps the rest from moving, if it is more than waiting for its turn; else what is on its way."""
    plan = operator.try_to_get("/v1/plan") or {"waiting": []}
    found = [one for one in plan["waiting"] if one["reason"].endswith(MOVE_REASONS)]
    if found:
        return f"{found[0]['subject']}: {found[0]['detail']}"
    moves = (operator.try_to_get(f"/v1/moves?open=true&limit={MOVES_ASKED}") or {"moves": []})["moves"]
    return "; ".join(_on_its_way(move) for move in moves[:MOVES_TOLD])


def _on_its_way(move: Mapping[str, Any]) -> str:
    why = f", {move['reason'].replace('_', ' ')}" if move["reason"] else ""
    rest = move["units"] - move["units_moved"]
    return f"{rest:,} from {move['from_cell']} to {move['to_cell']}: {move['state']}{why}"
