"""Bodies between cells and the control plane: registration, the cells' admin API, and the platform API.

A cell's API process registers again and again (`POST /v1/cells`, with its join token): that is its sign of life.
The control plane speaks to a cell through the admin API of any of its processes.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.configuration import PublicKey
from contract.directory import ApiInstance, CellName, CellState
from contract.slots import SLOTS

UnitStateName = Literal["active", "fenced", "granted", "moved", "staging", "staged"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Registration(_Body):
    """`POST /v1/cells` by an API process of the cell; idempotent, repeated every few seconds."""

    id: CellName
    home_zone: str
    instance: ApiInstance
    admin_url: str
    schema_revision: str
    software_version: str
    public_key: PublicKey | None = None
    """What this cell signs its tokens and checkpoints with; the first one given stands until an operator forgets it."""


class UnitRun(_Body):
    """Consecutive units `first..last` of a cell in the same state and epoch."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)
    state: UnitStateName
    epoch: int = Field(ge=1)

    @model_validator(mode="after")
    def _must_run_forward(self) -> "UnitRun":
        if self.last < self.first:
            raise ValueError("last must not be below first")
        return self


class CellUnits(_Body):
    """`GET /admin/units` of a cell: every unit it knows of, in order."""

    cell: CellName
    units: tuple[UnitRun, ...]


class FirstUnits(_Body):
    """`PUT /admin/units/first`: the slots that an empty cell owns from the birth of the fleet, at epoch 1.

    The same body again changes nothing; another one after the first is refused (409): ownership later changes only
    by moves.
    """

    runs: tuple[tuple[int, int], ...] = Field(min_length=1)
    """`[[first, last], ...]`, ascending."""

    @model_validator(mode="after")
    def _must_be_slots_in_order(self) -> "FirstUnits":
        previous = -1
        for first, last in self.runs:
            if not previous < first <= last < SLOTS:
                raise ValueError(f"runs must be ascending, disjoint and below {SLOTS}")
            previous = last
        return self


class CellAnswer(_Body):
    """A cell as `GET /v1/cells` shows it."""

    id: CellName
    state: CellState
    home_zone: str
    api: tuple[ApiInstance, ...]
    admin_urls: tuple[str, ...]
    schema_revision: str
    software_version: str
    units: int
    last_seen_at: str | None
    capacity_per_s: float | None
    public_key: PublicKey | None = None
    is_filling: bool = False
    """It has been activated and its share of units has not come yet."""


class AuditVerdict(BaseModel):
    """What matters of the answer of `POST /admin/audit` to whoever only asks whether the books are whole."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    cell: CellName
    clean: bool
    findings: tuple[dict[str, Any], ...] = ()


class Location(_Body):
    """`GET /v1/locate/{wallet_id}`."""

    wallet_id: str
    unit: int
    cell: CellName
    epoch: int
    moving: bool
