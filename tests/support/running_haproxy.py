"""A HAProxy started from an agent's files, as the supervisor starts it."""

import asyncio
import http.client
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cellwallet.local.haproxy import HaproxyMustBeInstalledError, haproxy_command, haproxy_program

DEADLINE_S = 20.0


def _program() -> Path | None:
    try:
        return haproxy_program()
    except HaproxyMustBeInstalledError:
        return None


PROGRAM = _program()

needs_haproxy = pytest.mark.skipif(PROGRAM is None, reason="haproxy is not installed: apt-get install haproxy")
both_data_planes = pytest.mark.parametrize(
    "data_plane", ["python", pytest.param("haproxy", marks=needs_haproxy)], indirect=True
)
only_haproxy = pytest.mark.parametrize("data_plane", [pytest.param("haproxy", marks=needs_haproxy)], indirect=True)


class RunningHaproxy:
    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """As soon as there are files; returns when it answers."""
        await self._until((self.folder / "haproxy.cfg").exists)
        assert PROGRAM is not None
        with (self.folder / "haproxy.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *haproxy_command(PROGRAM, self.folder), stdout=log, stderr=log
            )
        await self._until(self._answers)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def pause(self) -> None:
        """The master answers nothing any more; its worker serves on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        return (self.folder / "haproxy.log").read_text()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    async def _until(self, holds: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + DEADLINE_S
        while not await asyncio.to_thread(holds):
            ended = self._process is not None and self._process.returncode is not None
            assert not ended, self.log
            assert time.monotonic() < give_up_at, "HAProxy does not answer"
            await asyncio.sleep(0.01)
