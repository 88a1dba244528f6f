"""`cellwallet evacuate ZONE --for 2h`: no traffic and no primaries in a zone, until a time that is named."""

import re
import uuid
from typing import Annotated

import typer

from cellwallet.commands.evacuations import follow
from cellwallet.commands.operators import Operator
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder

app = typer.Typer(add_completion=False)

_LASTS = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str) -> int:
    """`90s`, `30m`, `2h`, `1d`."""
    found = _LASTS.fullmatch(text)
    if found is None or int(found.group(1)) == 0:
        raise typer.BadParameter("a time is a number with s, m, h or d, as in 2h")
    return int(found.group(1)) * _UNITS[found.group(2)]


@app.command()
def evacuate(
    *,
    zone: Annotated[str, typer.Argument(metavar="ZONE", help="As `cellwallet cells list` names it.")],
    lasts: Annotated[str, typer.Option("--for", metavar="2h", help="Then it ends by itself; at most 7 days.")] = "2h",
    evacuation_id: Annotated[
        str | None, typer.Option(help="The same id again is the same order.", show_default="new")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only order it.")] = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Take traffic out of a zone, switch its primaries over, and place nothing new there."""
    operator = Operator(data)
    wanted = {"zone": zone, "lasts_s": seconds_of(lasts), "evacuation_id": evacuation_id or str(uuid.uuid4())}
    follow(operator, operator.post("/v1/evacuations", wanted), no_wait=no_wait, as_json=as_json)
