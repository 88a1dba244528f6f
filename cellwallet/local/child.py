"""One child process: started on a leash, its end awaited without polling, its output appended to its log.

Knows nothing of why it runs; starting it again is the supervisor's decision.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class Child:
    """Made by `spawn`, in the thread of the event loop: the leash ends with the thread that starts a process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watch = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._watch, self._reap)

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

    async def wait(self) -> int:
        """The exit code; negative for the signal that ended it."""
        return await asyncio.shield(self._ended)

    def send(self, number: signal.Signals) -> None:
        if not self.has_ended:
            self._process.send_signal(number)

    async def stop(self, number: signal.Signals, *, patience_s: float) -> bool:
        """Send the signal, wait, and kill what does not end; False when it had to be killed."""
        self.send(number)
        try:
            await asyncio.wait_for(self.wait(), patience_s)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.wait()
            return False
        return True

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._watch)
        os.close(self._watch)
        self._ended.set_result(self._process.wait())


def spawn(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Child:
    """Start the (already leashed) command in a session of its own: Ctrl-C in a terminal is for us alone."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own words
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
        )
    return Child(process)


def describe_exit(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
