"""`cellwallet evacuations list|show|end|fail-back`: what became of orders to leave a zone, and the way home."""

import uuid
from typing import Annotated, Any

import typer
from rich.table import Table

from cellwallet.commands.operators import Operator, Reached, watch
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, out, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Orders to leave a zone.")

PAGE_MAX = 500
SETTLED = frozenset({"in_force", "ended"})

EvacuationArgument = Annotated[str, typer.Argument(metavar="EVACUATION_ID")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only order it.")]


@app.command("list")
def list_evacuations(
    *,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX)] = 50,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List evacuations, the newest first."""
    found = Operator(data).get(f"/v1/evacuations?limit={limit}")["evacuations"]
    if as_json:
        print_json({"evacuations": found})
    elif found:
        print_table(_table(found))
    else:
        out().print("no evacuations")


@app.command()
def show(evacuation_id: EvacuationArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """One evacuation, and what became of each primary."""
    _tell(Operator(data).get(f"/v1/evacuations/{_id(evacuation_id)}"), as_json=as_json)


@app.command()
def end(
    evacuation_id: EvacuationArgument,
    *,
    no_wait: NoWait = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Send traffic to the zone again. Primaries stay where they are: see fail-back."""
    operator = Operator(data)
    follow(
        operator,
        operator.post(f"/v1/evacuations/{_id(evacuation_id)}/end"),
        no_wait=no_wait,
        as_json=as_json,
        until=frozenset({"ended"}),
    )


@app.command("fail-back")
def fail_back(
    zone: Annotated[str, typer.Argument(metavar="ZONE")],
    *,
    no_wait: NoWait = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Bring the primaries home to a zone whose evacuation has ended."""
    operator = Operator(data)
    wanted = {"zone": zone, "kind": "fail_back", "evacuation_id": str(uuid.uuid4())}
    follow(operator, operator.post("/v1/evacuations", wanted), no_wait=no_wait, as_json=as_json)


def follow(
    operator: Operator,
    evacuation: dict[str, Any],
    *,
    no_wait: bool,
    as_json: bool,
    until: frozenset[str] = SETTLED,
) -> None:
    """Until it is in force, or has ended; exit code 1 if it ended before the zone was left."""
    path = f"/v1/evacuations/{evacuation['evacuation_id']}"
    if not no_wait:
        watch(f"zone {evacuation['zone']}", lambda: _reached(operator.try_to_get(path), until))
        evacuation = operator.get(path)
    _tell(evacuation, as_json=as_json)
    is_over = evacuation["kind"] == "evacuation" and evacuation["state"] == "ended"
    if not no_wait and is_over and "in_force" in until:
        raise typer.Exit(1)


def _reached(evacuation: dict[str, Any] | None, until: frozenset[str]) -> Reached | None:
    if evacuation is None:
        return None
    primaries = evacuation["primaries"]
    settled = sum(one["state"] not in {"waiting", "switching"} for one in primaries)
    is_over = evacuation["state"] in until
    note = evacuation["detail"] or evacuation["state"].replace("_", " ")
    return Reached(done=settled + is_over, total=len(primaries) + 1, is_over=is_over, note=note)


def _tell(evacuation: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(evacuation)
        return
    print_table(_table([evacuation]))
    if evacuation["primaries"]:
        table = Table("primary of", "switch-over", "because")
        for one in evacuation["primaries"]:
            table.add_row(one["cell"], one["state"].replace("_", " "), one["detail"])
        print_table(table)
    if evacuation["cordon"]:
        out().print(f"cordon: {evacuation['cordon']}", highlight=False, markup=False)


def _table(evacuations: list[dict[str, Any]]) -> Table:
    table = Table("evacuation", "zone", "kind", "state", "until", "waits for")
    for one in evacuations:
        state = f"{one['state']}, to end" if one["is_end_ordered"] and one["ended_at"] is None else one["state"]
        until = one["ended_at"] or one["expires_at"]
        table.add_row(
            one["evacuation_id"], one["zone"], one["kind"], state.replace("_", " "), until, one["detail"] or ""
        )
    return table


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise typer.BadParameter(f"{text} is no id of an evacuation") from None
