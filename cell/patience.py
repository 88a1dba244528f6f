"""Waiting for an answer no longer than for so long, whatever becomes of the one who was asked."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The answer of `work`; when the time is up, it is cancelled and left to itself.

    `asyncio.timeout` would wait for the end of what it cancels, and a statement at a database that is silent does not
    end: its driver first asks that database to cancel it.

    Raises:
        TimeoutError: the time is up.

    """
    asked = asyncio.ensure_future(work)
    try:
        await asyncio.wait({asked}, timeout=seconds)
    except asyncio.CancelledError:
        _leave(asked)
        raise
    if asked.done():
        return asked.result()
    _leave(asked)
    raise TimeoutError


_left: set["asyncio.Future[Any]"] = set()
"""The loop itself holds tasks only weakly."""


def _leave(asked: "asyncio.Future[Any]") -> None:
    asked.cancel()
    _left.add(asked)
    asked.add_done_callback(_forget)


def _forget(asked: "asyncio.Future[Any]") -> None:
    _left.discard(asked)
    if not asked.cancelled():
        asked.exception()  # looked at: nobody else will, and nobody waits for it any more
