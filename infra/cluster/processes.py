"""The processes of one local cluster: started on a leash, watched while they are waited for, ended by us alone.

Knows nothing of Kubernetes.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cellwallet.local.identity import leashed

POLL_S = 0.1
STOP_PATIENCE_S = 15.0
LOG_TAIL_LINES = 15


class ProgramMustRunError(Exception):
    """A program ended, or did not become ready; the message ends with what it said last."""


class Program:
    """One process, whose output is appended to its log."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None or self._process.poll() is not None:
            raise ProgramMustRunError(f"{self.name} is not running")
        return self._process.pid

    def start(self, environment: Mapping[str, str]) -> None:
        """It is killed by the kernel when the thread that starts it ends, however that comes about."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                leashed(self._command, parent_signal=signal.SIGKILL, parent_pid=os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.log.parent,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C in a terminal is for us alone
            )

    def wait_until(self, is_ready: Callable[[], bool], *, deadline: float, what: str) -> None:
        """Poll while it runs.

        Raises:
            ProgramMustRunError: it ended, or the deadline (of `time.monotonic`) passed.

        """
        while not is_ready():
            if self._process is None or self._process.poll() is not None:
                raise ProgramMustRunError(f"{self.name} ended before it was {what}:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise ProgramMustRunError(f"{self.name} was not {what} in time:\n{self.last_words()}")
            time.sleep(POLL_S)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """Ask, wait, and kill what does not end; the process is gone afterwards."""
        if self._process is None:
            return
        self.send(signal.SIGTERM)
        try:
            self._process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._process.wait()

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
