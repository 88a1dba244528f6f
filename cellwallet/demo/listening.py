"""The scenes of a webhook: an endpoint on this machine that believes nothing but what the platform has signed.

The webhook is the vendor's own and is deleted when the day ends, however it ends; one that a killed day left behind is
deleted by the next day.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from cellwallet.client import Client, DeliveryMustBeGenuineError, Webhook, accepted, verify_webhook
from cellwallet.demo.stage import CURRENCY, Scene, Stage, money, wait_until

PATH = "/cellwallet-demo"
KINDS = ("credit",)
FORGOTTEN_AFTER = timedelta(minutes=10)
"""No day is as long; a webhook of ours that is older belongs to nobody."""
BODY_MAX = 65_536


class Mailbox:
    """Genuine events, by their event id; the others are counted."""

    def __init__(self) -> None:
        self.secret: str | None = None
        self.events: dict[str, dict[str, Any]] = {}
        self.forged = 0

    def take(self, headers: dict[str, str], body: bytes) -> int:
        if self.secret is None:
            return 503  # the answer that tells it is still on its way: let it be sent again
        try:
            event = verify_webhook(headers, body, self.secret)
        except DeliveryMustBeGenuineError:
            self.forged += 1
            return 400
        self.events[event["event_id"]] = event
        return 204


@contextmanager
def listening(client: Client, url: str) -> Iterator[Mailbox | None]:
    """A webhook and its endpoint; None where the platform is on another machine and could not reach it."""
    if not _is_here(url):
        yield None
        return
    mailbox = Mailbox()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _endpoint(mailbox))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        _forget_old_ones(client)
        address = f"http://127.0.0.1:{server.server_address[1]}{PATH}"
        made = accepted(client.create_webhook(address, kinds=KINDS))
        mailbox.secret = made.secret
        try:
            yield mailbox
        finally:
            client.delete_webhook(made.id)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def event(stage: Stage, mailbox: Mailbox | None) -> Scene:
    title = "A message"
    if mailbox is None:
        return Scene(title=title, lines=("The platform is elsewhere and could not reach an endpoint on this machine.",))
    tips: dict[str, int] = {}

    def tip() -> dict[str, Any] | None:
        """Events begin when the cell has heard of the webhook; what was before is no news."""
        posting = stage.post(
            stage.client.credit(stage.shop.wallet_id, amount=100, currency=CURRENCY, description="tip")
        )
        tips[posting.transaction_id] = posting.seq
        mine = (got for got in mailbox.events.copy().values() if got["entry"]["transaction_id"] in tips)
        return next(mine, None)

    told = wait_until(tip, "the webhook hears of a tip")
    return Scene(
        title=title,
        lines=(
            f"A tip of {money(told['entry']['amount'])} is told to an endpoint of this machine: {told['type']}.",
            f"{len(mailbox.events)} events have come, their signatures fit the secret; {mailbox.forged} were forged.",
        ),
    )


def _is_here(url: str) -> bool:
    return httpx.URL(url).host in {"127.0.0.1", "::1", "localhost"}


def _forget_old_ones(client: Client) -> None:
    for webhook in accepted(client.webhooks()).webhooks:
        if _is_forgotten(webhook):
            client.delete_webhook(webhook.id)


def _is_forgotten(webhook: Webhook) -> bool:
    url = httpx.URL(webhook.url)
    is_ours = url.host == "127.0.0.1" and url.path == PATH
    return is_ours and datetime.now(UTC) - webhook.created_at > FORGOTTEN_AFTER


def _endpoint(mailbox: Mailbox) -> type[BaseHTTPRequestHandler]:
    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > BODY_MAX:
                self._answer(413)
                return
            self._answer(mailbox.take(dict(self.headers.items()), self.rfile.read(int(length))))

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The day tells what matters."""

    return Endpoint
