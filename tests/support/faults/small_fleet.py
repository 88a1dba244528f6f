"""One or two cells, and perhaps a router, that serve from files alone: what most faults need, and quick to start.

Real processes on a real PostgreSQL under the platform's own supervisor, without a control plane: the signed directory
and configurations lie on disk before the start. Each program can be started as a mutant (mutants.py).
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from cell.store.migrate import migrate
from cell.store.units import UnitStore
from cellwallet.local.databases import CELL_APP, CELL_OWNER, provision_cell
from cellwallet.local.keys import CONTROL_PLANE_KEY_ID, LONG_S, Keys, ensure_keys
from cellwallet.local.parts import Database, Part, Service
from cellwallet.local.ports import HOST, Ports
from cellwallet.local.postgres import Cluster
from cellwallet.local.processes import processes_in
from cellwallet.local.supervisor import RunningPart, Supervisor
from contract.configuration import CellConfiguration, PublicKey
from contract.directory import ApiInstance, DirectoryCell, DirectoryDocument
from contract.fleet import FirstUnits
from contract.scopes import VENDOR_SCOPES
from contract.signing import PublicKeys, public_keys_of, sign
from contract.slots import SLOTS
from contract.values import value

REPOSITORY = Path(__file__).parents[3]
MUTANT_PROCESS = Path(__file__).with_name("mutant_process.py")
ISSUED_AT = "2027-01-15T08:00:00.000000Z"
READY_TIMEOUT_S = 90.0
POSTGRES, ROUTER = "postgres", "router"
SupervisorMade = Callable[[Callable[[RunningPart], None]], Supervisor]


@value
class Plan:
    """What the fleet consists of, and what is wrong with it."""

    cells: int = 1
    api_processes: int = 2
    has_router: bool = False
    """Without one, vendors send to all API processes in turn."""
    cell_mutant: str | None = None
    router_mutant: str | None = None
    cell_environment: tuple[tuple[str, str], ...] = ()
    router_environment: tuple[tuple[str, str], ...] = ()
    sabotage: str = ""
    """SQL that takes a protection of each cell's database away."""
    supervisor: SupervisorMade = Supervisor


