"""The whole platform as people run it: `cellwallet up` as a child of the tests, and the other verbs against it."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from cellwallet.__main__ import app
from cellwallet.local.identity import leashed
from cellwallet.local.stack import Stack, read_stack, stack_path

READY_TIMEOUT_S = 150.0
END_TIMEOUT_S = 60.0
POLL_S = 0.05
REPOSITORY = Path(__file__).parents[2]


class LocalPlatform:
    def __init__(self, data: Path) -> None:
        self.data = data

    @property
    def stack(self) -> Stack:
        return read_stack(self.data)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A verb of the command line, under way in a process of its own."""
        return subprocess.Popen(
            [*_command(*arguments), "--data", str(self.data)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, exit_code: int = 0) -> Result:
        """A verb of the command line, done, in this process; its exit code must be as expected."""
        result = CliRunner().invoke(app, [*arguments, "--data", str(self.data)])
        told = f"{result.stdout}\n{result.stderr}"
        assert result.exit_code == exit_code, f"{arguments}: exit code {result.exit_code}\n{told}\n{result.exception!r}"
        return result

    def run_json(self, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run(*arguments, "--json", exit_code=exit_code).stdout)
        return document


@contextmanager
def local_platform(
    data: Path, *, cells: int = 2, api_processes: int = 1, router: str = "python"
) -> Iterator[LocalPlatform]:
    """Runs until the block ends; dies with the tests if they are killed."""
    options = [
        "--router",
        router,
        "--cells",
        str(cells),
        "--api-processes",
        str(api_processes),
        "--shared-buffers-mb",
        "32",
    ]
    command = leashed(
        _command("up", "--data", str(data), "--port", str(_free_port()), *options), parent_signal=signal.SIGTERM
    )
    log = data.with_suffix(".log")
    with log.open("wb") as output, subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output) as up:
        try:
            _wait_until_ready(up, data, log)
            yield LocalPlatform(data)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(END_TIMEOUT_S)


def _wait_until_ready(up: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    ends_at_s = time.monotonic() + READY_TIMEOUT_S
    while not stack_path(data).exists():
        assert up.poll() is None, f"the platform ended before it was ready:\n{log.read_text()}"
        assert time.monotonic() < ends_at_s, f"not ready within {READY_TIMEOUT_S:.0f} s:\n{log.read_text()}"
        time.sleep(POLL_S)


def _free_port() -> int:
    """Leaves 8080 to people."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cellwallet", *arguments]
