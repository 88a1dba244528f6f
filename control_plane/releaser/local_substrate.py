"""Cells on one machine: asks the `cellwallet up` that runs them, through the Unix socket in its data folder."""

from pathlib import Path

from contract.ids import CellId
from contract.workloads import (
    LookAtWorkloads,
    PrepareSchema,
    PutImage,
    Workloads,
    WorkloadsChanged,
    ZoneWorkload,
)
from control_plane.fleet.model import Unreachable
from control_plane.installations.model import Installation
from control_plane.releaser.local_socket import LocalSocket
from control_plane.releaser.substrate import ImageOrder, InstallOutcome, NotTaken, Outcome, Taken
from control_plane.rollouts.model import CellSeen, ProcessSeen, ZoneSeen


class LocalSubstrate:
    pause_s = 0.25
    cordon_moves_primaries = False

    def __init__(self, socket: Path) -> None:
        self._platform = LocalSocket(socket)

    async def look(self, cell: CellId, image: str) -> CellSeen | Unreachable:
        answer = await self._platform.ask(LookAtWorkloads(cell=cell, image=image), Workloads)
        if isinstance(answer, NotTaken):
            return Unreachable(detail=answer.detail)
        return answer if isinstance(answer, Unreachable) else _seen(answer)

    async def prepare(self, cell: CellId, image: str) -> Outcome:
        return _outcome(await self._platform.ask(PrepareSchema(cell=cell, image=image), WorkloadsChanged))

    async def put_image(self, order: ImageOrder) -> Outcome:
        wanted = PutImage(
            cell=order.cell, zone=order.zone, expected=order.expected, image=order.image, fence=order.fence
        )
        return _outcome(await self._platform.ask(wanted, WorkloadsChanged))

    async def cordon(self, zone: str, *, is_closed: bool) -> Outcome:
        del is_closed
        return NotTaken(detail=f"zones are names on one machine: nothing can be kept out of {zone}")

    async def install(self, installation: Installation, *, is_dry_run: bool) -> InstallOutcome:
        del is_dry_run
        return NotTaken(detail=f"on one machine {installation.cell} is added by `cellwallet cells add`")

    async def close(self) -> None:
        return


def _outcome(answer: WorkloadsChanged | NotTaken | Unreachable) -> Outcome:
    return Taken() if isinstance(answer, WorkloadsChanged) else answer


def _seen(told: Workloads) -> CellSeen:
    return CellSeen(
        zones=tuple(_zone(one) for one in told.zones),
        preparation=told.preparation,
        is_surging=told.is_surging,
        is_image_known=told.is_image_known,
    )


def _zone(told: ZoneWorkload) -> ZoneSeen:
    return ZoneSeen(
        zone=told.zone,
        image=told.image,
        fence=told.fence,
        generation=told.generation,
        observed_generation=told.observed_generation,
        wanted=told.wanted,
        updated=told.updated,
        total=told.total,
        available=told.available,
        processes=tuple(ProcessSeen(image=one.image, is_ready=one.is_ready) for one in told.processes),
        has_given_up=told.has_given_up,
    )
