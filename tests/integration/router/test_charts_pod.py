"""The pod of the chart `router` as processes: its own commands and environment, with other ports and folders.

Shows that the order of its containers is enough: what HAProxy starts from is there when the agent's probe says yes.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from charts import Object, example, needs_helm, of_kind, pod_of, render
from running_haproxy import PROGRAM, needs_haproxy
from signed_directory import Signer, directory_document

pytestmark = [needs_helm, needs_haproxy]

ROOT = Path(__file__).parents[3]
DEADLINE_S = 20.0


class Pod:
    """Not the kubelet: it does what its test tells it to, in that order."""

    def __init__(self, spec: Object, folder: Path, signer: Signer) -> None:
        (self._agent,), (self._haproxy,) = spec["initContainers"], spec["containers"]
        self._state = folder / "state"
        (folder / "jwks.json").write_bytes(signer.jwks)
        given = {one["name"]: one.get("value", "from-elsewhere") for one in self._agent["env"]}
        self.ports = {name: free_port() for name in ("ROUTER_PORT", "ROUTER_HAPROXY_PORT", "ROUTER_ADMIN_PORT")}
        changed = {
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_STATE_DIR": str(self._state),
            "ROUTER_CONTROL_PLANE_URL": "http://127.0.0.1:9",
            "ROUTER_CONTROL_PLANE_JWKS_FILE": str(folder / "jwks.json"),
            **{name: str(port) for name, port in self.ports.items()},
        }
        assert changed.keys() <= given.keys()
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **given, **changed}
        self.folder_of_chart = given["ROUTER_STATE_DIR"]
        self.running: list[asyncio.subprocess.Process] = []

    async def start_agent(self) -> asyncio.subprocess.Process:
        return await self._start([sys.executable, *self._agent["command"][1:]])

    async def start_haproxy(self) -> asyncio.subprocess.Process:
        assert PROGRAM is not None
        command = [text.replace(self.folder_of_chart, str(self._state)) for text in self._haproxy["command"]]
        assert command[0] == "haproxy"
        return await self._start([str(PROGRAM), *command[1:]])

    async def stop_hook(self, haproxy: asyncio.subprocess.Process) -> None:
        """The chart's, with the process where a container has its first one, and without the long sleep."""
        *shell, script = self._haproxy["lifecycle"]["preStop"]["exec"]["command"]
        assert script.startswith("sleep 12; ")
        assert script.count("1;") == 3
        script = script.removeprefix("sleep 12; ").replace("USR1 1;", f"USR1 {haproxy.pid};")
        script = script.replace("kill -0 1;", f"kill -0 {haproxy.pid};")
        hook = await asyncio.create_subprocess_exec(*shell, script, stderr=asyncio.subprocess.DEVNULL)
        # The process is ours to reap: until then `kill -0` finds it, and a container's end would have ended the hook.
        await asyncio.wait_for(haproxy.wait(), timeout=20)
        await asyncio.wait_for(hook.wait(), timeout=20)

    def url(self, container: str, probe: str) -> str:
        """Where the kubelet asks, by the names of ports that the chart gives."""
        spec = {"agent": self._agent, "haproxy": self._haproxy}[container]
        ports = {"vendors": "ROUTER_HAPROXY_PORT", "admin": "ROUTER_ADMIN_PORT"}
        asked = spec[probe]["httpGet"]
        return f"http://127.0.0.1:{self.ports[ports[asked['port']]]}{asked['path']}"

    def files(self) -> set[str]:
        return {path.name for path in (self._state / "haproxy").glob("*")}

    def has_map(self, raw: bytes) -> None:
        self._state.mkdir()
        (self._state / "directory.json").write_bytes(raw)

    async def _start(self, command: list[str]) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command, cwd="/", env=self.environment, stdout=asyncio.subprocess.DEVNULL
        )
        self.running.append(process)
        return process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def status(url: str) -> int | None:
    """None = nobody listens."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url, timeout=1)).status_code
        except httpx.HTTPError:
            return None


async def until_answered(url: str) -> None:
    give_up_at_s = time.monotonic() + DEADLINE_S
    while await status(url) != 200:
        assert time.monotonic() < give_up_at_s, f"{url} does not answer 200"
        await asyncio.sleep(0.01)


@pytest.fixture
async def pod(tmp_path: Path, signer: Signer) -> Any:
    spec = pod_of(of_kind(render("router", example("router", "three-zones")), "Deployment")[0])
    pod = Pod(spec, tmp_path, signer)
    yield pod
    for process in reversed(pod.running):
        if process.returncode is None:
            process.kill()
            await process.wait()


async def up(pod: Pod) -> asyncio.subprocess.Process:
    """As the kubelet: the sidecar, its startup probe, then the container and its own."""
    await pod.start_agent()
    await until_answered(pod.url("agent", "startupProbe"))
    assert {"haproxy.cfg", "slots.map", "wallets.map", "facts.map", "doubted.map"} <= pod.files()
    haproxy = await pod.start_haproxy()
    await until_answered(pod.url("haproxy", "startupProbe"))
    return haproxy


async def test_haproxy_finds_its_files_and_is_ready_with_a_map(pod: Pod, signer: Signer) -> None:
    pod.has_map(signer.signed(directory_document({"cell-1": ["http://127.0.0.1:9"]})))
    await up(pod)
    await until_answered(pod.url("haproxy", "readinessProbe"))
    for container in ("haproxy", "agent"):
        assert await status(pod.url(container, "livenessProbe")) == 200


async def test_without_a_map_it_is_alive_and_not_ready(pod: Pod) -> None:
    await up(pod)
    assert await status(pod.url("haproxy", "livenessProbe")) == 200
    assert await status(pod.url("haproxy", "readinessProbe")) == 503


async def test_the_hook_ends_haproxy_well_and_the_agent_after_it(pod: Pod) -> None:
    haproxy = await up(pod)
    await pod.stop_hook(haproxy)
    assert haproxy.returncode == 0
    assert await status(pod.url("haproxy", "livenessProbe")) is None
    agent = pod.running[0]
    assert agent.returncode is None
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(agent.wait(), timeout=40) == 0
