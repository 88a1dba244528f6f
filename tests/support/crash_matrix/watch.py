"""Looks at the cells' own rows, the directory and the router again and again while a run goes on."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Self

import httpx
import psycopg
from crash_matrix.witness import Look, UnitSeen, Witness
from faults.whole_platform import WholePlatform
from history.model import Finding

PERIOD_S = 0.1
TIMEOUT_S = 2
UNITS = "SELECT unit, state, epoch FROM unit_state WHERE unit = ANY(%s)"
DIRECTORY = "SELECT max(version) FROM directories"
DIRECTORY_UNITS = "SELECT unit, epoch FROM units WHERE unit = ANY(%s)"


class Watch:
    def __init__(self, platform: WholePlatform, units: Sequence[int]) -> None:
        self.findings: list[Finding] = []
        self.witness = Witness()
        self._platform = platform
        self._units = list(units)
        self._connections: dict[str, psycopg.AsyncConnection[Any]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for connection in self._connections.values():
            await connection.close()

    async def look(self) -> Look:
        """Without the cells whose database does not answer."""
        seen: dict[str, dict[int, UnitSeen]] = {}
        for cell, url in self._platform.databases.items():
            rows = await self._ask(url, UNITS, (self._units,))
            if rows is not None:
                seen[cell] = {unit: UnitSeen(state=state, epoch=epoch) for unit, state, epoch in rows}
        return seen

    async def _run(self) -> None:
        directory_url = self._platform.stack.control_plane.database_url
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            while True:
                self.findings += self.witness.saw_units(await self.look())
                if directory_url is not None:
                    await self._look_at_directory(directory_url)
                await self._look_at_router(client)
                await asyncio.sleep(PERIOD_S)

    async def _look_at_directory(self, url: str) -> None:
        dsn = url.replace("postgresql+psycopg", "postgresql")
        for (version,) in await self._ask(dsn, DIRECTORY, ()) or ():
            self.findings += self.witness.saw_number("the directory's version", version)
        for unit, epoch in await self._ask(dsn, DIRECTORY_UNITS, (self._units,)) or ():
            self.findings += self.witness.saw_number(f"the directory's epoch of unit {unit}", epoch)

    async def _look_at_router(self, client: httpx.AsyncClient) -> None:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = await client.get(f"{self._platform.stack.router_url}/readyz")
            if answer.status_code == 200:
                version = answer.json()["directory_version"]
                self.findings += self.witness.saw_number("the router's directory", version)

    async def _ask(self, url: str, question: Any, parameters: Sequence[Any]) -> list[tuple[Any, ...]] | None:
        try:
            if url not in self._connections:
                self._connections[url] = await psycopg.AsyncConnection.connect(
                    url, autocommit=True, connect_timeout=TIMEOUT_S
                )
            async with asyncio.timeout(TIMEOUT_S):
                return await (await self._connections[url].execute(question, parameters)).fetchall()
        except (psycopg.Error, TimeoutError, OSError):
            broken = self._connections.pop(url, None)
            if broken is not None:
                await broken.close()
            return None
