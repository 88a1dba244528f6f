"""`cellwallet webhooks list|add|remove|rotate|dead-letters|redeliver`: a vendor's endpoints for events."""

from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from cellwallet.client import DeadLetter, Webhook, Webhooks, accepted
from cellwallet.commands.connection import TokenOption, UrlOption, failures_told
from cellwallet.commands.named_wallets import client_of
from cellwallet.commands.tables import instant_text, print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, out, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Endpoints that events are sent to.")

PAGE = 500

_WEBHOOK = TypeAdapter(Webhook)
_WEBHOOKS = TypeAdapter(Webhooks)
_LETTERS = TypeAdapter(list[DeadLetter])

WebhookArgument = Annotated[str, typer.Argument(metavar="WEBHOOK_ID")]


@app.command("list")
def list_webhooks(
    *, url: UrlOption = None, token: TokenOption = None, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False
) -> None:
    """List this vendor's webhooks."""
    with failures_told(), client_of(url, token, data) as client:
        _tell(accepted(client.webhooks()), as_json=as_json)


@app.command()
def add(
    address: Annotated[str, typer.Argument(metavar="HTTPS_URL", help="Your endpoint.")],
    *,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only these kinds of entries; may be repeated.")
    ] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Have events sent to an endpoint from now on. The secret is shown this once."""
    with failures_told(), client_of(url, token, data) as client:
        _tell_secret(accepted(client.create_webhook(address, kinds=kind or None)), as_json=as_json)


@app.command()
def remove(
    webhook_id: WebhookArgument,
    *,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """End a webhook; its dead letters go with it. Lists what is left."""
    with failures_told(), client_of(url, token, data) as client:
        _tell(accepted(client.delete_webhook(webhook_id)), as_json=as_json)


@app.command()
def rotate(
    webhook_id: WebhookArgument,
    *,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a new secret, shown this once; the one before signs as well for 24 hours."""
    with failures_told(), client_of(url, token, data) as client:
        _tell_secret(accepted(client.rotate_webhook(webhook_id)), as_json=as_json)


@app.command("dead-letters")
def dead_letters(
    webhook_id: WebhookArgument,
    *,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="So many of the oldest.")] = 50,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List events that no attempt could deliver, and why."""
    with failures_told(), client_of(url, token, data) as client:
        letters = list(accepted(client.dead_letters(webhook_id, limit=limit)).dead_letters)
    if as_json:
        print_json({"dead_letters": _LETTERS.dump_python(letters, mode="json")})
    elif letters:
        print_table(_letter_table(letters))
    else:
        out().print("no dead letters")


@app.command()
def redeliver(
    webhook_id: WebhookArgument,
    *,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Send all dead letters again."""
    with failures_told(), client_of(url, token, data) as client:
        redelivered = accepted(client.redeliver(webhook_id)).redelivered
    if as_json:
        print_json({"redelivered": redelivered})
    else:
        out().print(f"{redelivered} events are on their way again", highlight=False)


def _tell(told: Webhooks, *, as_json: bool) -> None:
    if as_json:
        print_json(_WEBHOOKS.dump_python(told, mode="json"))
    elif told.webhooks:
        print_table(_table(told))
    else:
        out().print("no webhooks")


def _tell_secret(webhook: Webhook, *, as_json: bool) -> None:
    if as_json:
        print_json(_WEBHOOK.dump_python(webhook, mode="json"))
        return
    for name, text in (("webhook", webhook.id), ("url", webhook.url), ("secret", webhook.secret or "")):
        out().print(f"{name:<8} {text}", markup=False, highlight=False)


def _table(told: Webhooks) -> Table:
    table = Table("url", "kinds", "created", "secret changed")
    table.add_column("webhook", no_wrap=True)
    for webhook in told.webhooks:
        kinds = "all" if webhook.kinds is None else ", ".join(webhook.kinds)
        instants = (instant_text(webhook.created_at), instant_text(webhook.secret_changed_at))
        table.add_row(escape(webhook.url), kinds, *instants, webhook.id)
    return table


def _letter_table(letters: list[DeadLetter]) -> Table:
    table = Table("event", "wallet", "seq", "occurred", "attempts", "last error")
    for letter in letters:
        occurred = instant_text(letter.occurred_at)
        error = escape(letter.last_error)
        table.add_row(letter.type, letter.wallet_id, str(letter.seq), occurred, str(letter.attempts), error)
    return table
