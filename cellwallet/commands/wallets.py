"""`cellwallet wallets open|show|entries|verify`: wallets as a vendor sees them, through the router."""

import json
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from cellwallet.client import Client, Entry, Wallet, accepted
from cellwallet.client.history import Broken, Verified, verify_history
from cellwallet.commands.connection import TokenOption, UrlOption, connection_to, failures_told
from cellwallet.commands.tables import instant_text, money_text, print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, fail, out, print_json
from contract.money import amount_text

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Open, show and verify wallets.")

_WALLETS = TypeAdapter(list[Wallet])
_ENTRIES = TypeAdapter(list[Entry])
_VERDICTS = TypeAdapter(list[Verified | Broken])


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _owner(text: str) -> tuple[str, str]:
    owner_type, colon, owner_ref = text.partition(":")
    if not colon or not owner_type or not owner_ref:
        raise typer.BadParameter("an owner is TYPE:REF, for example customer:c-17")
    return owner_type, owner_ref


WalletArgument = Annotated[str | None, typer.Argument(metavar="WALLET_ID", show_default=False)]
FromOption = Annotated[
    datetime | None,
    typer.Option("--from", parser=_instant, metavar="TIME", help="Inclusive; RFC 3339 or a date (UTC)."),
]
ToOption = Annotated[
    datetime | None, typer.Option("--to", parser=_instant, metavar="TIME", help="Exclusive; RFC 3339 or a date (UTC).")
]


