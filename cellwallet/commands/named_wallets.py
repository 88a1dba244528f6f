"""The wallets that a command line names, by id or by owner, and the client that asks for them."""

from pathlib import Path
from typing import Annotated

import typer

from cellwallet.client import Client, Wallet, accepted
from cellwallet.commands.connection import connection_to
from cellwallet.commands.terminal import fail

WalletArgument = Annotated[str | None, typer.Argument(metavar="WALLET_ID", show_default=False)]


def client_of(url: str | None, token: str | None, data: Path) -> Client:
    connection = connection_to(url=url, token=token, data=data)
    return Client(connection.url, connection.token)


def named(client: Client, wallet_id: str | None, owner: str | None) -> list[Wallet]:
    if (wallet_id is None) == (owner is None):
        raise typer.BadParameter("name either a wallet id or an owner")
    if wallet_id is not None:
        return [accepted(client.wallet(wallet_id))]
    owner_type, owner_ref = _owner(str(owner))
    wallets = list(accepted(client.wallets_of(owner_type=owner_type, owner_ref=owner_ref)).wallets)
    if not wallets:
        fail(f"owner {owner} has no wallet")
    return wallets


def _owner(text: str) -> tuple[str, str]:
    owner_type, colon, owner_ref = text.partition(":")
    if not colon or not owner_type or not owner_ref:
        raise typer.BadParameter("an owner is TYPE:REF, for example customer:c-17")
    return owner_type, owner_ref
