"""Webhooks on the wire: their bodies and answers, which URLs may be called, and how a delivery is signed.

The signature is that of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over `{id}.{timestamp}.{body}`, headers
`webhook-id`, `webhook-timestamp`, `webhook-signature`. Time and names' addresses come in as arguments.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from contract.answers import Answer, EntryAnswer, EntryKind
from contract.bodies import Body
from contract.ids import is_canonical_uuid
from contract.money import AMOUNT_MAX

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

SECRET_PREFIX = "whsec_"  # noqa: S105 - how every secret begins
SECRET_BYTES = 32
TOLERANCE_S = 300
"""How far the clocks of sender and receiver may differ; an older delivery may be one that somebody has recorded."""
URL_MAX = 500
KINDS_MAX = 14
WEBHOOKS_PER_VENDOR_MAX = 10
LETTERS_DEFAULT = 50
LETTERS_MAX = 500

_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_PRINTABLE = re.compile(r"[!-~]+")
_LOCAL_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa")
_SHARED_NETWORKS = tuple(map(ipaddress.ip_network, ("100.64.0.0/10", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")))
"""Not global, or a way around the look at an address: they embed an IPv4 address that may be private."""


class WebhookBody(Body):
    url: Annotated[str, Field(min_length=1, max_length=URL_MAX)]
    kinds: Annotated[list[EntryKind], Field(min_length=1, max_length=KINDS_MAX)] | None = None
    """Which events; none = all of the vendor's."""


class WebhookAnswer(Answer):
    id: str
    url: str
    kinds: list[EntryKind] | None
    created_at: str
    secret_changed_at: str


class NewWebhookAnswer(WebhookAnswer):
    secret: str
    """Shown this once."""


class WebhooksAnswer(Answer):
    webhooks: list[WebhookAnswer]


class EventAnswer(Answer):
    """The body of a delivery: one entry of a wallet's log, as the vendor may see it."""

    event_id: str
    type: Annotated[str, Field(pattern=r"^entry\.[a-z_]+$")]
    cell: str
    wallet_id: str
    seq: int
    entry_hash: str
    occurred_at: str
    entry: EntryAnswer


class DeadLetterAnswer(Answer):
    """An event that its endpoint did not take; `redeliver` sends it again."""

    event_id: str
    type: str
    cell: str
    wallet_id: str
    seq: int
    entry_hash: str
    occurred_at: str
    attempts: int
    last_error: str
    dead_at: str


class DeadLettersAnswer(Answer):
    dead_letters: list[DeadLetterAnswer]
    next_cursor: str | None


class RedeliveryAnswer(Answer):
    redelivered: int


def letter_cursor(letter: Mapping[str, Any]) -> str:
    """The place after this dead letter. It is the same in every cell, so that a router can go on in all of them."""
    place = f"{letter['dead_at']} {letter['wallet_id']} {letter['seq']}"
    return base64.urlsafe_b64encode(place.encode()).rstrip(b"=").decode()


def letter_place(cursor: str) -> tuple[datetime, str, int] | None:
    """(dead_at, wallet_id, seq); None for what is no cursor."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        dead_at, wallet_id, seq = text.split(" ")
        moment, number = datetime.fromisoformat(dead_at), int(seq)
    except (ValueError, OverflowError):
        return None
    is_one = moment.tzinfo is not None and is_canonical_uuid(wallet_id) and 0 <= number <= AMOUNT_MAX
    return (moment, wallet_id, number) if is_one else None


class SignatureMustFitError(Exception):
    """The delivery is not what the platform sent to this endpoint, or it is too old."""


def signature(*, secret: str, event_id: str, timestamp_s: int, body: bytes) -> str:
    """One signature, as it stands in the header.

    Raises:
        ValueError: the secret is none.

    """
    signed = b"%b.%d.%b" % (event_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(_key_of(secret), signed, hashlib.sha256)).decode()


def signed_headers(*, secrets: Sequence[str], event_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery; after a rotation two secrets sign, so that the receiver may change when it likes."""
    signatures = [signature(secret=one, event_id=event_id, timestamp_s=timestamp_s, body=body) for one in secrets]
    return {ID_HEADER: event_id, TIMESTAMP_HEADER: str(timestamp_s), SIGNATURE_HEADER: " ".join(signatures)}


def check_signature(headers: Mapping[str, str], body: bytes, secret: str, *, now_s: float) -> None:
    """Return if one of the signatures fits and the delivery is fresh.

    Raises:
        SignatureMustFitError: it was made by somebody else, altered, or recorded and sent again.
        ValueError: the secret is none.

    """
    named = {name.lower(): text for name, text in headers.items()}
    event_id, timestamp = named.get(ID_HEADER), named.get(TIMESTAMP_HEADER, "")
    if not event_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise SignatureMustFitError(f"{ID_HEADER} and {TIMESTAMP_HEADER} must be there")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise SignatureMustFitError(f"the delivery must be at most {TOLERANCE_S} s old")
    expected = signature(secret=secret, event_id=event_id, timestamp_s=int(timestamp), body=body).encode()
    given = [one.encode() for one in named.get(SIGNATURE_HEADER, "").split()]
    # Every one is compared, so that the time tells nothing.
    if not any([hmac.compare_digest(one, expected) for one in given]):  # noqa: C419 - a list, for that reason
        raise SignatureMustFitError("no signature fits the secret and the body")


def secret_of(random_bytes: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def _key_of(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a secret is `{SECRET_PREFIX}` and base64") from error


def url_flaw(url: str, *, may_be_local: bool) -> str | None:
    """Why deliveries may not go to this URL, as far as its text tells; what its name resolves to is seen later."""
    parts = _split(url)
    if parts is None:
        return "must be a URL of printable ASCII without user name and fragment"
    host = (parts.hostname or "").lower()
    address = _address(host)
    if address is None and not _is_host_name(host):
        return "must name its host by a DNS name or by an address in its usual form"
    is_loopback = host == "localhost" or (address is not None and address.is_loopback)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback and may_be_local):
        return "must begin with https://"
    is_local = host.rpartition(".")[2] in _LOCAL_NAMES or host.endswith(_LOCAL_NAMES[-1])
    if not may_be_local and (is_local or (address is not None and not is_public(address))):
        return "must not lead to a private, local or reserved address"
    return None


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is one of the open internet: neither ours, nor a neighbour's, nor a way around this look."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.scope_id is not None:
            return False
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    return address.is_global and not is_special and not any(address in network for network in _SHARED_NETWORKS)


def _split(url: str) -> SplitResult | None:
    if _PRINTABLE.fullmatch(url) is None or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    is_plain = parts.fragment == "" and "#" not in url and "@" not in parts.netloc and port != 0
    return parts if is_plain and parts.hostname and not parts.netloc.endswith(":") else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_host_name(host: str) -> bool:
    """A last label of digits makes it an IPv4 address to some and a name to others: neither is meant."""
    return _HOST_NAME.fullmatch(host) is not None and _NUMERIC.fullmatch(host.rpartition(".")[2]) is None
