"""Who asks, and with which head: what every lean route reads of a request before its body.

Owns the request's id and access line, and the caller that goes into commands. It checks no scope and no body.
"""

import time
from collections.abc import MutableMapping
from os import urandom
from typing import Any, ClassVar

from cell.api.commands_of import Caller, context_text
from cell.api.responses import authorization_in, request_id_of
from cell.api.tokens import Principal
from cell.policy import LimitPolicy
from cell.telemetry import AccessLine, Telemetry
from contract.ids import is_canonical_uuid
from contract.problems import Problem
from contract.reasons import Reason


class LeanRequest:
    """What of a request's head is needed, read once."""

    __slots__ = ("headers", "line", "request_id", "scope")

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(self.headers) < len(scope["headers"]) and b"authorization" in self.headers:
            self.headers[b"authorization"] = authorization_in(scope["headers"]) or b""
        self.request_id = request_id_of(self.headers.get(b"x-request-id"))
        self.line = AccessLine(self.request_id, scope["method"], scope["path"], time.perf_counter())

    @property
    def is_json(self) -> bool:
        return is_json(self.headers.get(b"content-type", b""))

    def is_well_formed(self, *ids: str) -> bool:
        """Canonical lower-case, and written so: an encoded path is not the path that the router read."""
        return all(map(is_canonical_uuid, ids)) and b"%" not in self.scope["raw_path"]


class Salts:
    """Random salts, 16 bytes each; asked of the kernel in bulk, because a system call costs as much as a decision."""

    __slots__ = ("_at", "_pool")

    POOL_BYTES: ClassVar[int] = 4_096

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def next(self) -> bytes:
        if self._at >= len(self._pool):
            self._pool = urandom(self.POOL_BYTES)
            self._at = 0
        self._at += 16
        return self._pool[self._at - 16 : self._at]


class Callers:
    """Makes the caller of a request, as commands name it."""

    def __init__(self, *, telemetry: Telemetry, limits: LimitPolicy, may_leave: bool) -> None:
        self._telemetry = telemetry
        self._limits = limits
        self._may_leave = may_leave
        self._salt = Salts().next

    def caller(self, request: LeanRequest, principal: Principal) -> Caller:
        headers = request.headers
        client = request.scope.get("client") or ("", 0)
        forwarded = headers.get(b"x-forwarded-for")
        request.line.trace_id = self._telemetry.trace_id(headers.get(b"traceparent"))
        return Caller(
            vendor_id=principal.vendor_id,
            owner_types=principal.owner_types,
            context=context_text(
                client_ip=client[0] if forwarded is None else forwarded.decode("latin-1"),
                user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
                request_id=request.request_id,
                trace_id=request.line.trace_id,
            ),
            salt=self._salt,
            limits=self._limits,
            may_leave=self._may_leave,
        )


def is_json(content_type: bytes) -> bool:
    """Media types know no case, and `application/json-patch+json` is another one."""
    return content_type == b"application/json" or content_type.partition(b";")[0].strip().lower() == b"application/json"


NOT_JSON = Problem(reason=Reason.CONTENT_TYPE_MUST_BE_JSON, detail="The body must be application/json.")
