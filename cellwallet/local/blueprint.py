"""What a platform on one machine consists of: every process, its environment, and what it needs first.

Draws parts from keys, ports and members; starts nothing. The environments are those that the services'
`settings.py` read.
"""

import asyncio
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cellwallet.local.cell_pair import CellPair
from cellwallet.local.databases import (
    CELL_APP,
    CELL_DATABASE,
    CELL_OWNER,
    CONTROL_PLANE,
    provision_cell,
    provision_control_plane,
)
from cellwallet.local.failover import PLACES
from cellwallet.local.folder import DataFolder
from cellwallet.local.haproxy import haproxy_command
from cellwallet.local.keys import CONTROL_PLANE_KEY_ID, Keys
from cellwallet.local.members import ZONES, Member, Members
from cellwallet.local.pair_acts import PairActs
from cellwallet.local.pair_file import place_folder
from cellwallet.local.pair_watch import PairWatch
from cellwallet.local.parts import Condition, Database, Part, Service, Task
from cellwallet.local.ports import HOST, Ports
from cellwallet.local.postgres import Cluster, ClusterSettings
from cellwallet.local.probe import get
from cellwallet.local.programs import module_command, our_code
from cellwallet.local.releases import Launch, Releases
from contract.scopes import Scope
from contract.values import value

ROUTER, HAPROXY, CONTROL_PLANE_SERVICE, DIRECTORY = "router", "haproxy", "control-plane", "directory"
MOVER = "mover"
CONTROL_PLANE_DATABASE = f"{CONTROL_PLANE_SERVICE}-postgres"

# Requests enter at the router: whoever is nearer to the entrance stops first, so that nobody asks for who is gone.
# The mover leaves first: it finishes what it has fenced.
MOVER_RANK, HAPROXY_RANK, ROUTER_RANK, CELL_RANK, CONTROL_PLANE_RANK = 0, 1, 2, 3, 4

HAPROXY_PATIENCE_S = 6.0
"""Requests have a deadline of 5 s if they name none; connections that only idle would keep it for longer."""


@value
class ApiPlan:
    """One API process of a cell."""

    name: str
    zone: str
    port: int
    admin_port: int

    @property
    def url(self) -> str:
        return _url(self.port)

    @property
    def admin_url(self) -> str:
        return _url(self.admin_port)


