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
    if not message.get("more_body"):
        return bytes(message.get("body", b""))
    chunks = bytearray(message.get("body", b""))
    try:
        async with asyncio.timeout(timeout_s):
            while message.get("more_body"):
                message = await receive()
                chunks += message.get("body", b"")
                if len(chunks) > BODY_MAX_BYTES:
                    return _TOO_LARGE
    except TimeoutError:
        return _SLOW_BODY
    return bytes(chunks)


_TOO_LARGE: Final = Problem(reason=Reason.BODY_MUST_FIT, detail=f"The body must be at most {BODY_MAX_BYTES} bytes.")
_SLOW_BODY: Final = Problem(reason=Reason.DEADLINE_MUST_NOT_PASS, detail="The body did not arrive in time.")
