"""What the control plane asks of whoever runs the databases of cells on one machine: where a primary is to be.

One JSON line each way over a Unix socket, as contract/workloads.py has it. The order names a place, away from a zone
or back to it, and never a change: the same order again changes nothing, whoever moved the primary meanwhile. A lower
fencing number than the last is refused with an `error`.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName

BRING: Final = "bring_primary"

PrimaryDirection = Literal["away", "back"]
BringState = Literal["there", "under_way", "must_wait", "not_available", "failed"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BringPrimary(_Body):
    do: Literal["bring_primary"] = BRING
    cell: CellName
    zone: str
    direction: PrimaryDirection
    fence: int = Field(ge=0)
    may_begin: bool = True
    """Else it is only told how far it is: must_wait where nothing is under way."""


class PrimaryBrought(_Body):
    """The answer: how far it is, at once; asked again, how far it is then."""

    cell: CellName
    state: BringState
    """there: where it was wanted. must_wait: nothing was begun, something has to come first. not_available: it cannot
    be, and waiting is of no use. failed: it was tried and is where it was; told once, the next order tries again."""
    detail: str
