"""Which headers pass through the router, and what it reads from them.

Hop-by-hop headers and everything that a vendor could use to pretend to be the router are taken off; the router sets
its own. Names are lower-case bytes, as the server delivers them.
"""

import re

from contract.headers import DEADLINE_DEFAULT_MS, DEADLINE_MAX_MS
from contract.values import value

RawHeaders = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip

SPOOFABLE = frozenset({b"forwarded", b"x-cell", b"x-real-ip", b"x-router-version", b"x-unit-epoch"})
SPOOFABLE_PREFIX = b"x-forwarded-"

_SET_BY_ROUTER = frozenset({
    b"content-length", b"expect", b"host", b"traceparent", b"x-deadline-ms", b"x-request-id",
})  # fmt: skip
_READ = frozenset({
    b"authorization", b"connection", b"content-length", b"content-type", b"traceparent", b"x-deadline-ms",
    b"x-request-id",
})  # fmt: skip
_NOT_FORWARDED = HOP_BY_HOP | SPOOFABLE | _SET_BY_ROUTER
_NOTED = _READ | _NOT_FORWARDED
_NOT_RELAYED = HOP_BY_HOP | {b"date", b"server", b"x-request-id"}
"""The router's own server adds the date; the request id is the router's."""

_DOUBLED = b"\x00"
"""What a header that came twice reads as: a text that is acceptable nowhere."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_JSON = re.compile(rb"application/json[ \t]*(?:;[ \t]*charset=\"?utf-8\"?[ \t]*)?", re.IGNORECASE)


@value
class Inbound:
    """A vendor's headers, sorted: what goes on as it is, and what the router itself reads."""

    forwarded: RawHeaders
    request_id: str | None
    """None if the vendor sent none, or none that is acceptable."""
    deadline_ms: int | None
    """None if the header is not well formed."""
    traceparent: bytes | None
    trace_id: str | None
    is_json: bool
    content_length: int
    """0 if there is none: the body may still come in chunks."""
    has_authorization: bool


def sort_inbound(headers: RawHeaders) -> Inbound:
    forwarded: RawHeaders = []
    read: dict[bytes, bytes] = {}
    nominated = b""
    for pair in headers:
        name = pair[0]
        if name not in _NOTED:
            if not name.startswith(SPOOFABLE_PREFIX):
                forwarded.append(pair)
            continue
        if name == b"connection":
            nominated += b"," + pair[1]
        elif name in _READ:
            read[name] = _DOUBLED if name in read else pair[1]
        if name not in _NOT_FORWARDED:
            forwarded.append(pair)
    if nominated:
        forwarded = _without_nominated(forwarded, nominated)
    return _inbound(forwarded, read)


def acceptable_request_id(headers: RawHeaders) -> str | None:
    """The vendor's request id, if there is exactly one and it is of the accepted form."""
    sent = [text for name, text in headers if name == b"x-request-id"]
    return _accepted(sent[0]) if len(sent) == 1 else None


def relayed(headers: RawHeaders) -> RawHeaders:
    """The headers of a cell's answer that the vendor sees."""
    return [pair for pair in headers if pair[0] not in _NOT_RELAYED]


def _without_nominated(forwarded: RawHeaders, nominated: bytes) -> RawHeaders:
    names = {name.strip().lower() for name in nominated.split(b",")}
    return [pair for pair in forwarded if pair[0] not in names]


def _inbound(forwarded: RawHeaders, read: dict[bytes, bytes]) -> Inbound:
    request_id, deadline = read.get(b"x-request-id"), read.get(b"x-deadline-ms")
    traceparent, content_type = read.get(b"traceparent"), read.get(b"content-type")
    trace = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    return Inbound(
        forwarded=forwarded,
        request_id=None if request_id is None else _accepted(request_id),
        deadline_ms=DEADLINE_DEFAULT_MS if deadline is None else _deadline_ms(deadline),
        traceparent=None if trace is None else traceparent,
        trace_id=None if trace is None else trace.group(1).decode(),
        is_json=content_type is not None and is_json_type(content_type),
        content_length=int(read.get(b"content-length", 0)),
        has_authorization=b"authorization" in read,
    )


def _accepted(request_id: bytes) -> str | None:
    return None if _REQUEST_ID.fullmatch(request_id) is None else request_id.decode()


def is_json_type(content_type: bytes) -> bool:
    return content_type == b"application/json" or _JSON.fullmatch(content_type) is not None


def _deadline_ms(text: bytes) -> int | None:
    if not (text.isdigit() and len(text) <= 5):
        return None
    deadline_ms = int(text)
    return deadline_ms if 1 <= deadline_ms <= DEADLINE_MAX_MS else None
