"""Waiting for what must come, with a deadline and never for a fixed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 30.0
POLL_S = 0.005


async def until(ask: Callable[[], T | Awaitable[T]], *, deadline_s: float = DEADLINE_S) -> T:
    """The first true answer."""
    end_s = time.monotonic() + deadline_s
    while True:
        answer = ask()
        found = await answer if isawaitable(answer) else answer
        if found:
            return found
        assert time.monotonic() < end_s, f"{ask} did not come true in {deadline_s} s"
        await asyncio.sleep(POLL_S)


def until_now(ask: Callable[[], T], *, deadline_s: float = DEADLINE_S) -> T:
    """The same, for tests without a loop."""
    end_s = time.monotonic() + deadline_s
    while not (answer := ask()):
        assert time.monotonic() < end_s, f"{ask} did not come true in {deadline_s} s"
        time.sleep(POLL_S)
    return answer