@app.command("open")
def open_wallet(
    *,
    owner_type: Annotated[str, typer.Option(help="For example customer.")],
    owner_ref: Annotated[str, typer.Option(help="The owner's own name or number.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")],
    kind: Annotated[str, typer.Option(help="One wallet per owner, kind and currency.")] = "main",
    overdraft_limit: Annotated[int, typer.Option(min=0, help="Minor units; needs the scope wallet:manage.")] = 0,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Open a wallet, or find it if it is open already."""
    with failures_told(), _client(url, token, data) as client:
        wallet = accepted(
            client.open_wallet(
                owner_type=owner_type,
                owner_ref=owner_ref,
                currency=currency,
                kind=kind,
                overdraft_limit=overdraft_limit,
            )
        )
    if as_json:
        print_json(_WALLETS.dump_python([wallet], mode="json")[0])
        return
    out().print(f"{'found' if wallet.replayed else 'opened'} wallet [bold]{wallet.wallet_id}[/]", highlight=False)
    _print_wallets([wallet])


@app.command()
def show(
    wallet_id: WalletArgument = None,
    *,
    owner: Annotated[str | None, typer.Option(metavar="TYPE:REF", help="All wallets of this owner.")] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show a wallet, or all wallets of an owner."""
    with failures_told(), _client(url, token, data) as client:
        wallets = _named(client, wallet_id, owner)
    if as_json:
        documents = _WALLETS.dump_python(wallets, mode="json")
        print_json({"wallets": documents} if wallet_id is None else documents[0])
    else:
        _print_wallets(wallets)


@app.command()
def entries(
    wallet_id: Annotated[str, typer.Argument(metavar="WALLET_ID")],
    *,
    limit: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 20,
    kind: Annotated[str | None, typer.Option(help="For example debit or refused.")] = None,
    from_: FromOption = None,
    to: ToOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List a wallet's log, newest first."""
    with failures_told(), _client(url, token, data) as client:
        log = client.entries(wallet_id, kind=kind, from_=from_, to=to, page_entries=min(limit, 500))
        listed = list(islice(log, limit))
    if as_json:
        print_json({"entries": _ENTRIES.dump_python(listed, mode="json")})
    else:
        print_table(_entry_table(listed))


@app.command()
def verify(
    wallet_id: WalletArgument = None,
    *,
    owner: Annotated[
        str | None, typer.Option("--all-of-owner", metavar="TYPE:REF", help="Every wallet of this owner.")
    ] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Recompute a wallet's whole history, hash chain included, without trusting the cell."""
    with failures_told(), _client(url, token, data) as client:
        verdicts = [
            verify_history(wallet, client.entries(wallet.wallet_id, order="asc"))
            for wallet in _named(client, wallet_id, owner)
        ]
    is_whole = all(isinstance(verdict, Verified) for verdict in verdicts)
    if as_json:
        print_json({"verified": is_whole, "wallets": _VERDICTS.dump_python(verdicts, mode="json")})
    else:
        _print_verdicts(verdicts)
    if not is_whole:
        raise typer.Exit(1)


def _client(url: str | None, token: str | None, data: Any) -> Client:
    connection = connection_to(url=url, token=token, data=data)
    return Client(connection.url, connection.token)


def _named(client: Client, wallet_id: str | None, owner: str | None) -> list[Wallet]:
    """The wallets that the command line names, by id or by owner."""
    if (wallet_id is None) == (owner is None):
        raise typer.BadParameter("name either a wallet id or an owner")
    if wallet_id is not None:
        return [accepted(client.wallet(wallet_id))]
    owner_type, owner_ref = _owner(str(owner))
    wallets = list(accepted(client.wallets_of(owner_type=owner_type, owner_ref=owner_ref)).wallets)
    if not wallets:
        fail(f"owner {owner} has no wallet")
    return wallets


def _print_wallets(wallets: list[Wallet]) -> None:
    if len(wallets) == 1:
        print_table(_wallet_sheet(wallets[0]))
        return
    table = Table("kind", "status", "seq", "updated")
    for column in ("balance", "available"):
        table.add_column(column, justify="right")
    table.add_column("wallet", no_wrap=True)
    for wallet in wallets:
        table.add_row(
            wallet.kind,
            wallet.status,
            str(wallet.seq),
            instant_text(wallet.updated_at),
            money_text(wallet.balance, wallet.currency),
            money_text(wallet.available, wallet.currency),
            wallet.wallet_id,
        )
    print_table(table)


def _wallet_sheet(wallet: Wallet) -> Table:
    table = Table(show_header=False)
    table.add_row("wallet", wallet.wallet_id)
    table.add_row("owner", escape(f"{wallet.owner.type}:{wallet.owner.ref}"))
    table.add_row("kind", wallet.kind)
    table.add_row("status", wallet.status)
    for name, amount in (
        ("balance", wallet.balance),
        ("held", wallet.held),
        ("available", wallet.available),
        ("overdraft limit", wallet.overdraft_limit),
    ):
        table.add_row(name, money_text(amount, wallet.currency))
    table.add_row("seq", str(wallet.seq))
    table.add_row("opened", instant_text(wallet.opened_at))
    table.add_row("updated", instant_text(wallet.updated_at))
    table.add_row("metadata", escape(json.dumps(wallet.metadata, ensure_ascii=False)))
    if wallet.cell is not None:
        table.add_row("cell", wallet.cell)
    return table


def _entry_table(listed: list[Entry]) -> Table:
    table = Table("seq", "posted", "kind")
    for column in ("change", "balance", "held"):
        table.add_column(column, justify="right")
    table.add_column("vendor")
    table.add_column("about")
    table.add_column("transaction", no_wrap=True)
    for entry in listed:
        table.add_row(
            str(entry.seq),
            instant_text(entry.posted_at),
            entry.kind,
            amount_text(entry.delta, entry.currency),
            money_text(entry.balance_after, entry.currency),
            amount_text(entry.held_after, entry.currency),
            entry.vendor_id,
            escape(_about(entry)),
            entry.transaction_id,
        )
    return table


def _about(entry: Entry) -> str:
    if entry.reason is None:
        return entry.description or ""
    amount = "" if entry.requested_amount is None else f" of {amount_text(entry.requested_amount, entry.currency)}"
    return f"{entry.requested_kind}{amount}: {entry.reason}"


def _print_verdicts(verdicts: list[Verified | Broken]) -> None:
    table = Table("wallet", "entries", "balance", "verdict")
    for verdict in verdicts:
        match verdict:
            case Verified():
                balance = money_text(verdict.balance, verdict.currency)
                table.add_row(verdict.wallet_id, str(verdict.entries), balance, "[green]whole[/]")
            case Broken():
                table.add_row(verdict.wallet_id, "", "", f"[bold red]broken at entry {verdict.seq}[/]")
    print_table(table)
    for verdict in verdicts:
        if isinstance(verdict, Broken):
            told = f"entry {verdict.seq}: {verdict.field} must be {verdict.expected}, found {verdict.found}"
            out().print(f"wallet {verdict.wallet_id}, {told}", markup=False, highlight=False)
