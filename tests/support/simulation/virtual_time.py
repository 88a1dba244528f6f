"""Time that passes only when everybody waits, and chance that comes from one seed.

The event loop is asyncio's own; only its clock and the wait for the next timer are ours: where it would sleep until
then, the clock jumps there. So a run is a function of its seed: callbacks run in asyncio's fixed order, and whatever
is to happen in another order happens at another instant, drawn by the seed. Tasks and futures are numbered, because
asyncio and others keep them in sets, whose order would be the order of their addresses.
"""

import asyncio
import os
import random
import selectors
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

START_S = 1_800_000_000.0
"""The wall clock at the beginning: a fixed day, so that nothing depends on today."""
PACKAGES = ("cell", "router", "control_plane", "contract", "lean_http")
SELECTS_MAX = 3_000_000
"""Turns of the loop; whoever needs more is spinning without a wait."""


class RunStuckError(Exception):
    """Everybody waits for something that nobody will do, or somebody spins for ever."""


class _Numbered:
    _number: int

    def __hash__(self) -> int:
        return self._number


class NumberedTask(_Numbered, asyncio.Task[Any]):
    def __init__(self, work: Any, *, loop: "VirtualLoop", **more: Any) -> None:
        self._number = next(loop.numbers)
        super().__init__(work, loop=loop, **more)


class NumberedFuture(_Numbered, asyncio.Future[Any]):
    def __init__(self, *, loop: "VirtualLoop") -> None:
        self._number = next(loop.numbers)
        super().__init__(loop=loop)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now_s = 0.0
        self.numbers = count()
        super().__init__(_Clockwork(self))
        self._clock_resolution = 1e-9

    def create_future(self) -> "asyncio.Future[Any]":
        return NumberedFuture(loop=self)

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, *_: Any, **__: Any) -> Any:
        raise RunStuckError("threads know no virtual time")


class _Clockwork(selectors.SelectSelector):
    """Nothing outside the process is ever waited for."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._selects = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self._selects += 1
        if timeout is None or self._selects > SELECTS_MAX:
            raise RunStuckError("nobody will ever be woken" if timeout is None else "somebody spins")
        if timeout > 0:
            # A sum of floats may fall short of the timer it was computed from: then the loop would turn on the spot.
            self._loop.now_s += timeout + 1e-9
        return []


@contextmanager
def ruled(loop: VirtualLoop, seed: str) -> Iterator[None]:
    """Every clock and every source of chance that the project's modules know is the simulation's own."""
    dice = random.Random(f"{seed}/bytes")
    state = random.getstate()
    random.seed(f"{seed}/global")
    replaced: Mapping[Callable[..., Any], Callable[..., Any]] = {
        time.time: lambda: START_S + loop.now_s,
        time.time_ns: lambda: int((START_S + loop.now_s) * 1e9),
        time.monotonic: loop.time,
        time.perf_counter: loop.time,
        os.urandom: dice.randbytes,
    }
    undo: list[tuple[Any, str, Any]] = []
    holders = [time, os, *(module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES)]
    for holder in holders:
        for name, found in list(vars(holder).items()):
            stand_in = _stand_in(found, replaced)
            if stand_in is not None:
                undo.append((holder, name, found))
                setattr(holder, name, stand_in)
    try:
        yield
    finally:
        for holder, name, found in undo:
            setattr(holder, name, found)
        random.setstate(state)


def _stand_in(found: Any, replaced: Mapping[Callable[..., Any], Callable[..., Any]]) -> Any:
    try:
        return replaced.get(found)
    except TypeError:  # what has no hash is no clock
        return None
