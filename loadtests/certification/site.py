"""Where a cell is measured: one of its own, made for the purpose, or a cell of the platform that runs here.

Only ever on 127.0.0.1, and only processes that are known to be the cell's or its platform's router. A running cell's
own capacity would bound what is measured, so it is lifted meanwhile and is always put back.
"""

import ipaddress
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from cellwallet.local.haproxy import HaproxyMustBeInstalledError, haproxy_program
from cellwallet.local.keys import load_keys
from cellwallet.local.postgres import Cluster, ClusterSettings
from cellwallet.local.processes import PROC
from cellwallet.local.stack import CellEntry, Stack, read_stack
from contract.certificate import DataPlane, Subject, Topology
from contract.directory import DirectoryDocument
from contract.scopes import VENDOR_SCOPES
from contract.slots import slot_of
from contract.values import value
from loadtests.cell_under_test import CellUnderTest, cell_under_test
from loadtests.checks import check_audit
from loadtests.figures import Check
from loadtests.load import Target
from loadtests.payloads import wallet_of
from loadtests.router_under_test import family_of, router_under_test

TOKEN_S = 24 * 3_600
TIMEOUT_S = 10.0
LIFT_TIMEOUT_S = 30.0
POLL_S = 0.05


class SiteMustBeUsableError(Exception):
    """There is no such cell here, or it must not be loaded; the message says why."""


class RouterMustBeThereError(Exception):
    """There is no such router at a site; the message says why."""


@value
class Door:
    """Where a load enters, and the processes that work for it besides the database's."""

    targets: tuple[Target, ...]
    pids: tuple[int, ...]


class Site(Protocol):
    """A cell that can be loaded, whole or without one of its API processes, directly or through a router."""

    subject: Subject
    database_url: str
    cluster_folder: Path

    @property
    def door(self) -> Door: ...

    def router(self, data_plane: DataPlane) -> AbstractContextManager[Door]:
        """Raises `RouterMustBeThereError`."""

    def topology(self) -> Topology: ...

    def degrade(self) -> None:
        """From now on without its last API process."""

    def vendor_token(self, vendor: str) -> str: ...

    def owners(self, count: int) -> list[str]:
        """Whose wallets are this cell's."""

    def audit(self) -> tuple[Check, ...]:
        """The cell's own, after everything."""


class OwnCell:
    """Made by `own_cell`."""

    def __init__(self, cell: CellUnderTest, name: str, folder: Path) -> None:
        self.subject = Subject(kind="cell", id=name, software_version=version("cellwallet"))
        self.database_url = cell.database_url
        self.cluster_folder = cell.cluster.data_folder
        self._cell = cell
        self._folder = folder

    @property
    def door(self) -> Door:
        return Door(targets=self._cell.targets, pids=tuple(api.pid for api in self._cell.apis))

    @contextmanager
    def router(self, data_plane: DataPlane) -> Iterator[Door]:
        try:
            program = haproxy_program() if data_plane == "haproxy" else None
        except HaproxyMustBeInstalledError as error:
            raise RouterMustBeThereError(str(error)) from error
        with router_under_test(self._cell, self._folder / data_plane, haproxy=program) as router:
            yield Door(targets=(router.target,), pids=(*self.door.pids, *router.pids))

    def topology(self) -> Topology:
        return Topology(api_processes=len(self._cell.apis))

    def degrade(self) -> None:
        self._cell.stop_api(self._cell.apis[-1])

    def vendor_token(self, vendor: str) -> str:
        return self._cell.vendor_token(vendor)

    def owners(self, count: int) -> list[str]:
        return [f"owner {number}" for number in range(count)]

    def audit(self) -> tuple[Check, ...]:
        return (check_audit(self._cell.audit(is_full=True), is_full=True),)


class StackCell:
    """Made by `stack_cell`. Degraded, one of its processes gets no traffic, and the rest gets all of it."""

    def __init__(self, stack: Stack, entry: CellEntry, control_plane: httpx.Client) -> None:
        shown = _answer(control_plane.get(f"/v1/cells/{entry.id}"))
        self.subject = Subject(kind="cell", id=entry.id, software_version=shown["software_version"])
        self.database_url = entry.database_url
        self.cluster_folder = Path(f"/proc/{entry.pids.postgres}/cwd").readlink()
        self._apis = [(local_target(api.url), api.pid) for api in entry.api]
        self._router = local_target(stack.router_url)
        self._router_pids = stack.router.pids
        self._keys = load_keys(Path(stack.data) / "keys")
        signed = _answer(control_plane.get("/v1/directory"))
        signed.pop("signature", None)
        self._slot_cells = DirectoryDocument.model_validate(signed).slot_cells()

    @property
    def door(self) -> Door:
        return Door(targets=tuple(target for target, _ in self._apis), pids=tuple(pid for _, pid in self._apis))

    @contextmanager
    def router(self, data_plane: DataPlane) -> Iterator[Door]:
        """The platform's own; HAProxy is a process more, with the router as its agent."""
        serving: DataPlane = "haproxy" if len(self._router_pids) > 1 else "python"
        if data_plane != serving:
            raise RouterMustBeThereError(f"the platform's router is {serving}")
        pids = (pid for router in self._router_pids for pid in family_of(router))
        yield Door(targets=(self._router,), pids=(*self.door.pids, *pids))

    def topology(self) -> Topology:
        return Topology(api_processes=len(self._apis))

    def degrade(self) -> None:
        self._apis.pop()

    def vendor_token(self, vendor: str) -> str:
        return self._keys.issued_token(vendor, VENDOR_SCOPES, expires_in_s=TOKEN_S)

    def owners(self, count: int) -> list[str]:
        if self.subject.id not in self._slot_cells:
            raise SiteMustBeUsableError(f"{self.subject.id} owns no slot: no wallet can be opened there")
        names = (f"certified {number}" for number in itertools.count())
        owned = (name for name in names if self._slot_cells[slot_of(wallet_of(name))] == self.subject.id)
        return list(itertools.islice(owned, count))

    def audit(self) -> tuple[Check, ...]:
        """Conservation and chains are asked of its database; its background audit does the rest."""
        return ()


