"""What the control plane has recorded of a fleet, and what it sees of it, as values.

`Fleet` is what the control plane's database says, `Observation` what the world said a moment ago, `Policy` what the
operator wants. Nobody here asks anyone: the values are loaded and observed elsewhere.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from contract.configuration import CellConfiguration, Limits, PublicKey, VendorPolicy, Webhook
from contract.directory import ApiInstance, CellState, DirectoryDocument
from contract.fleet import CellUnits
from contract.ids import CellId
from contract.values import value

INSTANCE_LEASE = timedelta(seconds=10)
"""An API process that has not registered for so long shows no sign of life; it registers every two seconds."""
ROUTER_LEASE = timedelta(seconds=10)
"""A router that has not acknowledged for so long is not waited for."""
NO_LIMITS = Limits()


@value
class Instance:
    """One API process of a cell, as it registered."""

    url: str
    zone: str
    admin_url: str
    schema_revision: str
    software_version: str
    first_seen_at: datetime
    seen_at: datetime

    @property
    def api(self) -> ApiInstance:
        """As the directory and the platform API show it."""
        return ApiInstance(url=self.url, zone=self.zone)


@value
class Cell:
    id: CellId
    state: CellState
    home_zone: str
    capacity_per_s: float | None = None
    public_key: PublicKey | None = None
    """None = its processes have shown none yet."""
    instances: tuple[Instance, ...] = ()
    """In the order of their URLs."""


@value
class OwnedRun:
    """Consecutive units `first..last` of one cell at one epoch."""

    first: int
    last: int
    cell: CellId
    epoch: int = 1
    is_moving: bool = False


@value
class Fleet:
    """What the control plane's database says."""

    cells: tuple[Cell, ...] = ()
    """In id order."""
    runs: tuple[OwnedRun, ...] = ()
    """Ascending and disjoint; empty until the first cells have been given their slots."""
    isolated: Mapping[str, int]
    """Wallet id to its isolated unit."""
    vendors: Mapping[str, VendorPolicy]
    limits: Limits = NO_LIMITS
    directory: DirectoryDocument | None = None
    """As last published."""
    configurations: Mapping[CellId, CellConfiguration]
    """As last published."""
    webhooks: tuple[Webhook, ...] = ()
    """Every vendor's, in order of id."""
    evacuated_zones: frozenset[str] = frozenset()
    """Routers send nothing there, as long as a cell has processes elsewhere."""

    def runs_of(self, cell: CellId) -> tuple[OwnedRun, ...]:
        return tuple(run for run in self.runs if run.cell == cell)


@value
class Unreachable:
    """No instance of the cell answered; `detail` names what happened."""

    detail: str


@value
class Observation:
    """What the world said a moment ago."""

    units: Mapping[CellId, CellUnits | Unreachable]
    """What each cell says that it owns."""
    listening_since: datetime
    """Since when signs of life could be received without a gap: silence before it proves nothing."""
    routers: Mapping[str, int]
    """Live routers and the directory version that each has applied."""
    jwks: Mapping[str, Any]
    """Public keys of the token issuer."""


@value
class Policy:
    first_cells: int = 3
    """How many ready cells an empty fleet waits for before they share all slots."""
    instance_lease: timedelta = INSTANCE_LEASE
