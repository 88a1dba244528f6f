"""What the control plane asks of a platform on one machine when it brings releases to cells: contract/workloads.py.

The processes of one zone of a cell are replaced one after the other, each when the one before is ready, in place: an
address stays, so for a moment one process less answers. What a zone is told is written down before anything is
replaced; carrying it out begins anew with whatever was told last.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from cellwallet.local.blueprint import ApiPlan, Blueprint
from cellwallet.local.child import spawn
from cellwallet.local.identity import leashed
from cellwallet.local.members import Member
from cellwallet.local.parts import Service
from cellwallet.local.programs import quiet_environment
from cellwallet.local.releases import IMAGE_VARIABLE, Launch, Releases, Told
from cellwallet.local.supervisor import RunningPart, Supervisor
from contract.workloads import (
    LOOK,
    PREPARE,
    PUT_IMAGE,
    LookAtWorkloads,
    PrepareSchema,
    PutImage,
    WorkloadProcess,
    Workloads,
    WorkloadsChanged,
    WorkloadsRefused,
    ZoneWorkload,
)

ADD_RELEASE, OWN_RELEASE = "add_release", "own_release"
VERBS = frozenset({LOOK, PREPARE, PUT_IMAGE, ADD_RELEASE, OWN_RELEASE})
POLL_S = 0.05
MIGRATION_ATTEMPTS_MAX = 3
MIGRATION_PAUSE_S = 2.0
"""After the first attempt, twice that after the second: longer than a change of roles takes."""

Preparation = Literal["absent", "running", "done", "failed"]


class Carrier:
    """Made by the platform when its blueprint is drawn; ended with it."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        blueprint: Blueprint,
        releases: Releases,
        members: Callable[[], Sequence[Member]],
        log_of: Callable[[str], Path],
    ) -> None:
        self._supervisor = supervisor
        self._blueprint = blueprint
        self._releases = releases
        self._members = members
        self._log_of = log_of
        self._seen: dict[tuple[str, str], int] = {}
        """Of each zone of a cell the generation that is being carried out, or was."""
        self._carrying: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._preparing: dict[tuple[str, str], asyncio.Task[bool]] = {}

    async def respond(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._answer(request)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            answer = WorkloadsRefused(error=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        except OSError as error:  # a full disk, or a description that is gone
            answer = WorkloadsRefused(error=str(error))
        return answer.model_dump(mode="json")

    async def stop(self) -> None:
        """Before the processes themselves are stopped."""
        tasks = [*self._carrying.values(), *self._preparing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answer(self, request: dict[str, Any]) -> BaseModel:
        match request.get("do"):
            case "add_release":
                return _Described(image=self._releases.add(Launch.model_validate(request.get("release"))))
            case "own_release":
                return _Own(release=self._releases.own)
            case "look_at_workloads":
                return self._look(LookAtWorkloads.model_validate(request))
            case "prepare_schema":
                return self._prepare(PrepareSchema.model_validate(request))
            case _:
                return self._put_image(PutImage.model_validate(request))

    # Looking.

    def _look(self, asked: LookAtWorkloads) -> BaseModel:
        member = self._member(asked.cell)
        if member is None:
            return WorkloadsRefused(error=f"{asked.cell} is no cell of this platform")
        return Workloads(
            cell=asked.cell,
            zones=tuple(self._zone(member, zone) for zone in sorted(set(member.api_zones))),
            preparation=self._preparation(asked.cell, asked.image),
            is_surging=False,
            is_image_known=self._releases.launch_of(asked.image) is not None,
        )

    def _zone(self, member: Member, zone: str) -> ZoneWorkload:
        told, plans = self._releases.told(member.id, zone), self._plans(member, zone)
        parts = [part for plan in plans if (part := self._supervisor.parts.get(plan.name)) is not None]
        alive = [part for part in parts if part.pid is not None]
        processes = tuple(WorkloadProcess(image=_image_of(part), is_ready=part.state == "ready") for part in alive)
        updated = [one for one in processes if one.image == told.image]
        return ZoneWorkload(
            zone=zone,
            image=told.image,
            fence=told.fence,
            generation=told.generation,
            observed_generation=self._seen.get((member.id, zone), told.generation),
            wanted=len(plans),
            updated=len(updated),
            total=len(processes),
            available=sum(one.is_ready for one in updated),
            processes=processes,
            has_given_up=any(part.state == "failed" and _image_of(part) == told.image for part in parts),
        )

    def _preparation(self, cell: str, image: str) -> Preparation:
        if self._releases.prepared(cell) == image:
            return "done"
        task = self._preparing.get((cell, image))
        if task is None:
            return "absent"
        if not task.done():
            return "running"
        return "done" if not task.cancelled() and task.exception() is None and task.result() else "failed"

    # Changing.

    def _put_image(self, wanted: PutImage) -> BaseModel:
        member = self._member(wanted.cell)
        if member is None or wanted.zone not in member.api_zones:
            return WorkloadsRefused(error=f"{wanted.cell} has no processes in zone {wanted.zone}")
        told = self._releases.told(wanted.cell, wanted.zone)
        if wanted.fence < told.fence:
            return WorkloadsRefused(error=f"fence {wanted.fence} is older than {told.fence}, which came after it")
        if told.image != wanted.expected:
            return WorkloadsRefused(error=f"zone {wanted.zone} of {wanted.cell} is told to run {told.image}")
        if self._releases.launch_of(wanted.image) is None:
            return WorkloadsRefused(error=f"{wanted.image} was never described here")
        is_other = wanted.image != told.image
        following = Told(image=wanted.image, fence=wanted.fence, generation=told.generation + is_other)
        self._seen.setdefault((wanted.cell, wanted.zone), told.generation)
        self._releases.tell(wanted.cell, wanted.zone, following)
        if is_other:
            self._carry_out(member, wanted.zone)
        return WorkloadsChanged(cell=wanted.cell)

    def _carry_out(self, member: Member, zone: str) -> None:
        """One task for each zone of a cell: it follows what is told until all of it runs."""
        key = (member.id, zone)
        if key not in self._carrying or self._carrying[key].done():
            self._carrying[key] = asyncio.create_task(self._replace_all(member, zone), name=f"{member.id}/{zone}")

    async def _replace_all(self, member: Member, zone: str) -> None:
        while True:
            told = self._releases.told(member.id, zone)
            self._seen[member.id, zone] = told.generation
            plan = next((one for one in self._plans(member, zone) if self._runs_another(one, told.image)), None)
            if plan is None:
                return
            await self._supervisor.replace(self._blueprint.api_part(member, plan))
            await self._until_settled(member, zone, plan, told)

    async def _until_settled(self, member: Member, zone: str, plan: ApiPlan, told: Told) -> None:
        """Ready, given up, or told otherwise meanwhile."""
        while self._releases.told(member.id, zone).image == told.image:
            part = self._supervisor.parts.get(plan.name)
            if part is None or part.state in {"ready", "failed"}:
                return
            await asyncio.sleep(POLL_S)

    def _runs_another(self, plan: ApiPlan, image: str) -> bool:
        """A cell that was halted has no part: it is started with what it is told."""
        part = self._supervisor.parts.get(plan.name)
        return part is not None and _image_of(part) != image

    def _prepare(self, wanted: PrepareSchema) -> BaseModel:
        member, launch = self._member(wanted.cell), self._releases.launch_of(wanted.image)
        if member is None or launch is None:
            return WorkloadsRefused(error=f"{wanted.cell} and {wanted.image} must both be known here")
        if self._preparation(wanted.cell, wanted.image) in {"absent", "failed"}:
            migrating = self._migrate(member, launch)
            self._preparing[wanted.cell, wanted.image] = asyncio.create_task(migrating, name=f"{member.id} migrates")
        return WorkloadsChanged(cell=wanted.cell)

    async def _migrate(self, member: Member, launch: Launch) -> bool:
        """Again if it breaks off: it is one transaction, and the cell's databases may just be changing their roles."""
        for attempt in range(MIGRATION_ATTEMPTS_MAX):
            await asyncio.sleep(MIGRATION_PAUSE_S * attempt)
            if await self._run_migration(member, launch):
                self._releases.note_prepared(member.id, launch.image)
                return True
        return False

    async def _run_migration(self, member: Member, launch: Launch) -> bool:
        task = self._blueprint.migration_part(member, launch)
        command = leashed(list(task.command), parent_signal=signal.SIGKILL)
        child = spawn(command, environment=quiet_environment(task.environment), log=self._log_of(task.name))
        try:
            return await child.wait() == 0
        except asyncio.CancelledError:
            child.send(signal.SIGKILL)
            raise

    def _member(self, cell: str) -> Member | None:
        return next((one for one in self._members() if one.id == cell), None)

    def _plans(self, member: Member, zone: str) -> list[ApiPlan]:
        return [plan for plan in self._blueprint.api_plans(member) if plan.zone == zone]


class _Described(BaseModel):
    image: str


class _Own(BaseModel):
    release: Launch


def _image_of(running: RunningPart) -> str:
    return running.part.environment.get(IMAGE_VARIABLE, "") if isinstance(running.part, Service) else ""
