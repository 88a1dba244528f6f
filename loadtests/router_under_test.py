"""A router in front of the cell under test, embedded or HAProxy, with a full map and nobody to ask.

It starts from a signed directory on its disk, as a real one does without its control plane.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import cellwallet
from cellwallet.local.haproxy import haproxy_command
from cellwallet.local.identity import leashed
from cellwallet.local.keys import CONTROL_PLANE_KEY_ID
from cellwallet.local.ports import HOST, Ports
from cellwallet.local.probe import get
from cellwallet.local.processes import PROC
from cellwallet.local.programs import quiet_environment
from contract.directory import ApiInstance, DirectoryCell, DirectoryDocument
from contract.signing import sign
from contract.slots import SLOTS
from contract.values import value
from loadtests.cell_under_test import CELL, ZONE, CellUnderTest
from loadtests.load import Target

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.01


class RouterMustStartError(Exception):
    """A process of the router ended or was not ready in time; the message ends with what it logged."""


@value
class RouterUnderTest:
    target: Target
    pid: int
    pids: tuple[int, ...]
    """Of everything that passes requests on, HAProxy's workers included."""


@contextmanager
def router_under_test(cell: CellUnderTest, folder: Path, *, haproxy: Path | None = None) -> Iterator[RouterUnderTest]:
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True)
    (state / "directory.json").write_text(json.dumps(_directory(cell)))
    ports = Ports(folder / "ports.json")
    port, agent_port = ports.claim("router"), ports.claim("agent")
    environment = {
        "PYTHONPATH": str(Path(cellwallet.__file__).parent.parent),
        "ROUTER_ID": "bench",
        "ROUTER_ZONE": ZONE,
        "ROUTER_HOST": HOST,
        "ROUTER_PORT": str(port if haproxy is None else agent_port),
        **({} if haproxy is None else {"ROUTER_HAPROXY_PORT": str(port)}),
        "ROUTER_ADMIN_PORT": str(ports.claim("router-admin")),
        "ROUTER_CONTROL_PLANE_JWKS_FILE": str(cell.keys.control_plane_jwks_file),
        "ROUTER_STATE_DIR": str(state),
    }
    started: list[subprocess.Popen[bytes]] = []
    log = folder / "router.log"
    try:
        command = [sys.executable, "-P", "-m", "router"]
        started.append(
            _start(command, environment, log, ready_url=f"http://{HOST}:{environment['ROUTER_PORT']}/readyz")
        )
        if haproxy is not None:
            program = haproxy_command(haproxy, state / "haproxy")
            started.append(_start(program, {}, log, ready_url=f"http://{HOST}:{port}/readyz"))
        pids = tuple(pid for process in started for pid in family_of(process.pid))
        yield RouterUnderTest(target=Target(port=port), pid=started[0].pid, pids=pids)
    finally:
        _end(started[::-1])


def family_of(pid: int) -> tuple[int, ...]:
    """The process and its children, as they are now."""
    try:
        children = (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return (pid,)
    return (pid, *map(int, children))


def _directory(cell: CellUnderTest) -> dict[str, object]:
    """A full map: all slots, of one cell."""
    api = tuple(ApiInstance(url=f"http://{one.target.host}:{one.target.port}", zone=ZONE) for one in cell.apis)
    document = DirectoryDocument(
        version=1,
        issued_at=datetime.now(UTC).isoformat(),
        cells={CELL: DirectoryCell(api=api, state="active")},
        slots=((SLOTS, CELL),),
    )
    return dict(sign(document.model_dump(mode="json"), key_id=CONTROL_PLANE_KEY_ID, key=cell.keys.control_plane))


def _start(
    command: Sequence[str], environment: dict[str, str], log: Path, *, ready_url: str
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own words
            leashed([*command], parent_signal=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=quiet_environment(environment),
            start_new_session=True,
        )
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while (answer := get(ready_url)) is None or answer.status != 200:
        if process.poll() is not None or time.monotonic() > deadline_s:
            _end([process])
            raise RouterMustStartError(f"{ready_url} was not ready\n{log.read_text(errors='replace')[-2_000:]}")
        time.sleep(POLL_S)
    return process


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
