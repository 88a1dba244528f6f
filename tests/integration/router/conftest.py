"""Cells that stand in for real ones, and routers in front of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest, running_router
from signed_directory import DirectoryServer, Signer
from stand_in_cell import Script, StandInCell


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
async def new_cell() -> AsyncIterator[NewCell]:
    started: list[StandInCell] = []

    async def start(cell_id: str, script: Script | None = None) -> StandInCell:
        cell = StandInCell(cell_id, script)
        await cell.start()
        started.append(cell)
        return cell

    yield start
    for cell in started:
        await cell.kill()


@pytest.fixture
def data_plane(request: pytest.FixtureRequest) -> str:
    """Who serves the vendors; tests that hold for both are marked `both_data_planes`."""
    return str(getattr(request, "param", "python"))


@pytest.fixture
async def new_router(tmp_path: Path, signer: Signer, data_plane: str) -> AsyncIterator[NewRouter]:
    async with AsyncExitStack() as running:

        async def start(**members: Any) -> RouterUnderTest:
            members.setdefault("data_plane", data_plane)
            return await running.enter_async_context(running_router(tmp_path, signer, **members))

        yield start


@pytest.fixture
async def publisher() -> AsyncIterator[DirectoryServer]:
    server = DirectoryServer()
    await server.start()
    yield server
    await server.stop()
