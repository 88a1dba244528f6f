"""A machine whose cells are stand-ins and whose supervisor, releases and control socket are the real ones; and control
planes, as processes of their own, that bring releases to it and may be killed.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from control_plane_process import ControlPlaneProcess, control_plane_process, free_port
from platform_keys import PlatformKeys, bearer
from running_platform import registration, until
from stand_in_watch import StandInWatch

from cellwallet.local.blueprint import ApiPlan
from cellwallet.local.control import listen
from cellwallet.local.members import Member
from cellwallet.local.parts import Service, Task
from cellwallet.local.primaries import Primaries
from cellwallet.local.releases import Launch, Releases
from cellwallet.local.supervisor import RunningPart, Supervisor
from cellwallet.local.workloads import Carrier
from contract.primaries import BRING

PROCESS = Path(__file__).with_name("stand_in_process.py")
MUTATED = Path(__file__).with_name("mutated")
MIGRATION = """
import pathlib, sys
attempts = pathlib.Path(sys.argv[1])
with attempts.open("a") as file:
    file.write(".")
sys.exit(len(attempts.read_text()) < int(sys.argv[2]))
"""
"""Goes well at the attempt that it is told, and at each after it."""
ZONES = ("a", "b", "c")
FORWARD = (
    "rollout.advanced",
    "rollout.prepared",
    "rollout.before_image",
    "rollout.image_put",
    "rollout.noted",
    "rollout.judged",
    "rollout.audited",
)
"""Crash points of a rollout, in the order in which a wave comes to them."""
SIGNS_OF_LIFE_S = 2.0
JUDGED_BY = {"window_s": 0.5, "windows_good": 1, "windows_bad_max": 2, "requests_min": 5, "settle_max_s": 20.0}


class StandInBlueprint:
    """In the place of cellwallet.local.blueprint.Blueprint, as far as a carrier asks it."""

    def __init__(self, folder: Path, releases: Releases) -> None:
        self._folder = folder
        self._releases = releases
        self._plans: dict[str, tuple[ApiPlan, ...]] = {}

    def api_plans(self, member: Member) -> tuple[ApiPlan, ...]:
        if member.id not in self._plans:
            self._plans[member.id] = tuple(self._plan(member, zone) for zone in member.api_zones)
        return self._plans[member.id]

    def api_part(self, member: Member, plan: ApiPlan) -> Service:
        launch = self._releases.launch_for(member.id, plan.zone)
        return Service(
            name=plan.name,
            command=(launch.python, str(PROCESS), str(plan.port), member.id, str(self._folder)),
            environment=launch.environment(),
            log=self._folder / f"{plan.name}.log",
            ready_url=f"{plan.url}/readyz",
        )

    def migration_part(self, member: Member, launch: Launch) -> Task:
        name = f"{member.id}-migrate"
        attempts = self._folder / f"{name}.attempts"
        well_at = launch.settings.get("CELL_STAND_IN_MIGRATES_AT", "1")
        return Task(
            name=name,
            command=(launch.python, "-c", MIGRATION, str(attempts), well_at),
            environment=launch.environment(),
            log=self._folder / f"{name}.log",
        )

    def _plan(self, member: Member, zone: str) -> ApiPlan:
        port = free_port()
        return ApiPlan(name=f"{member.id}-api-{zone}", zone=zone, port=port, admin_port=port)


class ReleaseWorld:
    def __init__(self, folder: Path, keys: PlatformKeys, database_url: str, *, cells: int) -> None:
        self.folder = folder
        self.keys = keys
        self.database_url = database_url
        self.own = Launch(label="1.0", python=sys.executable)
        self.releases = Releases(folder / "releases", self.own)
        self.socket = folder / "control.sock"
        self.members = [
            Member(id=f"cell-{n + 1}", home_zone=ZONES[n % 3], api_zones=(ZONES[n % 3], ZONES[(n + 1) % 3]))
            for n in range(cells)
        ]
        self.supervisor = Supervisor(_unobserved)
        self._blueprint = StandInBlueprint(folder, self.releases)
        self._carrier = self._new_carrier()
        self.watches: dict[str, StandInWatch] = {}
        """Of the cells whose database has a standby."""
        self._primaries = Primaries(members=lambda: self.members, watch_of=lambda one: self.watches.get(one.id))
        self.brought: list[dict[str, Any]] = []
        """Every order about a primary, in order, and its answer."""
        self.crash_file = folder / "crash"
        self.changes: list[dict[str, Any]] = []
        """Every image that was put, in order."""

    def image(self, label: str = "2.0", **settings: str) -> str:
        named = {f"CELL_STAND_IN_{name.upper()}": text for name, text in settings.items()}
        return self.releases.add(Launch(label=label, python=sys.executable, settings=named))

    def running(self) -> dict[tuple[str, str], str]:
        """What each process really runs, of those that are ready."""
        return {
            (member.id, plan.zone): part.part.environment["CELLWALLET_IMAGE"]
            for member in self.members
            for plan in self._blueprint.api_plans(member)
            if (part := self.supervisor.parts[plan.name]).state == "ready" and isinstance(part.part, Service)
        }

    def everywhere(self, image: str) -> dict[tuple[str, str], str]:
        return {(member.id, zone): image for member in self.members for zone in member.api_zones}

    def pids(self) -> dict[str, int | None]:
        return {name: part.pid for name, part in self.supervisor.parts.items()}

    @asynccontextmanager
    async def control_plane(
        self, *, dies_at: str | None = None, mutant: str | None = None
    ) -> AsyncIterator[ControlPlaneProcess]:
        if dies_at is not None:
            self.crash_file.write_text(dies_at)
        async with control_plane_process(
            self.database_url,
            self.keys,
            self.folder / "control_plane.log",
            first_cells=len(self.members),
            releases_by="local",
            local_socket=self.socket,
            release_lease_s=1,
            crash_file=self.crash_file,
            variables={} if mutant is None else {"RELEASE_MUTANT": mutant, "PYTHONPATH": str(MUTATED)},
        ) as running:
            alive = asyncio.create_task(self._show_signs_of_life(running))
            try:
                await until(running.directory)
                yield running
            finally:
                alive.cancel()
                await asyncio.gather(alive, return_exceptions=True)

    async def order(self, platform: ControlPlaneProcess, image: str, **changes: Any) -> Any:
        body = {
            "release": {"label": "2.0", "image": image},
            "judged_by": JUDGED_BY,
            "rollout_id": str(uuid.uuid4()),
            **changes,
        }
        return await platform.client.post("/v1/rollouts", json=body, headers=bearer(self.keys.operator()))

    async def __aenter__(self) -> Self:
        parts = [
            self._blueprint.api_part(member, plan)
            for member in self.members
            for plan in self._blueprint.api_plans(member)
        ]
        self.supervisor.add(parts)
        await self.supervisor.wait_until_ready(timeout_s=30)
        self._server = await listen(self.socket, self._respond)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._carrier.stop()
        await self._primaries.stop()
        await self.supervisor.stop()

    def _new_carrier(self) -> Carrier:
        return Carrier(
            supervisor=self.supervisor,
            blueprint=self._blueprint,
            releases=self.releases,
            members=lambda: self.members,
            log_of=lambda name: self.folder / f"{name}.log",
        )

    def primary_zones(self) -> dict[str, str]:
        return {one.id: one.database_zones[self.watches[one.id].pair.primary] for one in self.members}

    async def _respond(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("do") == BRING:
            brought = await self._primaries.respond(request)
            self.brought.append(request | brought)
            return brought
        answer = await self._carrier.respond(request)
        if request.get("do") == "put_image" and "error" not in answer and request["image"] != request["expected"]:
            self.changes.append(request)
        return answer

    async def _show_signs_of_life(self, platform: ControlPlaneProcess) -> None:
        while True:
            for member in self.members:
                for plan in self._blueprint.api_plans(member):
                    body = registration(
                        member.id,
                        plan.admin_url,
                        home_zone=member.home_zone,
                        instance={"url": plan.url, "zone": plan.zone},
                    )
                    headers = bearer(self.keys.join(member.id))
                    await platform.client.post("/v1/cells", json=body, headers=headers)
            await asyncio.sleep(SIGNS_OF_LIFE_S)


def _unobserved(running: RunningPart) -> None:
    del running


Holds = Callable[[dict[str, Any]], bool]


async def rollout_when(
    platform: ControlPlaneProcess, rollout_id: str, holds: Holds, *, deadline_s: float = 90
) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        document: dict[str, Any] = (await platform.get(f"/v1/rollouts/{rollout_id}")).json()
        return document if holds(document) else None

    found: dict[str, Any] = await until(look, deadline_s=deadline_s)
    return found


def has_ended(rollout: dict[str, Any]) -> bool:
    return rollout["ended_at"] is not None


async def is_dead(platform: ControlPlaneProcess) -> bool:
    return platform.process.returncode is not None
