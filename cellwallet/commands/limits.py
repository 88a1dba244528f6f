"""`cellwallet limits show|set`: the largest amounts and daily sums, asked of the control plane as an operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, fail, out, print_json
from cellwallet.local.stack import StackMustExistError, read_stack

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What may be taken at most.")

TIMEOUT_S = 10.0
PAGE = 500
NONE = "none"

VendorOption = Annotated[str | None, typer.Option("--vendor", help="Of this vendor.")]
WalletOption = Annotated[str | None, typer.Option("--wallet", metavar="WALLET_ID", help="Of this wallet.")]


def _limit(text: str) -> int | None:
    if text == NONE:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"a limit is a positive number of minor units, or {NONE}")
    return int(text)


@app.command()
def show(
    *,
    vendor: VendorOption = None,
    wallet: WalletOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List the limits in force: of vendors, of wallets, and of vendors on wallets."""
    with _control_plane(data) as client:
        limits = list(_listed(client, {"vendor": vendor, "wallet_id": wallet}))
    if as_json:
        print_json({"limits": limits})
    elif limits:
        print_table(_table(limits))
    else:
        out().print("no limits")


@app.command("set")
def set_limit(
    *,
    vendor: VendorOption = None,
    wallet: WalletOption = None,
    amount: Annotated[
        str | None, typer.Option(metavar="N|none", help="Largest single amount, in minor units; none lifts it.")
    ] = None,
    day: Annotated[
        str | None, typer.Option(metavar="N|none", help="Largest sum of a UTC day; needs --wallet; none lifts it.")
    ] = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Replace the limits of a vendor, of a wallet, or of a vendor on a wallet; what is not given is lifted."""
    if vendor is None and wallet is None:
        raise typer.BadParameter("name a vendor, a wallet, or both")
    if amount is None and day is None:
        raise typer.BadParameter("give --amount or --day, or both")
    body = {
        "subject": {"vendor": vendor, "wallet_id": wallet},
        "amount_max": _limit(amount or NONE),
        "day_max": _limit(day or NONE),
    }
    with _control_plane(data) as client:
        limit = _answer(client.put("/v1/limits", json=body))
    if as_json:
        print_json(limit)
    else:
        print_table(_table([limit]))


@contextmanager
def _control_plane(data: Path) -> Iterator[httpx.Client]:
    """Ends the program with a message when there is no platform, or its control plane does not answer."""
    try:
        stack = read_stack(data)
    except StackMustExistError as error:
        fail(str(error))
    headers = {"Authorization": f"Bearer {stack.tokens.operator}"}
    try:
        with httpx.Client(
            base_url=stack.control_plane_url, headers=headers, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            yield client
    except httpx.TransportError as error:
        fail(f"the control plane at {stack.control_plane_url} does not answer ({error})")


def _listed(client: httpx.Client, wanted: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    asked: dict[str, Any] = {name: text for name, text in wanted.items() if text is not None} | {"limit": PAGE}
    while True:
        page = _answer(client.get("/v1/limits", params=asked))
        yield from page["limits"]
        if page["next_cursor"] is None:
            return
        asked["cursor"] = page["next_cursor"]


def _answer(answer: httpx.Response) -> dict[str, Any]:
    try:
        document: dict[str, Any] = answer.json()
    except ValueError:
        fail(f"the control plane answered {answer.status_code}, and no JSON")
    if not answer.is_success:
        fail(f"{document.get('reason')}: {document.get('detail')}")
    return document


def _table(limits: list[dict[str, Any]]) -> Table:
    table = Table("vendor", "wallet")
    for column in ("largest amount", "sum of a day"):
        table.add_column(column, justify="right")
    for limit in limits:
        subject = limit["subject"]
        figures = ("-" if limit[name] is None else f"{limit[name]:,}" for name in ("amount_max", "day_max"))
        table.add_row(subject["vendor"] or "every", subject["wallet_id"] or "every", *figures)
    return table
