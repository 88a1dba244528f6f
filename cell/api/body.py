"""Reading a request's body within its bounds of size and time."""

import asyncio
from collections.abc import Mapping
from typing import Final

from cell.api.responses import Receive
from contract.headers import BODY_MAX_BYTES
from contract.problems import Problem
from contract.reasons import Reason


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, *, timeout_s: float, max_bytes: int = BODY_MAX_BYTES
) -> bytes | Problem:
    """The whole body; most arrive with the head, and only the others get a clock."""
    length = headers.get(b"content-length", b"0")
    if len(length) > 9 or not length.isdigit() or int(length) > max_bytes:
        return _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        chunks = bytearray(body)
        try:
            async with asyncio.timeout(timeout_s):
                while message.get("more_body") and len(chunks) <= max_bytes:
                    message = await receive()
                    chunks += message.get("body", b"")
        except TimeoutError:
            return _SLOW_BODY
        body = bytes(chunks)
    return body if len(body) <= max_bytes else _too_large(max_bytes)


def _too_large(max_bytes: int) -> Problem:
    return Problem(reason=Reason.BODY_MUST_FIT, detail=f"The body must be at most {max_bytes} bytes.")


_SLOW_BODY: Final = Problem(reason=Reason.DEADLINE_MUST_NOT_PASS, detail="The body did not arrive in time.")