class SmallFleet:
    """`Site` of a small fleet."""

    def __init__(self, plan: Plan, cluster: Cluster, folder: Path, *, name: str) -> None:
        self._plan = plan
        self._cluster = cluster
        self._folder = folder
        self._name = name
        self._keys: Keys = ensure_keys(folder / "keys")
        self._ports = Ports(folder / "ports.json")
        self._drawn: dict[str, int] = {}
        """Drawn once: a port that a process listens on is not free any more."""
        self.cells = tuple(f"cell-{number + 1}" for number in range(plan.cells))
        self._urls = {
            (cell, number): self._url(f"{cell}-api-{number + 1}")
            for cell in self.cells
            for number in range(plan.api_processes)
        }
        self.supervisor = plan.supervisor(lambda _: None)

    @property
    def entrances(self) -> tuple[str, ...]:
        return (self._url(ROUTER),) if self._plan.has_router else tuple(self._urls.values())

    @property
    def databases(self) -> Mapping[str, str]:
        return {cell: self._cluster.url(CELL_APP, self._database(cell)) for cell in self.cells}

    @property
    def token(self) -> str:
        return self._keys.issued_token("vendor", VENDOR_SCOPES, expires_in_s=LONG_S)

    def checkpoint_keys(self, cell: str) -> PublicKeys:
        return public_keys_of({"keys": [self._keys.cell_public_key(cell)]})

    def url_of(self, part: str) -> str:
        return self._url(part)

    def pids(self, part: str) -> tuple[int, ...]:
        main = self.supervisor.parts[part].pid
        if main is None:
            return ()
        if part != POSTGRES:
            return (main,)
        processes = processes_in(self._cluster.data_folder)
        return (main, *(process.pid for process in processes if process.pid != main))

    async def is_back(self, part: str, *, not_pid: int) -> bool:
        running = self.supervisor.parts[part]
        return running.state == "ready" and running.pid not in {None, not_pid}

    async def start(self) -> None:
        self._write_directory()
        self.supervisor.add(self._parts())
        await self.supervisor.wait_until_ready(timeout_s=READY_TIMEOUT_S)

    async def stop(self) -> None:
        """At once: a mutant may not be able to stop in order."""
        self.supervisor.stop_now()
        await self.supervisor.stop()

    def _parts(self) -> list[Part]:
        apis = [self._api(cell, number) for cell, number in self._urls]
        routers = [self._router()] if self._plan.has_router else []
        return [Database(name=POSTGRES, cluster=self._cluster, provision=self._provision), *apis, *routers]

    def _provision(self, cluster: Cluster) -> None:
        """Databases of cells that own their slots already."""
        for number, cell in enumerate(self.cells):
            database = self._database(cell)
            provision_cell(cluster, database=database)
            migrate(cluster.url(CELL_OWNER, database))
            first = FirstUnits(runs=(self._slots(number),))
            asyncio.run(UnitStore(cluster.url(CELL_APP, database), cell_id=cell).adopt_first(first))
            if self._plan.sabotage:
                cluster.run_script(self._plan.sabotage, database=database)

    def _api(self, cell: str, number: int) -> Service:
        name = f"{cell}-api-{number + 1}"
        environment = {
            "PYTHONPATH": str(REPOSITORY),
            "CELL_ID": cell,
            "CELL_ZONE": "a",
            "CELL_HOME_ZONE": "a",
            "CELL_HOST": HOST,
            "CELL_PORT": str(self._port(name)),
            "CELL_ADMIN_PORT": str(self._port(f"{name}-admin")),
            "CELL_DATABASE_URL": self.databases[cell],
            "CELL_CONTROL_PLANE_JWKS_FILE": str(self._keys.control_plane_jwks_file),
            "CELL_SIGNING_KEY_FILE": str(self._keys.cell_key_file(cell)),
            "CELL_ROUTER_URL": self._url(ROUTER) if self._plan.has_router else "",
            "CELL_STATE_DIR": str(self._state(name)),
            **dict(self._plan.cell_environment),
        }
        self._write_configuration(cell, self._state(name))
        return Service(
            name=name,
            command=_command(self._plan.cell_mutant, "cell", "serve"),
            environment=environment,
            log=self._folder / f"{name}.log",
            ready_url=f"{self._urls[cell, number]}/readyz",
            needs=(POSTGRES,),
        )

    def _router(self) -> Service:
        environment = {
            "PYTHONPATH": str(REPOSITORY),
            "ROUTER_ID": ROUTER,
            "ROUTER_ZONE": "a",
            "ROUTER_HOST": HOST,
            "ROUTER_PORT": str(self._port(ROUTER)),
            "ROUTER_ADMIN_PORT": str(self._port(f"{ROUTER}-admin")),
            "ROUTER_CONTROL_PLANE_JWKS_FILE": str(self._keys.control_plane_jwks_file),
            "ROUTER_STATE_DIR": str(self._state(ROUTER)),
            **dict(self._plan.router_environment),
        }
        return Service(
            name=ROUTER,
            command=_command(self._plan.router_mutant, "router"),
            environment=environment,
            log=self._folder / f"{ROUTER}.log",
            ready_url=f"{self._url(ROUTER)}/readyz",
        )

    def _write_configuration(self, cell: str, state: Path) -> None:
        configuration = CellConfiguration(
            cell=cell,
            version=1,
            issued_at=ISSUED_AT,
            jwks=json.loads(self._keys.issuer_jwks_file.read_text()),
            api_processes=self._plan.api_processes,
            peers={name: PublicKey.model_validate(self._keys.cell_public_key(name)) for name in self.cells},
        )
        self._write_signed(state / "configuration.json", configuration)

    def _write_directory(self) -> None:
        directory = DirectoryDocument(
            version=1,
            issued_at=ISSUED_AT,
            cells={
                cell: DirectoryCell(
                    api=tuple(
                        ApiInstance(url=url, zone="a") for (owner, _), url in self._urls.items() if owner == cell
                    ),
                    state="active",
                )
                for cell in self.cells
            },
            slots=tuple(
                (last - first + 1, cell)
                for cell, (first, last) in zip(self.cells, map(self._slots, range(len(self.cells))), strict=True)
            ),
        )
        self._write_signed(self._state(ROUTER) / "directory.json", directory)

    def _write_signed(self, file: Path, document: CellConfiguration | DirectoryDocument) -> None:
        signed = sign(document.model_dump(mode="json"), key_id=CONTROL_PLANE_KEY_ID, key=self._keys.control_plane)
        file.write_text(json.dumps(signed))

    def _slots(self, number: int) -> tuple[int, int]:
        return number * SLOTS // self._plan.cells, (number + 1) * SLOTS // self._plan.cells - 1

    def _state(self, process: str) -> Path:
        folder = self._folder / "state" / process
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _port(self, name: str) -> int:
        if name not in self._drawn:
            self._drawn[name] = self._ports.claim(name)
        return self._drawn[name]

    def _url(self, name: str) -> str:
        return f"http://{HOST}:{self._port(name)}"

    def _database(self, cell: str) -> str:
        return f"{self._name}_{cell}".replace("-", "_")


@contextlib.asynccontextmanager
async def small_fleet(plan: Plan, cluster: Cluster, folder: Path, *, name: str) -> AsyncIterator[SmallFleet]:
    """Runs while the context lasts; the cluster is kept for the next one, with other databases."""
    fleet = SmallFleet(plan, cluster, folder, name=name)
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.stop()


def _command(mutant: str | None, *module: str) -> tuple[str, ...]:
    if mutant is None:
        return (sys.executable, "-P", "-m", *module)
    return (sys.executable, "-P", str(MUTANT_PROCESS), mutant, *module)
