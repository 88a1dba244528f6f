"""`cellwallet wallets open|show|entries|statement`: wallets as a vendor sees them, through the router.

Its verb holds stands in holds.py; verify, export and keys in verification.py; isolate and rejoin in isolation.py.
"""

import json
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from cellwallet.client import Entry, Statement, Wallet, accepted
from cellwallet.commands import isolation, verification
from cellwallet.commands.connection import TokenOption, UrlOption, failures_told
from cellwallet.commands.holds import holds
from cellwallet.commands.named_wallets import WalletArgument, client_of, named
from cellwallet.commands.tables import instant_text, money_text, print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, out, print_json, write_file
from contract.money import amount_text

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Open, show and verify wallets.")

_WALLETS = TypeAdapter(list[Wallet])
_ENTRIES = TypeAdapter(list[Entry])
_STATEMENT = TypeAdapter(Statement)


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


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
    with failures_told(), client_of(url, token, data) as client:
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
    with failures_told(), client_of(url, token, data) as client:
        wallets = named(client, wallet_id, owner)
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
    with failures_told(), client_of(url, token, data) as client:
        log = client.entries(wallet_id, kind=kind, from_=from_, to=to, page_entries=min(limit, 500))
        listed = list(islice(log, limit))
    if as_json:
        print_json({"entries": _ENTRIES.dump_python(listed, mode="json")})
    else:
        print_table(_entry_table(listed))


@app.command()
def statement(
    wallet_id: Annotated[str, typer.Argument(metavar="WALLET_ID")],
    *,
    from_: FromOption = None,
    to: ToOption = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", dir_okay=False, help="Write it there as CSV.")
    ] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show a wallet's opening balance, what changed it, and its closing balance."""
    with failures_told(), client_of(url, token, data) as client:
        if csv is not None:
            write_file(csv, accepted(client.statement_csv(wallet_id, from_=from_, to=to)))
            if as_json:
                print_json({"file": str(csv)})
            else:
                out().print(f"the statement is in {csv}", highlight=False)
            return
        told = accepted(client.statement(wallet_id, from_=from_, to=to))
    if as_json:
        print_json(_STATEMENT.dump_python(told, mode="json", by_alias=True))
        return
    print_table(_entry_table(list(told.lines)))
    for name, at, balance in (
        ("opening", told.from_, told.opening_balance),
        ("closing", told.to, told.closing_balance),
    ):
        out().print(f"{name} balance {money_text(balance, told.currency)} at {instant_text(at)}", highlight=False)


app.command("holds")(holds)
app.command("verify")(verification.verify)
app.command("export")(verification.export)
app.command("keys")(verification.keys)
app.command("isolate")(isolation.isolate)
app.command("rejoin")(isolation.rejoin)


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
