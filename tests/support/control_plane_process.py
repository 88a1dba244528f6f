"""`python -m control_plane` as a process of its own, to be killed."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from platform_keys import PlatformKeys
from running_platform import RunningPlatform, until

ROOT = Path(__file__).parents[2]


class ControlPlaneProcess(RunningPlatform):
    def __init__(self, process: asyncio.subprocess.Process, keys: PlatformKeys, client: httpx.AsyncClient) -> None:
        super().__init__(None, keys, client)
        self.process = process

    async def kill(self) -> None:
        """As the machine does it when power fails: no farewell."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@asynccontextmanager
async def control_plane_process(
    database_url: str, keys: PlatformKeys, log: Path, *, variables: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[ControlPlaneProcess]:
    """Ready when it begins, gone when it ends. `variables` that are no settings of it."""
    port = free_port()
    environment = environment_of(database_url, keys, port=port, **settings) | dict(variables or {})
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "control_plane", "serve", cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            running = ControlPlaneProcess(process, keys, client)
            await until(lambda: _is_ready(running))
            yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def environment_of(database_url: str, keys: PlatformKeys, **settings: Any) -> dict[str, str]:
    named = {
        "DATABASE_URL": database_url,
        "SIGNING_KEY_FILE": keys.signing_key_file,
        "ISSUER_JWKS_FILE": keys.issuer_jwks_file,
        **{name.upper(): setting for name, setting in settings.items()},
    }
    return {f"CONTROL_PLANE_{name}": str(setting) for name, setting in named.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _is_ready(running: ControlPlaneProcess) -> bool:
    assert running.process.returncode is None, "the control plane ended before it was ready"
    try:
        return (await running.client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
