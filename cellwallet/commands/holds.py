"""`cellwallet wallets holds`: what is set aside in a wallet, by whom and until when."""

from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.table import Table

from cellwallet.client import Client, Hold, Wallet, accepted
from cellwallet.client.holds import HoldState
from cellwallet.commands.connection import TokenOption, UrlOption, failures_told
from cellwallet.commands.named_wallets import client_of
from cellwallet.commands.tables import instant_text, money_text, print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, out, print_json

PAGE = 500

_HOLDS = TypeAdapter(list[Hold])

StateOption = Annotated[HoldState | None, typer.Option(help="Only those in this state.")]


def holds(
    wallet_id: Annotated[str, typer.Argument(metavar="WALLET_ID")],
    *,
    state: StateOption = None,
    limit: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 20,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List the holds of a wallet: your own, or with wallet:manage every vendor's."""
    with failures_told(), client_of(url, token, data) as client:
        wallet = accepted(client.wallet(wallet_id))
        listed = _listed(client, wallet_id, state=state, limit=limit)
    if as_json:
        print_json({"holds": _HOLDS.dump_python(listed, mode="json")})
    elif listed:
        print_table(_table(wallet, listed))
    else:
        out().print("no holds")


def _listed(client: Client, wallet_id: str, *, state: HoldState | None, limit: int) -> list[Hold]:
    listed: list[Hold] = []
    cursor: str | None = None
    while len(listed) < limit:
        page = accepted(client.holds_page(wallet_id, state=state, limit=min(PAGE, limit - len(listed)), cursor=cursor))
        listed += page.holds
        cursor = page.next_cursor
        if cursor is None:
            break
    return listed


def _table(wallet: Wallet, listed: list[Hold]) -> Table:
    table = Table("state", "placed", "expires", "vendor")
    for column in ("amount", "captured", "remaining"):
        table.add_column(column, justify="right")
    table.add_column("hold", no_wrap=True)
    for hold in listed:
        table.add_row(
            hold.state,
            instant_text(hold.placed_at),
            "" if hold.expires_at is None else instant_text(hold.expires_at),
            hold.vendor_id,
            *(money_text(amount, wallet.currency) for amount in (hold.amount, hold.captured, hold.remaining)),
            hold.hold_id,
        )
    return table
