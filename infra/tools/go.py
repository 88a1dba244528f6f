"""The `go` command: which one it is, and running it so that an end of ours, whatever its reason, is its end too.

Knows nothing of which programs there are.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from contract.values import value
from infra.tools.planning import Toolchain

PATIENCE_S = 10.0
"""How long an interrupted Go may take to remove its work folder."""


class GoMustBeInstalledError(Exception):
    """There is no usable `go` command."""


class TimeIsOverError(Exception):
    """The command did not end in the time that it was given."""


@value
class Finished:
    exit_code: int
    seconds: float
    peak_bytes: int
    """Of the largest of its processes."""


def go_environment(outer: Mapping[str, str], *, work: Path | None = None) -> dict[str, str]:
    """Proxy, caches and sums as the user has them; what changes a binary as we have it.

    Only the installed Go: another toolchain is never downloaded in passing. No C: binaries run on any Linux.
    """
    ours = {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    return {**outer, **ours} | ({} if work is None else {"GOTMPDIR": str(work)})


def find_toolchain(outer: Mapping[str, str]) -> Toolchain:
    """Ask `go` what it is.

    Raises:
        GoMustBeInstalledError: there is none, or it does not answer.

    """
    program = shutil.which("go", path=outer.get("PATH"))
    if program is None:
        raise GoMustBeInstalledError("go must be installed and on the PATH: the tools are built from Go modules")
    words = [program, "env", "GOVERSION", "GOOS", "GOARCH"]
    answer = subprocess.run(words, env=go_environment(outer), capture_output=True, text=True, check=False)  # noqa: S603 - found on the PATH
    lines = answer.stdout.split()
    if answer.returncode != 0 or len(lines) != 3:
        raise GoMustBeInstalledError(f"{program} must work; `go env` said: {answer.stderr.strip() or answer.stdout!r}")
    return Toolchain(version=lines[0], system=f"{lines[1]}/{lines[2]}")


def run_go(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    seconds_max: float | None = None,
) -> Finished:
    """Run it in the folder and tell each line that it says, as it says it.

    Raises:
        TimeIsOverError: it was ended because the time was over.

    """
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own words
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for us alone; we pass it on, and wait until all of it is gone
    )
    limit = _Limit(process, seconds_max)
    try:
        for line in process.stdout or ():
            tell(line.rstrip("\n"))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        limit.lift()
        _end(process)
    if limit.is_over and process.returncode != 0:
        raise TimeIsOverError
    return Finished(exit_code=process.returncode, seconds=time.monotonic() - began, peak_bytes=usage.ru_maxrss * 1024)


class _Limit:
    """Ends the process from a thread of its own, because we only hear of the process when it says something."""

    def __init__(self, process: subprocess.Popen[str], seconds_max: float | None) -> None:
        self._process = process
        self._seconds_max = seconds_max
        self._has_ended = threading.Event()
        self.is_over = False
        threading.Thread(target=self._watch, daemon=True).start()

    def lift(self) -> None:
        self._has_ended.set()

    def _watch(self) -> None:
        if self._has_ended.wait(self._seconds_max):
            return
        self.is_over = True
        _signal(self._process, signal.SIGINT)
        if not self._has_ended.wait(PATIENCE_S):
            _signal(self._process, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    """An interrupt first: Go removes its work folder then; the compilers are in the same group, and die of it."""
    if process.returncode is None:
        _signal(process, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        _signal(process, signal.SIGKILL)  # to those of the group that did not hear the interrupt
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
