"""Reading a request's body within its bounds of size and time."""

import asyncio
from collections.abc import Mapping
from typing import Final

from cell.api.responses import Receive
from contract.headers import BODY_MAX_BYTES
from contract.problems import Problem
from contract.reasons import Reason


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, *, timeout_s: float) -> bytes | Problem:
    """The whole body; most arrive with the head, and only the others get a clock."""
    length = headers.get(b"content-length", b"0")
    if len(length) > 9 or not length.isdigit() or int(length) > BODY_MAX_BYTES:
        return _TOO_LARGE
    message = await receive()
    chunks: bytes = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(timeout_s):
                while message.get("more_body") and len(chunks) <= BODY_MAX_BYTES:
                    message = await receive()
                    chunks += message.get("body", b"")
        except TimeoutError:
            return _SLOW_BODY
    return chunks if len(chunks) <= BODY_MAX_BYTES else _TOO_LARGE


_TOO_LARGE: Final = Problem(reason=Reason.BODY_MUST_FIT, detail=f"The body must be at most {BODY_MAX_BYTES} bytes.")
_SLOW_BODY: Final = Problem(reason=Reason.DEADLINE_MUST_NOT_PASS, detail="The body did not arrive in time.")
