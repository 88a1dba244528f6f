"""The directory document: which cell owns which unit, and where the cells' API processes are.

Published by the control plane as one numbered, signed document that always holds the full map (constant work),
kept on disk by every router. Versions and epochs never decrease, anywhere.
"""

from itertools import groupby
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.ids import CELL_PATTERN, UUID_PATTERN
from contract.slots import ISOLATED_UNIT_FIRST, ISOLATED_UNITS_MAX, SLOTS

CellName = Annotated[str, Field(pattern=CELL_PATTERN)]
CellState = Literal["registered", "ready", "active", "draining", "empty", "retired"]

CHANGE_SHARE_MAX = 0.05
"""Share of all units that one publication may re-assign unless it says that it means to."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiInstance(_Document):
    """One API process of a cell."""

    url: str
    zone: str


class DirectoryCell(_Document):
    api: tuple[ApiInstance, ...]
    zone_weights: dict[str, int] = {}
    """Zone to weight; a zone without an entry weighs 1, an evacuated one 0."""
    state: CellState


class DirectoryDocument(_Document):
    """`slots` is a run-length list `[[count, cell], ...]` of all slots; without an entry in `epochs` a unit is at 1."""

    version: int = Field(ge=1)
    issued_at: str
    cells: dict[CellName, DirectoryCell]
    slots: tuple[tuple[int, CellName], ...]
    isolated: dict[Annotated[str, Field(pattern=UUID_PATTERN)], int] = Field(default={}, max_length=ISOLATED_UNITS_MAX)
    unit_cells: dict[int, CellName] = {}
    """Isolated unit to its cell."""
    epochs: dict[int, int] = {}
    moving: tuple[int, ...] = ()
    previous_version: int | None = Field(default=None, ge=1)
    """The publication that this one directly follows. Versions jump with the clock, so a router cannot tell otherwise
    whether it missed one; the bound on change holds between a publication and its direct successor only."""
    is_large_change_meant: bool = False
    """The publisher said explicitly that this publication may re-assign more than `CHANGE_SHARE_MAX` or drop a cell."""

    @model_validator(mode="after")
    def _must_be_whole(self) -> "DirectoryDocument":
        if self.slots and sum(count for count, _ in self.slots) != SLOTS:
            raise ValueError(f"slots must cover exactly {SLOTS} slots")
        if any(count < 1 for count, _ in self.slots):
            raise ValueError("runs of slots must not be empty")
        named = {cell for _, cell in self.slots} | set(self.unit_cells.values())
        if unknown := named - self.cells.keys():
            raise ValueError(f"cells {sorted(unknown)} own units but are not listed")
        if any(unit < ISOLATED_UNIT_FIRST for unit in self.isolated.values()):
            raise ValueError(f"isolated units must be {ISOLATED_UNIT_FIRST} or above")
        if not set(self.isolated.values()) <= self.unit_cells.keys():
            raise ValueError("every isolated unit must have a cell")
        return self

    def slot_cells(self) -> list[str]:
        """The cell of each of the 16,384 slots; empty before the first cells have joined."""
        return [cell for count, cell in self.slots for _ in range(count)]


def run_lengths(slot_cells: list[str]) -> tuple[tuple[int, str], ...]:
    """The inverse of `DirectoryDocument.slot_cells`."""
    return tuple((len(list(run)), cell) for cell, run in groupby(slot_cells))
