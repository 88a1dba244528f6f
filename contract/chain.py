"""The canonical form `v1` of an entry and its hash: what makes a wallet's log tamper-evident.

The form is fixed for ever, byte for byte; anyone with the entries of a wallet can recompute every hash. A line per
field in the order of `CanonicalEntry`, joined by a line feed, UTF-8, first line `v1`, an absent value is an empty line:
integers in decimal, instants as whole microseconds since 1970-01-01 UTC. No field can hold a line feed.

Free text (details) and the request's context enter only as `sealed`, the SHA-256 over salt, details and context: so
they can be erased without breaking a chain, and their absence is visible.
"""

import hashlib

from contract.values import value

FORM = "v1"
ZERO_HASH = bytes(32)
"""The hash before a wallet's first entry."""


@value
class CanonicalEntry:
    """The fields of an entry that its hash covers, in the order of the form."""

    wallet_id: str
    seq: int
    posted_at_us: int
    kind: str
    currency: str
    delta: int
    held_delta: int
    balance_after: int
    held_after: int
    overdraft_limit_after: int
    status_after: str
    transaction_id: str
    vendor_id: str
    counter_account: str
    subject_id: str | None
    subject_vendor_id: str | None
    expires_at_us: int | None
    requested_kind: str | None
    requested_amount: int | None
    reason: str | None
    sealed: str


def sealed_hash(*, salt: bytes, details: str, context: str) -> str:
    """Hex SHA-256 over the 16 bytes of salt, the length of details as decimal and a line feed, details, context."""
    text = details.encode()
    return hashlib.sha256(b"%b%d\n%b%b" % (salt, len(text), text, context.encode())).hexdigest()


def canonical_text(entry: CanonicalEntry) -> str:
    return (
        f"{FORM}\n{entry.wallet_id}\n{entry.seq}\n{entry.posted_at_us}\n{entry.kind}\n{entry.currency}\n"
        f"{entry.delta}\n{entry.held_delta}\n{entry.balance_after}\n{entry.held_after}\n"
        f"{entry.overdraft_limit_after}\n{entry.status_after}\n{entry.transaction_id}\n{entry.vendor_id}\n"
        f"{entry.counter_account}\n{_text(entry.subject_id)}\n{_text(entry.subject_vendor_id)}\n"
        f"{_text(entry.expires_at_us)}\n{_text(entry.requested_kind)}\n{_text(entry.requested_amount)}\n"
        f"{_text(entry.reason)}\n{entry.sealed}"
    )


def entry_hash(previous: bytes, entry: CanonicalEntry) -> bytes:
    """SHA-256 over the 32 bytes of the previous hash and the canonical text."""
    return hashlib.sha256(previous + canonical_text(entry).encode()).digest()


def _text(field: str | int | None) -> str | int:
    return "" if field is None else field
