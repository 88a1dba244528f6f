"""`cellwallet wallets isolate|rejoin`: a unit of its own for a hot wallet, and the way back into its slot."""

from typing import Annotated, Any

import typer
from rich.table import Table

from cellwallet.commands.operators import Operator
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, print_json
from contract.ids import is_canonical_uuid

WalletId = Annotated[str, typer.Argument(metavar="WALLET_ID")]


def isolate(wallet_id: WalletId, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Give a hot wallet a unit of its own, so that it can be moved alone; it stays where it is, without a pause."""
    _order(wallet_id, "isolate", data, as_json=as_json)


def rejoin(wallet_id: WalletId, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Put an isolated wallet back into its slot, if that is in the same cell."""
    _order(wallet_id, "rejoin", data, as_json=as_json)


def _order(wallet_id: str, verb: str, data: DataFolder, *, as_json: bool) -> None:
    if not is_canonical_uuid(wallet_id):
        raise typer.BadParameter("a wallet id is a UUID in lower case")
    placed: dict[str, Any] = Operator(data).post(f"/v1/wallets/{wallet_id}/{verb}")
    if as_json:
        print_json(placed)
        return
    table = Table("wallet", "state", "unit", "cell", "epoch")
    table.add_row(wallet_id, placed["state"], str(placed["unit"]), placed["cell"], str(placed["epoch"]))
    print_table(table)
