"""A rollout, its waves and deployments, and what a cell's processes look like, as values.

A deployment is what runs of one cell in one zone: on Kubernetes the Deployment of that zone, on one machine the API
processes of it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from contract.ids import CellId
from contract.values import value
from control_plane.rollouts.states import ROLLOUT_ENDED, RolloutState, RolloutStop

IMAGE_PATTERN = r"^[a-z0-9][a-zA-Z0-9._/:-]{0,254}@sha256:[0-9a-f]{64}$"
"""Names its content: what runs must not change under its name."""

DeploymentState = Literal["waiting", "patched", "settled", "restoring", "restored", "left"]
DEPLOYMENT_STATES: tuple[DeploymentState, ...] = ("waiting", "patched", "settled", "restoring", "restored", "left")
"""`left`: ran the release before the rollout was ordered, so there is nothing to do and nothing to take back."""

Verdict = Literal["good", "bad", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = ("good", "bad", "inconclusive")


@value
class Release:
    label: str
    """For people; a certificate names it as the version that was measured."""
    image: str
    schema_revision: str | None = None
    """The newest revision of the cells' schema that it brings; None = it brings none."""
    rolls_back_to: str | None = None
    """The oldest revision whose code works with that schema; None = any."""


@value
class BakePolicy:
    """By what a rollout is judged; recorded with it, so that a page can say so later."""

    window_s: float = 60.0
    windows_good: int = 5
    """So many good windows since the last bad one let a wave pass."""
    windows_bad_max: int = 3
    """So many bad windows of one wave roll it back."""
    requests_min: int = 200
    """Of each cell in a window; fewer say nothing."""
    error_share_max: float = 0.001
    p99_ms_max: float = 500.0
    latency_margin_ms: float = 20.0
    """So much slower than the others may be chance; with few requests a p99 is the slowest of them."""
    saga_oldest_s_max: float = 120.0
    """How long money may be on its way between cells before it ages."""
    settle_max_s: float = 900.0
    """A deployment that is not ready by then has failed."""
    at_once: int = 2
    """Deployments of a wave that are replaced at a time; always of one zone."""

    @property
    def window(self) -> timedelta:
        return timedelta(seconds=self.window_s)


@value
class Wave:
    name: str
    cells: tuple[CellId, ...]
    home_zone: str
    """All cells of a wave are of one zone group."""


@value
class Deployment:
    """What is recorded of the processes of one cell in one zone."""

    cell: CellId
    zone: str
    wave: int
    previous_image: str
    """What is gone back to; recorded before anything is changed."""
    state: DeploymentState = "waiting"
    patched_at: datetime | None = None
    settled_at: datetime | None = None
    turned_back_at: datetime | None = None

    @property
    def key(self) -> tuple[CellId, str]:
        return self.cell, self.zone


@value
class JudgedWindow:
    wave: int
    began_at: datetime
    ended_at: datetime
    verdict: Verdict
    is_grave: bool = False
    """Money did not add up: nobody waits for two more such windows."""
    detail: str = ""


@value
class RolloutRecord:
    """A rollout as the control plane's database has it."""

    id: str
    release: Release
    policy: BakePolicy
    waves: tuple[Wave, ...]
    deployments: tuple[Deployment, ...]
    """In the order in which they are replaced."""
    idle_cells: frozenset[CellId] = frozenset()
    """Owned no unit when the rollout was ordered: nothing is expected of their traffic."""
    state: RolloutState = "planned"
    wave: int = 0
    waves_passed: int = 0
    windows: tuple[JudgedWindow, ...] = ()
    """Of the wave in hand."""
    is_paused: bool = False
    stop: RolloutStop | None = None
    reason: str | None = None
    """Why it was stopped."""
    detail: str | None = None
    waiting_reason: str | None = None
    """What it waits for, on its way back too."""
    waiting_detail: str | None = None
    ordered_by: str
    ordered_at: datetime
    changed_at: datetime
    ended_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.state not in ROLLOUT_ENDED

    @property
    def in_wave(self) -> tuple[Deployment, ...]:
        return tuple(one for one in self.deployments if one.wave == self.wave)

    @property
    def cells_in_hand(self) -> tuple[CellId, ...]:
        return self.waves[self.wave].cells

    @property
    def updated_cells(self) -> frozenset[CellId]:
        """Cells that run the release in some zone, as recorded; they are nobody's sibling to compare with."""
        running = {"patched", "settled", "restoring", "left"}
        return frozenset(one.cell for one in self.deployments if one.state in running)


@value
class ProcessSeen:
    """One process, or pod."""

    image: str
    is_ready: bool


@value
class ZoneSeen:
    """A deployment as it is: what it is told to run, how far it is, and its processes."""

    zone: str
    image: str
    fence: int
    """Of whoever changed it last; 0 = nobody of us."""
    generation: int
    observed_generation: int
    wanted: int
    updated: int
    total: int
    available: int
    processes: tuple[ProcessSeen, ...]
    has_given_up: bool = False
    """The substrate itself says that it makes no progress any more."""


Preparation = Literal["absent", "running", "done", "failed"]


@value
class CellSeen:
    zones: tuple[ZoneSeen, ...]
    preparation: Preparation = "done"
    """Of the schema, for the image that was asked about."""
    is_surging: bool = False
    """A new process is ready before an old one ends, so replacing takes nothing away."""
    is_image_known: bool = True

    def zone(self, name: str) -> ZoneSeen | None:
        return next((one for one in self.zones if one.zone == name), None)


@value
class CellFigures:
    """What a cell did in one window, summed over its processes."""

    requests: float
    errors: float
    """Requests that the cell answered with a 5xx, or let run out of time."""
    p99_ms: float | None
    """None = there was no request to measure."""
    batch_p99_ms: float | None
    """From load to commit of a batch: what a wait for a lock lengthens."""
    restarts: float
    """Processes that began in the window; after a wave has settled nobody has a reason to."""
    findings: float
    """Of the cell's own audit."""
    saga_oldest_s: float
    facts: Mapping[str, Any] | None = None
    """How these numbers came about, for the record."""
