"""The router as a process of its own: what an operator does to it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from router_under_test import NewCell, wait_until
from signed_directory import Signer, directory_document, wallet_in
from stand_in_cell import Reply, Seen

ROOT = Path(__file__).parents[3]


class Process:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), timeout=20)


def write_map(environment: dict[str, str], raw: bytes) -> None:
    state_dir = Path(environment["ROUTER_STATE_DIR"])
    state_dir.mkdir()
    (state_dir / "directory.json").write_bytes(raw)


Start = Callable[[], Awaitable[Process]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path, signer: Signer) -> dict[str, str]:
    (tmp_path / "jwks.json").write_bytes(signer.jwks)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "ROUTER_ID": "router-1",
        "ROUTER_ZONE": "zone-1",
        "ROUTER_STATE_DIR": str(tmp_path / "state"),
        "ROUTER_CONTROL_PLANE_JWKS_FILE": str(tmp_path / "jwks.json"),
        "ROUTER_CONTROL_PLANE_URL": "http://127.0.0.1:9",
        "ROUTER_CONTROL_PLANE_TOKEN": "s3cret",
    }


@pytest.fixture
async def start(environment: dict[str, str]) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def run() -> Process:
        port = free_port()
        ports = {"ROUTER_PORT": str(port), "ROUTER_ADMIN_PORT": str(free_port())}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", env=environment | ports, stdout=asyncio.subprocess.DEVNULL
        )
        started.append(Process(process, port))
        async with httpx.AsyncClient(trust_env=False) as client:
            await wait_until_answered(client, started[-1])
        return started[-1]

    yield run
    for process in started:
        if process.process.returncode is None:
            process.process.kill()
            await process.process.wait()


async def wait_until_answered(client: httpx.AsyncClient, process: Process) -> None:
    for _ in range(2_000):
        assert process.process.returncode is None, "the router has ended"
        try:
            await client.get(f"{process.url}/healthz")
        except httpx.ConnectError:
            await asyncio.sleep(0.01)
        else:
            return
    pytest.fail("the router does not listen")


async def test_killed_and_started_again_without_a_control_plane(
    start: Start, new_cell: NewCell, environment: dict[str, str], signer: Signer
) -> None:
    cell = await new_cell("a")
    document = directory_document({"a": [cell.url]})
    write_map(environment, signer.signed(document))
    path = f"/v1/wallets/{wallet_in(document, 'a')}"
    for _ in range(2):
        process = await start()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{process.url}{path}")).json()["cell"] == "a"
        assert await process.stop(signal.SIGKILL) == -signal.SIGKILL


async def test_a_stop_lets_requests_finish(
    start: Start, new_cell: NewCell, environment: dict[str, str], signer: Signer
) -> None:
    release = asyncio.Event()

    async def wait(_seen: Seen) -> Reply:
        await release.wait()
        return Reply(document={"done": True})

    cell = await new_cell("a", wait)
    document = directory_document({"a": [cell.url]})
    write_map(environment, signer.signed(document))
    process = await start()
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        asked = asyncio.create_task(client.get(f"{process.url}/v1/wallets/{wallet_in(document, 'a')}"))
        await wait_until(lambda: cell.in_flight == 1)
        process.process.send_signal(signal.SIGTERM)
        await wait_until_refused(process)
        release.set()
        answer = await asked
    assert (answer.status_code, answer.json(), answer.headers["connection"]) == (200, {"done": True}, "close")
    assert await asyncio.wait_for(process.process.wait(), timeout=20) == 0


async def wait_until_refused(process: Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(1_000):
            try:
                await client.get(f"{process.url}/readyz")
            except httpx.ConnectError:
                return
            except httpx.TransportError:
                pass  # the listening socket was closed before this connection was accepted
            await asyncio.sleep(0.01)
    pytest.fail("the router goes on listening")


async def test_settings_that_are_not_valid_end_it_at_once(environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", env={**environment, "ROUTER_PORT": "s3cret"}, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await asyncio.wait_for(process.communicate(), timeout=20)
    assert process.returncode == 2
    assert b"port" in complaint
    assert b"s3cret" not in complaint