@contextmanager
def own_cell(name: str, *, processes: int, lanes: int, shared_buffers_mb: int) -> Iterator[OwnCell]:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="cellwallet-certify-")))
        folder.chmod(0o711)  # PostgreSQL may run as somebody else, who has to pass
        cluster = Cluster(folder / "postgres", settings=ClusterSettings(shared_buffers_mb=shared_buffers_mb))
        ending.callback(cluster.stop)
        cluster.start()
        cell = ending.enter_context(cell_under_test(cluster, folder / "cell", processes=processes, lanes=lanes))
        yield OwnCell(cell, name, folder)


@contextmanager
def stack_cell(data: Path, cell: str) -> Iterator[StackCell]:
    """Raises `StackMustExistError`, `KeysMustExistError`, `SiteMustBeUsableError`."""
    stack = read_stack(data)
    entry = next((one for one in stack.cells if one.id == cell), None)
    if entry is None:
        raise SiteMustBeUsableError(f"{cell} is none of {', '.join(one.id for one in stack.cells)}")
    for api in entry.api:
        must_be_ours(local_target(api.url), api.pid, {"CELL_ID": cell, "CELL_PORT": None})
    entrance = {"ROUTER_HAPROXY_PORT" if len(stack.router.pids) > 1 else "ROUTER_PORT": None}
    for pid in stack.router.pids[:1]:
        must_be_ours(local_target(stack.router_url), pid, entrance)
    with control_plane_of(stack) as control_plane:
        try:
            site = StackCell(stack, entry, control_plane)
            with _lifted(control_plane, cell):
                yield site
        except httpx.TransportError as error:
            raise SiteMustBeUsableError(f"the control plane does not answer ({error})") from error
        except FileNotFoundError as error:
            raise SiteMustBeUsableError(f"the platform of {data} is not running ({error})") from error


@contextmanager
def control_plane_of(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.tokens.operator}"}
    with httpx.Client(base_url=stack.control_plane_url, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        yield client


def local_target(url: str) -> Target:
    """Loads are for the machine that they are made on."""
    parts = urlsplit(url)
    try:
        is_local = ipaddress.ip_address(parts.hostname or "") == ipaddress.ip_address("127.0.0.1")
    except ValueError:
        is_local = False
    if parts.scheme != "http" or not is_local or parts.port is None:
        raise SiteMustBeUsableError(f"{url} is not on http://127.0.0.1: nothing else is ever loaded")
    return Target(port=parts.port)


def must_be_ours(target: Target, pid: int, settings: Mapping[str, str | None]) -> None:
    """A port says nothing of who listens: the process was started with these settings; None = the target's port."""
    try:
        pairs = (PROC / str(pid) / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError as error:
        raise SiteMustBeUsableError(f"the platform is not running: there is no process {pid} to look at") from error
    environment = dict(pair.partition("=")[::2] for pair in pairs)
    wanted = {name: str(target.port) if setting is None else setting for name, setting in settings.items()}
    if any(environment.get(name) != setting for name, setting in wanted.items()):
        told = ", ".join(f"{name}={setting}" for name, setting in wanted.items())
        raise SiteMustBeUsableError(
            f"{target.host}:{target.port} is not ours: process {pid} was not started with {told}; "
            "nothing else is ever loaded"
        )


@contextmanager
def _lifted(control_plane: httpx.Client, cell: str) -> Iterator[None]:
    path = f"/v1/cells/{cell}/capacity"
    before = _answer(control_plane.get(path))
    if before["capacity_per_s"] is None:
        yield
        return
    _answer(control_plane.put(path, json={"capacity_per_s": None}))
    try:
        _wait_until_published(control_plane, cell)
        yield
    finally:
        present = _answer(control_plane.get(path))
        if present["capacity_per_s"] is None:
            _answer(control_plane.put(path, json=before["certificate"] or {"capacity_per_s": before["capacity_per_s"]}))


def _wait_until_published(control_plane: httpx.Client, cell: str) -> None:
    deadline_s = time.monotonic() + LIFT_TIMEOUT_S
    while _answer(control_plane.get(f"/v1/cells/{cell}/configuration"))["capacity_per_s"] is not None:
        if time.monotonic() > deadline_s:
            raise SiteMustBeUsableError(
                f"{cell} was not told within {LIFT_TIMEOUT_S:.0f} s that its capacity is lifted"
            )
        time.sleep(POLL_S)


def _answer(answer: httpx.Response) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    if not answer.is_success:
        raise SiteMustBeUsableError(f"{document.get('reason')}: {document.get('detail')}")
    return document