class Blueprint:
    def __init__(
        self,
        *,
        folder: DataFolder,
        keys: Keys,
        ports: Ports,
        releases: Releases,
        router_port: int | None,
        databases: ClusterSettings,
        have_standbys: bool = False,
        haproxy: Path | None = None,
    ) -> None:
        """`haproxy`: the program that serves vendors; None = the router does.

        Raises:
            PairFileBrokenError: see there.

        """
        self._folder = folder
        self._keys = keys
        self._ports = ports
        self._releases = releases
        self._databases = databases
        self._api_plans: dict[str, tuple[ApiPlan, ...]] = {}
        """Drawn once: a port that a process listens on is not free any more."""
        self._clusters: dict[str, Cluster] = {}
        self._have_standbys = have_standbys
        self._pairs: dict[str, CellPair] = {}
        self._router_port = ports.claim(ROUTER, wanted=router_port)
        self._haproxy = haproxy
        self._agent_port = self._router_port if haproxy is None else ports.claim(f"{ROUTER}-agent")
        self._router_admin_port = ports.claim(f"{ROUTER}-admin")
        self._control_plane_port = ports.claim(CONTROL_PLANE_SERVICE)
        self._mover_port = ports.claim(MOVER)
        self._router_token = keys.machine_token(f"router:{ROUTER}", (Scope.FLEET_READ,))

    # Where things are.

    @property
    def router_url(self) -> str:
        return _url(self._router_port)

    @property
    def router_admin_url(self) -> str:
        return _url(self._router_admin_port)

    @property
    def control_plane_url(self) -> str:
        return _url(self._control_plane_port)

    @property
    def control_plane_database_url(self) -> str:
        return self._cluster(CONTROL_PLANE_DATABASE).url(CONTROL_PLANE, CONTROL_PLANE)

    def cell_database_url(self, member: Member, role: str = CELL_APP) -> str:
        pair = self.pair(member)
        if pair is not None:
            return pair.url(role, CELL_DATABASE)
        return self._cluster(database_name(member)).url(role, CELL_DATABASE)

    def primary_name(self, member: Member) -> str:
        """The part that runs the cell's primary at present."""
        pair = self.pair(member)
        return database_name(member) if pair is None else pair.name_of(pair.watch.pair.primary)

    def pair(self, member: Member) -> CellPair | None:
        """None = the cell has one database and never had another."""
        if member.id not in self._pairs and (self._have_standbys or self._folder.pair(member.id).exists()):
            self._pairs[member.id] = self._draw_pair(member)
        return self._pairs.get(member.id)

    def watches(self, *members: Member) -> dict[str, PairWatch]:
        """Of those that have a standby, or had one."""
        return {member.id: pair.watch for member in members if (pair := self.pair(member)) is not None}

    def api_plans(self, member: Member) -> tuple[ApiPlan, ...]:
        if member.id not in self._api_plans:
            self._api_plans[member.id] = tuple(self._draw_api_plans(member))
        return self._api_plans[member.id]

    # What runs.

    def parts(self, members: Members) -> list[Part]:
        cells = [part for member in members.cells for part in self.cell_parts(member)]
        return [*self._control_plane_parts(members.first_cells), *cells, *self._router_parts(), self._directory()]

    def cell_parts(self, member: Member) -> list[Part]:
        """What of a pair is a part follows from its present roles; see also `part_names`."""
        migration, pair = f"{member.id}-migrate", self.pair(member)
        plans = self.api_plans(member)
        return [
            *(self._only_database(member) if pair is None else pair.parts()),
            Task(
                name=migration,
                command=self._releases.migration_for(member.id).command("cell", "migrate"),
                environment=self._cell_environment(member, plans[0], self._releases.migration_for(member.id)),
                log=self._folder.log(migration),
                needs=(database_name(member) if pair is None else pair.address_name,),
            ),
            *(self.api_part(member, plan) for plan in plans),
        ]

    def part_names(self, member: Member) -> list[str]:
        """Of all that may run for it; a place that a start needed may be nobody's by now."""
        pair = self.pair(member)
        places = () if pair is None else pair.names.values()
        return list(dict.fromkeys((*(part.name for part in self.cell_parts(member)), *places)))

    def _only_database(self, member: Member) -> list[Part]:
        name = database_name(member)
        return [Database(name=name, cluster=self._cluster(name), provision=provision_cell)]

    def migration_part(self, member: Member, launch: Launch) -> Task:
        """The migration of another release, to be run while the cell goes on."""
        name = f"{member.id}-migrate"
        return Task(
            name=name,
            command=launch.command("cell", "migrate"),
            environment=self._cell_environment(member, self.api_plans(member)[0], launch),
            log=self._folder.log(name),
        )

    def api_part(self, member: Member, plan: ApiPlan) -> Service:
        """With what its zone is told to run."""
        launch = self._releases.launch_for(member.id, plan.zone)
        return Service(
            name=plan.name,
            command=launch.command("cell", "serve"),
            environment=self._cell_environment(member, plan, launch),
            log=self._folder.log(plan.name),
            ready_url=f"{plan.url}/readyz",
            admin_url=plan.admin_url,
            needs=(f"{member.id}-migrate",),
            stop_rank=CELL_RANK,
        )

    def _control_plane_parts(self, first_cells: int) -> list[Part]:
        migration = f"{CONTROL_PLANE_SERVICE}-migrate"
        environment = self._control_plane_environment(first_cells)
        return [
            Database(
                name=CONTROL_PLANE_DATABASE,
                cluster=self._cluster(CONTROL_PLANE_DATABASE),
                provision=provision_control_plane,
            ),
            Task(
                name=migration,
                command=module_command("control_plane", "migrate"),
                environment=environment,
                log=self._folder.log(migration),
                needs=(CONTROL_PLANE_DATABASE,),
            ),
            Service(
                name=CONTROL_PLANE_SERVICE,
                command=module_command("control_plane", "serve"),
                environment=environment,
                log=self._folder.log(CONTROL_PLANE_SERVICE),
                ready_url=f"{self.control_plane_url}/readyz",
                needs=(migration,),
                stop_rank=CONTROL_PLANE_RANK,
            ),
            Service(
                name=MOVER,
                command=module_command("control_plane", "mover"),
                environment=environment,
                log=self._folder.log(MOVER),
                ready_url=f"{_url(self._mover_port)}/readyz",
                needs=(migration,),
                stop_rank=MOVER_RANK,
            ),
        ]

    def _router_parts(self) -> list[Part]:
        router = Service(
            name=ROUTER,
            command=module_command("router"),
            environment=self._router_environment(),
            log=self._folder.log(ROUTER),
            ready_url=f"{_url(self._agent_port)}/readyz",
            admin_url=self.router_admin_url,
            stop_rank=ROUTER_RANK,
        )
        return [router] if self._haproxy is None else [router, self._haproxy_part(self._haproxy)]

    def _haproxy_part(self, program: Path) -> Service:
        """Needs the router for its first files only; afterwards it starts from those, whoever else is alive."""
        return Service(
            name=HAPROXY,
            command=haproxy_command(program, self._state(ROUTER) / HAPROXY),
            environment={},
            log=self._folder.log(HAPROXY),
            ready_url=f"{self.router_url}/readyz",
            needs=(ROUTER,),
            stop_rank=HAPROXY_RANK,
            stop_signal=signal.SIGUSR1,
            patience_s=HAPROXY_PATIENCE_S,
        )

    def _directory(self) -> Condition:
        return Condition(name=DIRECTORY, why_not=self._why_directory_is_not_whole, needs=(CONTROL_PLANE_SERVICE,))

    async def _why_directory_is_not_whole(self) -> str | None:
        answer = await asyncio.to_thread(get, f"{self.control_plane_url}/v1/directory", token=self._router_token)
        if answer is None or answer.status != 200:
            return f"the control plane publishes no directory (status {answer and answer.status})"
        return None if json.loads(answer.body).get("slots") else "the directory has no slots yet"

    # What they are told.

    def _cell_environment(self, member: Member, plan: ApiPlan, launch: Launch) -> dict[str, str]:
        return launch.environment() | {
            "CELL_ID": member.id,
            "CELL_ZONE": plan.zone,
            "CELL_HOME_ZONE": member.home_zone,
            "CELL_HOST": HOST,
            "CELL_PORT": str(plan.port),
            "CELL_ADMIN_PORT": str(plan.admin_port),
            "CELL_DATABASE_URL": self.cell_database_url(member),
            "CELL_OWNER_DATABASE_URL": self.cell_database_url(member, CELL_OWNER),
            "CELL_CONTROL_PLANE_URL": self.control_plane_url,
            "CELL_CONTROL_PLANE_JWKS_FILE": str(self._keys.control_plane_jwks_file),
            "CELL_JOIN_TOKEN": self._keys.machine_token(f"cell:{member.id}", (Scope.CELL_JOIN,)),
            "CELL_SIGNING_KEY_FILE": str(self._keys.cell_key_file(member.id)),
            "CELL_ROUTER_URL": self.router_url,
            "CELL_STATE_DIR": str(self._state(plan.name)),
            "CELL_WEBHOOKS_MAY_BE_LOCAL": "true",
        }

    def _control_plane_environment(self, first_cells: int) -> dict[str, str]:
        return our_code() | {
            "CONTROL_PLANE_HOST": HOST,
            "CONTROL_PLANE_PORT": str(self._control_plane_port),
            "CONTROL_PLANE_DATABASE_URL": self.control_plane_database_url,
            "CONTROL_PLANE_OWNER_DATABASE_URL": self.control_plane_database_url,
            "CONTROL_PLANE_SIGNING_KEY_FILE": str(self._keys.signing_key_file),
            "CONTROL_PLANE_SIGNING_KEY_ID": CONTROL_PLANE_KEY_ID,
            "CONTROL_PLANE_ISSUER_JWKS_FILE": str(self._keys.issuer_jwks_file),
            "CONTROL_PLANE_FIRST_CELLS": str(first_cells),
            "CONTROL_PLANE_MOVER_PORT": str(self._mover_port),
            "CONTROL_PLANE_MOVES_NEED_STANDBYS": str(self._have_standbys).lower(),
            "CONTROL_PLANE_RELEASES_BY": "local",
            "CONTROL_PLANE_LOCAL_SOCKET": str(self._folder.control_socket),
            "CONTROL_PLANE_WEBHOOKS_MAY_BE_LOCAL": "true",
        }

    def _router_environment(self) -> dict[str, str]:
        return our_code() | {
            "ROUTER_ID": ROUTER,
            "ROUTER_ZONE": ZONES[0],
            "ROUTER_HOST": HOST,
            "ROUTER_PORT": str(self._agent_port),
            **({} if self._haproxy is None else {"ROUTER_HAPROXY_PORT": str(self._router_port)}),
            "ROUTER_ADMIN_PORT": str(self._router_admin_port),
            "ROUTER_CONTROL_PLANE_URL": self.control_plane_url,
            "ROUTER_CONTROL_PLANE_TOKEN": self._router_token,
            "ROUTER_CONTROL_PLANE_JWKS_FILE": str(self._keys.control_plane_jwks_file),
            "ROUTER_STATE_DIR": str(self._state(ROUTER)),
        }

    # Below: how.

    def _draw_api_plans(self, member: Member) -> Iterator[ApiPlan]:
        for number, zone in enumerate(member.api_zones, start=1):
            name = f"{member.id}-api-{number}"
            yield ApiPlan(
                name=name, zone=zone, port=self._ports.claim(name), admin_port=self._ports.claim(f"{name}-admin")
            )

    def _cluster(self, name: str, *, is_paired: bool = False) -> Cluster:
        if name not in self._clusters:
            self._clusters[name] = Cluster(
                self._folder.postgres(name.removesuffix("-postgres")),
                log=self._folder.log(name),
                settings=replace(self._databases, is_paired=is_paired),
            )
        return self._clusters[name]

    def _draw_pair(self, member: Member) -> CellPair:
        names = {place: f"{place_folder(self._folder, member.id, place).name}-postgres" for place in PLACES}
        acts = PairActs(member.id, {place: self._cluster(name, is_paired=True) for place, name in names.items()})
        watch = PairWatch(self._folder.pair(member.id), acts, is_wanted=self._have_standbys)
        return CellPair(cell=member.id, names=names, acts=acts, watch=watch)

    def _state(self, process: str) -> Path:
        folder = self._folder.state(process)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def database_name(member: Member) -> str:
    return f"{member.id}-postgres"


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"
