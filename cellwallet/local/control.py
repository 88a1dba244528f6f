"""The Unix socket in the data folder through which other verbs reach a running `up`: one JSON line each way.

A request is `{"do": VERB, ...}`, an answer is a JSON object; an answer with `error` says why not.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REQUEST_MAX_BYTES = 64 * 1024
TIMEOUT_S = 120.0
"""Adding a cell makes a database and waits for its processes."""

Respond = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class PlatformMustRunError(Exception):
    """Nobody listens in this data folder."""


async def listen(path: Path, respond: Respond) -> asyncio.Server:
    return await asyncio.start_unix_server(
        lambda reader, writer: _converse(reader, writer, respond), sock=_bound(path), limit=REQUEST_MAX_BYTES
    )


def request(path: Path, do: str, **arguments: Any) -> dict[str, Any]:
    """Ask the running platform.

    Raises:
        PlatformMustRunError: there is none.

    """
    try:
        with socket.socket(socket.AF_UNIX) as connection, _short(path) as address:
            connection.settimeout(TIMEOUT_S)
            connection.connect(address)
            connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise PlatformMustRunError(f"no platform runs with data folder {path.parent}") from error
    if not line:
        raise PlatformMustRunError(f"the platform of {path.parent} ended while it was asked")
    answer: dict[str, Any] = json.loads(line)
    return answer


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Respond) -> None:
    try:
        line = await reader.readline()
        asked = json.loads(line)
        answer = await respond(asked) if isinstance(asked, dict) else {"error": "a request is a JSON object"}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    except (ValueError, ConnectionError):  # not a request, or the asker went away
        return
    finally:
        writer.close()


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with _short(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    return listener


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of the socket that fits into its 107 bytes however deep the folder is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
