"""What an event is: one entry of a wallet's log, told once per receiver in the order of the log.

Its identity is (wallet_id, seq, entry_hash): the hash tells an entry apart from another one that took the same place
after a database lost its newest commits.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from contract.configuration import Webhook
from contract.values import value


class LoggedEntry(Protocol):
    """As much of a row of `entries` as decides who hears of it."""

    @property
    def wallet_id(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def vendor_id(self) -> str: ...
    @property
    def subject_vendor_id(self) -> str | None: ...
    @property
    def hash(self) -> bytes: ...


@value
class Delivery:
    """One event on its way to one webhook; the body is made once, so that every attempt sends the same bytes."""

    webhook_id: str
    wallet_id: str
    seq: int
    entry_hash: bytes
    body: str
    attempts: int = 0

    @property
    def event_id(self) -> str:
        return identity(self.wallet_id, self.seq, self.entry_hash)


def identity(wallet_id: str, seq: int, entry_hash: bytes) -> str:
    """Also what receivers and the broker recognise a repetition by. Holds no dot: the signature separates by dots."""
    return f"{wallet_id}:{seq}:{entry_hash.hex()}"


def event_id(entry: LoggedEntry) -> str:
    return identity(entry.wallet_id, entry.seq, entry.hash)


def event_type(entry: LoggedEntry) -> str:
    return f"entry.{entry.kind}"


def envelope(entry: LoggedEntry, answer: dict[str, Any], *, cell: str) -> dict[str, Any]:
    """`answer` is the entry as the receiver may see it."""
    return {
        "event_id": event_id(entry),
        "type": event_type(entry),
        "cell": cell,
        "wallet_id": entry.wallet_id,
        "seq": entry.seq,
        "entry_hash": entry.hash.hex(),
        "occurred_at": answer["posted_at"],
        "entry": answer,
    }


def receivers(entry: LoggedEntry, webhooks: Iterable[Webhook]) -> list[Webhook]:
    """The webhooks of the vendor that asked, and of the vendor whose transaction or hold the entry is about."""
    concerned = {entry.vendor_id, entry.subject_vendor_id}
    return [
        webhook
        for webhook in webhooks
        if webhook.vendor_id in concerned and (webhook.kinds is None or entry.kind in webhook.kinds)
    ]


def shows_details(entry: LoggedEntry, webhook: Webhook) -> bool:
    """Description, metadata and context are for the vendor that sent them, as they are when it reads the entry."""
    return entry.vendor_id == webhook.vendor_id


def secrets_in_force(webhook: Webhook, now: str) -> tuple[str, ...]:
    """The present secret, and those that sign until their instant (RFC 3339 in UTC, so that texts compare)."""
    return tuple(one.secret for one in webhook.secrets if one.until is None or one.until > now)


def retry_after_s(attempts: int, *, first_s: float, longest_s: float, jitter: float) -> float:
    """Doubling from `first_s`; `jitter` (0 to 1) spreads it over the upper half."""
    ceiling_s = min(longest_s, first_s * 2.0 ** min(attempts - 1, 40))
    return ceiling_s * (0.5 + jitter / 2)
