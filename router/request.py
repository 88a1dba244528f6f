"""One request of a vendor while the router has it: what came in, by when it must be answered, and what it has cost."""

import uuid_utils

from contract.headers import BODY_MAX_BYTES
from router.asgi import Receive, Scope
from router.routing.headers import Inbound, RawHeaders, sort_inbound

OVERLONG_BODY_MAX_BYTES = 1_048_576
"""An overlong body up to here is read to its end, so that the client gets its 413 and can use the connection again."""


class Request:
    """Mutable: the record that the access log is written from."""

    __slots__ = (
        "body",
        "cell_id",
        "deadline",
        "inbound",
        "is_own",
        "method",
        "peer",
        "request_id",
        "route_name",
        "sendings",
        "started",
        "target",
        "trace_id",
        "traceparent",
        "wallet_id",
    )

    def __init__(self, scope: Scope, *, now: float) -> None:
        headers: RawHeaders = scope["headers"]
        query: bytes = scope["query_string"]
        path: bytes = scope["raw_path"]
        self.inbound: Inbound = sort_inbound(headers)
        self.method: str = scope["method"]
        self.target: bytes = path + b"?" + query if query else path
        self.peer: str = scope["client"][0] if scope["client"] else "unknown"
        self.request_id: str = self.inbound.request_id or str(uuid_utils.uuid7())
        self.traceparent: bytes | None = self.inbound.traceparent
        self.trace_id: str | None = self.inbound.trace_id
        self.started = now
        self.deadline = now + (self.inbound.deadline_ms or 0) / 1_000
        self.body = b""
        self.route_name = ""
        self.is_own = False
        """Whether the router answers it itself: signs of life, which are neither logged nor counted."""
        self.cell_id: str | None = None
        self.wallet_id: str | None = None
        self.sendings = 0

    def head_for_cells(self) -> bytes:
        """The header lines that are the same for every cell and every attempt."""
        lines = [b"%b: %b\r\n" % pair for pair in self.inbound.forwarded]
        lines.append(b"x-request-id: %b\r\nx-forwarded-for: %b\r\n" % (self.request_id.encode(), self.peer.encode()))
        if self.traceparent is not None:
            lines.append(b"traceparent: %b\r\n" % self.traceparent)
        if self.body or self.inbound.content_length:
            lines.append(b"content-length: %d\r\n" % len(self.body))
        return b"".join(lines)


class BodyTooLongError(Exception):
    """The body does not fit. `is_drained`: it has been read to its end."""

    def __init__(self, *, is_drained: bool) -> None:
        super().__init__("the body must fit")
        self.is_drained = is_drained


class VendorLeftError(Exception):
    """The vendor closed the connection before its request was complete."""


async def read_body(receive: Receive, *, announced_bytes: int, max_bytes: int = BODY_MAX_BYTES) -> bytes:
    """The whole body.

    Raises:
        BodyTooLongError: more than `max_bytes`.
        VendorLeftError: the connection ended.

    """
    drained_max = max(OVERLONG_BODY_MAX_BYTES, max_bytes)
    if announced_bytes > drained_max:
        raise BodyTooLongError(is_drained=False)
    body = bytearray()
    received_bytes = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise VendorLeftError
        chunk = message.get("body", b"")
        received_bytes += len(chunk)
        if received_bytes <= max_bytes:
            body += chunk
        elif received_bytes > drained_max:
            raise BodyTooLongError(is_drained=False)
        if not message.get("more_body", False):
            break
    if received_bytes > max_bytes:
        raise BodyTooLongError(is_drained=True)
    return bytes(body)
