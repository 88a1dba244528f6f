"""Bodies and answers of rollouts and evacuations."""

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from contract.certificate import CapacityCertificate
from contract.ids import CELL_PATTERN, UUID_PATTERN
from control_plane.evacuations.model import LASTS_MAX
from control_plane.rollouts.model import IMAGE_PATTERN, BakePolicy

LASTS_MAX_S = int(LASTS_MAX.total_seconds())
_DEFAULT = BakePolicy()

RolloutPath = Annotated[str, Path(pattern=UUID_PATTERN)]
EvacuationPath = Annotated[str, Path(pattern=UUID_PATTERN)]


def _whole(number: Any) -> Any:
    """`5.0` is an integer to JSON Schema, and so to whoever follows our document."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Cell = Annotated[str, Field(pattern=CELL_PATTERN)]
Label = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9]{4}$")]
Seconds = Annotated[float, Field(ge=0.5, le=86_400, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ReleaseBody(_Body):
    label: Label
    image: Annotated[str, Field(pattern=IMAGE_PATTERN)]
    """Names its content by a digest; a tag is refused."""
    schema_revision: Revision | None = None
    """The newest revision of the cells' schema that it brings."""
    rolls_back_to: Revision | None = None
    """The oldest revision whose code works with that schema."""


class JudgedByBody(_Body):
    """By what the release is judged."""

    window_s: Seconds = _DEFAULT.window_s
    windows_good: Annotated[int, Field(ge=1, le=1_000), BeforeValidator(_whole)] = _DEFAULT.windows_good
    windows_bad_max: Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)] = _DEFAULT.windows_bad_max
    requests_min: Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(_whole)] = _DEFAULT.requests_min
    error_share_max: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = _DEFAULT.error_share_max
    p99_ms_max: Annotated[float, Field(gt=0, le=60_000, allow_inf_nan=False)] = _DEFAULT.p99_ms_max
    latency_margin_ms: Annotated[float, Field(gt=0, le=60_000, allow_inf_nan=False)] = _DEFAULT.latency_margin_ms
    saga_oldest_s_max: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = _DEFAULT.saga_oldest_s_max
    settle_max_s: Seconds = _DEFAULT.settle_max_s
    at_once: Annotated[int, Field(ge=1, le=64), BeforeValidator(_whole)] = _DEFAULT.at_once


class RolloutBody(_Body):
    release: ReleaseBody
    canary: Cell | None = None
    """Without one the serving cell with the fewest units goes first."""
    sandbox: Cell | None = None
    """A cell of synthetic traffic that goes before the canary."""
    judged_by: JudgedByBody = JudgedByBody()
    certificate: CapacityCertificate | None = None
    """What the release was measured to carry; needed where cells are certified."""
    without_certificate: bool = False
    dry_run: bool = False
    rollout_id: Annotated[str | None, Field(pattern=UUID_PATTERN)] = None
    """Named by who orders, the same order may be sent again; without one each order is a new rollout."""


class WaveAnswer(BaseModel):
    name: str
    cells: list[str]


class RolloutAnswer(BaseModel):
    """A rollout as lists show it."""

    rollout_id: str | None
    """None of a dry run: nothing was ordered."""
    label: str
    image: str
    state: str
    is_paused: bool
    stop: str | None
    """`failed`, `cancelled` or `rolled_back` from the moment on that it is decided."""
    reason: str | None
    """Why it was stopped."""
    detail: str | None
    waiting_reason: str | None
    """What must hold before it goes on."""
    waiting_detail: str | None
    waves: list[WaveAnswer]
    wave: int
    """The one in hand, from 0."""
    waves_passed: int
    deployments: int
    """Of each cell one for each zone."""
    deployments_done: int
    """That run the release and are ready; on the way back those that run again what they ran before."""
    windows_good: int
    """Of the wave in hand; so many are needed: `judged_by.windows_good`."""
    windows_bad: int
    judged_by: JudgedByBody
    ordered_by: str | None
    ordered_at: str | None
    ended_at: str | None


class DeploymentAnswer(BaseModel):
    cell: str
    zone: str
    wave: int
    state: str
    previous_image: str
    patched_at: str | None
    settled_at: str | None
    turned_back_at: str | None


class RolloutStepAnswer(BaseModel):
    at: str
    wave: int
    step: str
    duration_ms: float
    facts: dict[str, Any] | None


class WholeRolloutAnswer(RolloutAnswer):
    processes: list[DeploymentAnswer]
    steps: list[RolloutStepAnswer]
    """The latest, oldest first."""


class RolloutsAnswer(BaseModel):
    rollouts: list[RolloutAnswer]
    next_cursor: str | None


class WindowAnswer(BaseModel):
    wave: int
    began_at: str
    ended_at: str
    verdict: str
    is_grave: bool
    detail: str
    evidence: dict[str, Any]
    """What was asked, the numbers of each cell, and what was found in them."""


class WindowsAnswer(BaseModel):
    windows: list[WindowAnswer]
    next_cursor: str | None


class EvacuationBody(_Body):
    zone: Label
    kind: Literal["evacuation", "fail_back"] = "evacuation"
    """`fail_back` brings the primaries home after an evacuation has ended."""
    lasts_s: Annotated[int, Field(ge=1, le=LASTS_MAX_S), BeforeValidator(_whole)] = 7_200
    """Then it ends by itself."""
    evacuation_id: Annotated[str | None, Field(pattern=UUID_PATTERN)] = None


class PrimaryAnswer(BaseModel):
    cell: str
    state: str
    detail: str


class EvacuationAnswer(BaseModel):
    evacuation_id: str
    kind: str
    zone: str
    state: str
    is_end_ordered: bool
    expires_at: str
    announced_version: int | None
    """The directory that routers are to apply."""
    primaries: list[PrimaryAnswer]
    """Of an evacuation, the databases of all cells; of a fail-back, those whose home is the zone."""
    cordon: str
    reason: str | None
    """What it waits for."""
    detail: str | None
    ordered_by: str
    ordered_at: str
    ended_at: str | None


class EvacuationsAnswer(BaseModel):
    evacuations: list[EvacuationAnswer]
    next_cursor: str | None
