"""The load generator: a few processes, each a sender, that begin at the same instant; their tallies added up.

The processes live as long as the generator, so that starting them is in no measurement.
"""

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

from loadtests.load import Load, Tally, together
from loadtests.sender import Sender

GET_READY_S = 0.2
"""Between telling the senders and their first request: enough to prepare what they send."""
ANSWER_MARGIN_S = 60.0
"""A sender that does not return so long after its load is over has broken down."""


class SendersMustReturnError(Exception):
    """A sender broke down; there is no figure."""


class Generator:
    """Made by `generator`."""

    def __init__(self, ends: Sequence[Connection]) -> None:
        self._ends = ends

    @property
    def senders(self) -> int:
        return len(self._ends)

    def run(self, load: Load) -> Tally:
        """Make this load.

        Raises:
            SendersMustReturnError: a sender ended or hangs.

        """
        for end in self._ends:
            end.send(load)
        for end in self._ends:
            self._receive(end, timeout_s=ANSWER_MARGIN_S)  # ready
        starts_at_s = time.monotonic() + GET_READY_S
        for end in self._ends:
            end.send(starts_at_s)
        longest_s = load.pace.duration_s + load.pace.drain_s + ANSWER_MARGIN_S
        tallies = [self._receive(end, timeout_s=longest_s) for end in self._ends]
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
    processes = [
        context.Process(target=_serve, args=(theirs, share, senders), daemon=True, name=f"sender-{share}")
        for share, (_, theirs) in enumerate(pipes)
    ]
    try:
        for process in processes:
            process.start()
        for _, theirs in pipes:
            theirs.close()
        yield Generator([ours for ours, _ in pipes])
    finally:
        for ours, _ in pipes:
            ours.close()
        for process in processes:
            process.join(timeout=1)
            if process.is_alive():
                process.kill()
                process.join()


def _serve(end: Connection, share: int, shares: int) -> None:
    """In a process of its own, until the generator is gone; an interrupt is for whoever runs the generator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            load = end.recv()
            sender = Sender(load, share=share, shares=shares)
            end.send("ready")
            end.send(sender.run(end.recv()))
        except (EOFError, OSError):
            return
