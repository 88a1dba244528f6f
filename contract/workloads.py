"""What the control plane asks of whoever runs the processes of cells on one machine, and what it is told.

One JSON line each way over a Unix socket: `{"do": VERB, ...}`. A change names the image that it expects and the fencing
number of whoever wants it: a lost race, or a lower number than the last one, is refused and changes nothing.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName

LOOK: Final = "look_at_workloads"
PREPARE: Final = "prepare_schema"
PUT_IMAGE: Final = "put_image"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LookAtWorkloads(_Body):
    do: Literal["look_at_workloads"] = LOOK
    cell: CellName
    image: str
    """About whose preparation one wants to know."""


class PrepareSchema(_Body):
    """Bring the cell's schema to what the image needs; the same again while it runs changes nothing."""

    do: Literal["prepare_schema"] = PREPARE
    cell: CellName
    image: str


class PutImage(_Body):
    """With `expected` equal to `image` nothing is replaced; the fencing number counts all the same."""

    do: Literal["put_image"] = PUT_IMAGE
    cell: CellName
    zone: str
    expected: str
    image: str
    fence: int = Field(ge=0)


class WorkloadProcess(_Body):
    image: str
    is_ready: bool


class ZoneWorkload(_Body):
    zone: str
    image: str
    fence: int
    generation: int
    observed_generation: int
    wanted: int
    updated: int
    total: int
    available: int
    processes: tuple[WorkloadProcess, ...]
    has_given_up: bool = False


class Workloads(_Body):
    """The answer to a look."""

    cell: CellName
    zones: tuple[ZoneWorkload, ...]
    preparation: Literal["absent", "running", "done", "failed"]
    is_surging: bool
    is_image_known: bool


class WorkloadsChanged(_Body):
    """The answer to a change that was taken up; how far it is, a look tells."""

    cell: CellName


class WorkloadsRefused(_Body):
    """The answer to anything that was not done."""

    error: str
