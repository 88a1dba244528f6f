"""Calls of a vendor's own webhooks, and what a receiver does with a delivery before it believes a word of it."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from cellwallet.client.calls import Call, Reply
from contract.values import value
from contract.webhooks import EventAnswer, SignatureMustFitError, check_signature


@value
class Webhook:
    id: str
    url: str
    kinds: tuple[str, ...] | None
    created_at: datetime
    secret_changed_at: datetime
    secret: str | None = None
    """Only in the answer that made it: store it then."""


@value
class Webhooks:
    webhooks: tuple[Webhook, ...]


@value
class DeadLetter:
    event_id: str
    type: str
    cell: str
    wallet_id: str
    seq: int
    entry_hash: str
    occurred_at: datetime
    attempts: int
    last_error: str
    dead_at: datetime


@value
class DeadLetterPage:
    dead_letters: tuple[DeadLetter, ...]
    next_cursor: str | None


@value
class Redelivery:
    redelivered: int


class DeliveryMustBeGenuineError(Exception):
    """The delivery was not signed with this secret, was altered, or is too old: answer 400 and forget it."""


def verify_webhook(
    headers: Mapping[str, str], body: bytes, secret: str, *, now_s: float | None = None
) -> dict[str, Any]:
    """The event of a delivery, once it is sure that the platform sent it, as it is, within the last five minutes.

    `body` is the body as it came, byte for byte: parsing and writing it again would change it. The same event may come
    more than once; `event_id` tells, and within a wallet `seq` orders.

    Raises:
        DeliveryMustBeGenuineError: it is not.

    """
    try:
        check_signature(headers, body, secret, now_s=time.time() if now_s is None else now_s)
    except SignatureMustFitError as error:
        raise DeliveryMustBeGenuineError(str(error)) from error
    return EventAnswer.model_validate_json(body).model_dump(exclude_unset=True)


def webhooks() -> Call[Webhooks]:
    """All webhooks of this vendor; needs `webhook:manage`, as all calls here."""
    return Call(method="GET", path=_PATH, read=_read_webhooks)


def create_webhook(url: str, *, kinds: Sequence[str] | None = None) -> Call[Webhook]:
    """Have events sent there from now on: all of this vendor's, or those of some kinds of entries.

    The one call that has no id to recognise its repetition by: an answer that was lost on its way may leave a webhook
    behind that nobody knows the secret of. `webhooks` shows it, `delete_webhook` ends it.
    """
    fields = {"url": url} if kinds is None else {"url": url, "kinds": list(kinds)}
    return Call(method="POST", path=_PATH, body=json.dumps(fields).encode(), read=_read_webhook)


def delete_webhook(webhook_id: str) -> Call[Webhooks]:
    """What is left afterwards."""
    return Call(method="DELETE", path=f"{_PATH}/{webhook_id}", read=_read_webhooks)


def rotate_webhook(webhook_id: str) -> Call[Webhook]:
    """A new secret; the one before signs too for 24 hours."""
    return Call(method="POST", path=f"{_PATH}/{webhook_id}/rotate", read=_read_webhook)


def dead_letters(webhook_id: str, *, limit: int | None = None, cursor: str | None = None) -> Call[DeadLetterPage]:
    """Events that no attempt could deliver, the oldest first, from all cells."""
    given = (("limit", None if limit is None else str(limit)), ("cursor", cursor))
    query = tuple((name, text) for name, text in given if text is not None)
    return Call(method="GET", path=f"{_PATH}/{webhook_id}/dead_letters", query=query, read=_read_letters)


def redeliver(webhook_id: str) -> Call[Redelivery]:
    """Send all dead letters again."""
    return Call(method="POST", path=f"{_PATH}/{webhook_id}/redeliver", read=_read_redelivery)


_PATH = "/v1/webhooks"
_WEBHOOK = TypeAdapter(Webhook)
_WEBHOOKS = TypeAdapter(Webhooks)
_LETTERS = TypeAdapter(DeadLetterPage)
_REDELIVERY = TypeAdapter(Redelivery)


def _read_webhook(reply: Reply) -> Webhook:
    return _WEBHOOK.validate_json(reply.body)


def _read_webhooks(reply: Reply) -> Webhooks:
    return _WEBHOOKS.validate_json(reply.body)


def _read_letters(reply: Reply) -> DeadLetterPage:
    return _LETTERS.validate_json(reply.body)


def _read_redelivery(reply: Reply) -> Redelivery:
    return _REDELIVERY.validate_json(reply.body)
