"""What carries the processes of cells, as a rollout needs it: look, prepare, put an image. One small port.

Each call is bounded in time, may be repeated, and never raises for a substrate that is gone: that is an observation.
"""

from typing import Protocol

from contract.ids import CellId
from contract.values import value
from control_plane.fleet.model import Unreachable
from control_plane.installations.model import Contested, Installation, Installed, RunsAnother
from control_plane.rollouts.model import CellSeen

CALL_TIMEOUT_S = 10.0
"""Of every call; well below the lease under which it is made."""


@value
class Taken:
    """It was taken up; how far it is, a look tells."""


@value
class NotTaken:
    """Refused: a race that was lost, an older fence, or what cannot be done there. Nothing was changed."""

    detail: str


Outcome = Taken | NotTaken | Unreachable
InstallOutcome = Installed | Contested | RunsAnother | NotTaken | Unreachable


@value
class ImageOrder:
    cell: CellId
    zone: str
    expected: str
    image: str
    fence: int


class Substrate(Protocol):
    pause_s: float
    """Between two looks at what is under way; each costs the substrate something."""
    cordon_moves_primaries: bool
    """Whether closing a zone makes somebody move the primaries that are in it."""

    async def look(self, cell: CellId, image: str) -> CellSeen | Unreachable:
        """What runs of the cell, and whether it is prepared for the image."""

    async def prepare(self, cell: CellId, image: str) -> Outcome:
        """Begin to bring the cell's schema to what the image needs."""

    async def put_image(self, order: ImageOrder) -> Outcome: ...

    async def cordon(self, zone: str, *, is_closed: bool) -> Outcome:
        """Whether anything new may be placed in the zone."""

    async def install(self, installation: Installation, *, is_dry_run: bool) -> InstallOutcome:
        """Make the cell's processes what the objects say; the same again changes nothing, or goes on where it ended."""

    async def close(self) -> None: ...


class NoSubstrate:
    """Where nobody told the control plane what carries its cells."""

    pause_s = 1.0
    cordon_moves_primaries = False
    WHY = "this control plane was not told what carries its cells (CONTROL_PLANE_RELEASES_BY)"

    async def look(self, cell: CellId, image: str) -> CellSeen | Unreachable:
        del cell, image
        return Unreachable(detail=self.WHY)

    async def prepare(self, cell: CellId, image: str) -> Outcome:
        del cell, image
        return Unreachable(detail=self.WHY)

    async def put_image(self, order: ImageOrder) -> Outcome:
        del order
        return Unreachable(detail=self.WHY)

    async def cordon(self, zone: str, *, is_closed: bool) -> Outcome:
        del zone, is_closed
        return NotTaken(detail=self.WHY)

    async def install(self, installation: Installation, *, is_dry_run: bool) -> InstallOutcome:
        del installation, is_dry_run
        return NotTaken(detail=self.WHY)

    async def close(self) -> None:
        return
