"""Doing the same for many, a bounded number of them at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def each(items: Iterable[T], do: Callable[[T], Awaitable[U]], *, at_most: int) -> list[U]:
    """`do` for each; the results in order."""
    room = asyncio.Semaphore(at_most)

    async def one(item: T) -> U:
        async with room:
            return await do(item)

    return await asyncio.gather(*(one(item) for item in items))
