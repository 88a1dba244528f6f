"""A conversation with HAProxy's master process over its socket: which workers there are, and a command for one of them.

Knows the protocol and no maps. Each question is a connection of its own: the master may be another one by now.
"""

import asyncio
import os
import re
import socket
from pathlib import Path

from contract.values import value

SOCKET = "master.sock"
ANSWER_TIMEOUT_S = 3.0
BATCH = 100
"""Commands in one line; a line must fit into HAProxy's buffer of 32 KiB."""

_WORKER = re.compile(r"(\d+)\s+worker\s+(\d+)\s")


class HaproxyMustAnswerError(Exception):
    """It runs and does not do as it is told."""


class HaproxyMustRunError(Exception):
    """Nobody listens: nothing is served by an old map either."""


@value
class Worker:
    pid: int
    reloads: int
    """How often the master has been reloaded since this one was started; 0 = it is the present one."""


class Master:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def worker(self) -> Worker:
        """The present one; others only end what they have begun.

        Raises:
            HaproxyMustRunError: there is none.
            HaproxyMustAnswerError: the master is silent.

        """
        shown = await self._ask("show proc")
        workers = [Worker(pid=int(pid), reloads=int(reloads)) for pid, reloads in _WORKER.findall(shown)]
        if not workers:
            raise HaproxyMustRunError("the master has no worker")
        return min(workers, key=lambda worker: worker.reloads)

    async def tell(self, worker: Worker, *commands: str) -> str:
        """Its answers, joined; an empty text where every command was followed without a word."""
        answers = []
        for first in range(0, len(commands), BATCH):
            batch = commands[first : first + BATCH]
            answers.append(await self._ask(";".join(f"@!{worker.pid} {command}" for command in batch)))
        return "".join(answers).strip()

    async def reload(self) -> None:
        await self._ask("reload")

    async def _ask(self, line: str) -> str:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._exchange(line)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise HaproxyMustRunError(str(error)) from error
        except (OSError, TimeoutError) as error:
            raise HaproxyMustAnswerError(f"{type(error).__name__}: {error}") from error

    async def _exchange(self, line: str) -> str:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(0)  # asyncio does the waiting
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # By the folder's descriptor: a Unix socket's address has room for 107 bytes, and paths may be longer.
            await asyncio.get_running_loop().sock_connect(connection, f"/proc/self/fd/{folder}/{SOCKET}")
        except BaseException:
            connection.close()
            raise
        finally:
            os.close(folder)
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=2**24)
        try:
            writer.write(f"{line}\n".encode())
            writer.write_eof()
            return (await reader.read()).decode()
        finally:
            writer.close()
