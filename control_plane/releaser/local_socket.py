"""The Unix socket of the `cellwallet up` that runs the cells of one machine: one JSON line each way.

Each question is bounded in time and never raises for a platform that is gone: that is an observation.
"""

import asyncio
import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from contract.workloads import WorkloadsRefused
from control_plane.fleet.model import Unreachable
from control_plane.releaser.substrate import CALL_TIMEOUT_S, NotTaken

ANSWER_MAX_BYTES = 1_048_576

Answer = TypeVar("Answer", bound=BaseModel)


class LocalSocket:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, request: BaseModel, answer: type[Answer]) -> Answer | NotTaken | Unreachable:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                line = await self._converse(request.model_dump_json().encode() + b"\n")
            if not line:
                return Unreachable(detail="the platform of this machine ended while it was asked")
            try:
                return answer.model_validate_json(line)
            except ValidationError:
                return NotTaken(detail=WorkloadsRefused.model_validate_json(line).error)
        except (OSError, TimeoutError, ValueError) as error:
            return Unreachable(detail=f"the platform of this machine does not answer ({type(error).__name__})")

    async def _converse(self, line: bytes) -> bytes:
        # Through the folder, because a socket's own name must fit into 107 bytes.
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            path = f"/proc/self/fd/{folder}/{self._path.name}"
            reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_MAX_BYTES)
        finally:
            os.close(folder)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()
