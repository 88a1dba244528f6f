"""The load generator: a few processes, each a sender, that begin at the same instant; their tallies added up.

The processes live as long as the generator, so that starting them is in no measurement.
"""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Protocol

from loadtests.load import Load, Tally, together
from loadtests.sender import Sender

GET_READY_S = 0.2
"""Between telling the senders and their first request: enough to prepare what they send."""
ANSWER_MARGIN_S = 60.0
"""A sender that does not return so long after its load is over has broken down."""


class SendersMustReturnError(Exception):
    """A sender broke down; there is no figure."""


class Flag(Protocol):
    """In memory that the processes share."""

    value: bool


class Generator:
    """Made by `generator`."""

    def __init__(self, ends: Sequence[Connection], is_over: Flag) -> None:
        self._ends = ends
        self._is_over = is_over
        self._longest_s = 0.0

    @property
    def senders(self) -> int:
        return len(self._ends)

    def run(self, load: Load) -> Tally:
        """Make this load.

        Raises:
            SendersMustReturnError: a sender ended or hangs.

        """
        self.begin(load)
        return self.collect()

    def begin(self, load: Load) -> None:
        """Returns when the senders are about to send; `collect` must follow."""
        self._is_over.value = False
        for end in self._ends:
            end.send(load)
        for end in self._ends:
            self._receive(end, timeout_s=ANSWER_MARGIN_S)  # ready
        starts_at_s = time.monotonic() + GET_READY_S
        for end in self._ends:
            end.send(starts_at_s)
        self._longest_s = load.pace.duration_s + load.pace.drain_s + ANSWER_MARGIN_S

    def end_early(self) -> None:
        """No more is sent of an open loop; `collect` then waits for the answers alone."""
        self._is_over.value = True

    def collect(self) -> Tally:
        tallies = [self._receive(end, timeout_s=self._longest_s) for end in self._ends]
        return together(tally for tally in tallies if isinstance(tally, Tally))

    def _receive(self, end: Connection, *, timeout_s: float) -> object:
        try:
            if end.poll(timeout_s):
                return end.recv()
        except EOFError as error:
            raise SendersMustReturnError("a sender ended; its error is above") from error
        raise SendersMustReturnError(f"a sender did not return within {timeout_s:.0f} s")


@contextmanager
def generator(senders: int) -> Iterator[Generator]:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(senders)]
    is_over = context.RawValue(ctypes.c_bool, False)  # noqa: FBT003 - as it is called
    processes = [
        context.Process(target=_serve, args=(theirs, share, senders, is_over), daemon=True, name=f"sender-{share}")
        for share, (_, theirs) in enumerate(pipes)
    ]
    try:
        for process in processes:
            process.start()
        for _, theirs in pipes:
            theirs.close()
        yield Generator([ours for ours, _ in pipes], is_over)
    finally:
        for ours, _ in pipes:
            ours.close()
        for process in processes:
            process.join(timeout=1)
            if process.is_alive():
                process.kill()
                process.join()


def _serve(end: Connection, share: int, shares: int, is_over: Flag) -> None:
    """In a process of its own, until the generator is gone; an interrupt is for whoever runs the generator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent_pid = os.getppid()
    while True:
        try:
            load = end.recv()
            sender = Sender(
                load, share=share, shares=shares, is_over=lambda: is_over.value or os.getppid() != parent_pid
            )
            end.send("ready")
            end.send(sender.run(end.recv()))
        except (EOFError, OSError):
            return
