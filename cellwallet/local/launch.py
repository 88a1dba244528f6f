"""Starts a platform in the background and listens until it is ready: `up --detach`.

The background process is `up` itself, told a file descriptor to report its events to, one JSON line each; the last
line of a start is the event `ready` or `failed` of the platform.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from cellwallet.local.app import Event, Tell
from cellwallet.local.folder import DataFolder
from cellwallet.local.programs import module_command, our_code

PLATFORM = "platform"
LOG_TAIL_LINES = 15


class PlatformMustStartError(Exception):
    """The background process ended, or said why it cannot start."""


def launch(arguments: list[str], *, data: Path, tell: Tell) -> None:
    """Run `cellwallet up ARGUMENTS` in the background and tell its events until it is ready.

    Raises:
        PlatformMustStartError: it did not become ready; it has ended.

    """
    folder = DataFolder(data)
    folder.logs.mkdir(parents=True, exist_ok=True)
    ours, theirs = os.pipe()
    with os.fdopen(ours) as reports:
        process = _start([*arguments, "--report-fd", str(theirs)], log=folder.log("supervisor"), report_fd=theirs)
        os.close(theirs)
        try:
            _tell_until_ready(reports, tell, folder)
        except BaseException:  # Ctrl-C too: a start that nobody waits for ends
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        process.returncode = 0  # it lives on, and is nobody's child to wait for


def _start(arguments: list[str], *, log: Path, report_fd: int) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - ourselves
            module_command("cellwallet", "up", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, **our_code()},
            start_new_session=True,
            pass_fds=[report_fd],
        )


def _tell_until_ready(reports: IO[str], tell: Tell, folder: DataFolder) -> None:
    for event in _events(reports):
        if event.name == PLATFORM and event.state == "failed":
            raise PlatformMustStartError(event.detail)
        tell(event)
        if event.name == PLATFORM and event.state == "ready":
            return
    tail = folder.log("supervisor").read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    raise PlatformMustStartError("the platform ended before it was ready\n" + "\n".join(tail))


def _events(reports: IO[str]) -> Iterator[Event]:
    for line in reports:
        yield Event(**json.loads(line))


def reporter(report_fd: int) -> Tell:
    """The other end: writes events for as long as somebody listens."""

    def tell(event: Event) -> None:
        with suppress(OSError):  # nobody listens any more, as is usual once ready
            os.write(report_fd, json.dumps(asdict(event)).encode() + b"\n")

    return tell
