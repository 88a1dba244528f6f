"""Bodies and answers of moves, isolations and rejoinings."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contract.ids import CELL_PATTERN, UUID_PATTERN

UNIT_MAX = 2**31 - 1
UNITS_MAX = 4_096
"""Of one order; a body with so many numbers fits into what a body may have."""

MovePath = Annotated[str, Path(pattern=UUID_PATTERN)]


def _whole(number: Any) -> Any:
    """`5.0` is an integer to JSON Schema, and so to whoever follows our document."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


UnitNumber = Annotated[int, Field(ge=0, le=UNIT_MAX), BeforeValidator(_whole)]


class MoveBody(BaseModel):
    """A unit, some units, or a wallet (which gets a unit of its own first), and the cell that they go to."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": kind}}}
                for name, kind in (("unit", "integer"), ("units", "array"), ("wallet_id", "string"))
            ]
        },
    )

    unit: UnitNumber | None = None
    units: Annotated[
        tuple[UnitNumber, ...] | None,
        Field(min_length=1, max_length=UNITS_MAX, strict=False, json_schema_extra={"uniqueItems": True}),
    ] = None
    wallet_id: Annotated[str | None, Field(pattern=UUID_PATTERN)] = None
    to_cell: Annotated[str, Field(pattern=CELL_PATTERN)]
    move_id: Annotated[str | None, Field(pattern=UUID_PATTERN)] = None
    """Named by who orders, the same order may be sent again; without one each order is a new move."""

    @model_validator(mode="after")
    def _must_name_one_thing(self) -> "MoveBody":
        if sum(given is not None for given in (self.unit, self.units, self.wallet_id)) != 1:
            raise ValueError("exactly one of unit, units and wallet_id must be given")
        if self.units is not None and len(set(self.units)) != len(self.units):
            raise ValueError("units must be different")
        return self

    def named_units(self) -> tuple[int, ...]:
        """None of them while only a wallet is named."""
        return (self.unit,) if self.unit is not None else tuple(sorted(self.units or ()))


class MoveAnswer(BaseModel):
    """A move as lists show it."""

    move_id: str
    state: str
    from_cell: str
    to_cell: str
    purpose: str
    wallet_id: str | None
    units: int
    """Of these, those that are neither in hand nor moved nor left are waiting for their turn."""
    units_in_hand: int
    units_moved: int
    units_left: int
    """That stay with the source, for the move has ended without them."""
    units_with_wallets_moved: int
    portion: int
    stop: str | None
    """`cancelled`, `aborted` or `quarantined` from the moment on that it is decided."""
    reason: str | None
    """Why it was stopped, or what it waits for."""
    detail: str | None
    copied_rows: int
    copied_bytes: int
    copy_ms: float
    pause_ms_max: float | None
    ordered_by: str
    ordered_at: str
    ended_at: str | None


class MovedUnitAnswer(BaseModel):
    unit: int
    result: str
    from_epoch: int
    portion: int | None
    wallets: int | None
    entries: int | None
    fence_no: int | None
    digest: str | None
    granted_at: str | None
    pause_ms: float | None
    tombstoned_at: str | None
    cleaned_at: str | None


class MoveStepAnswer(BaseModel):
    at: str
    portion: int
    step: str
    duration_ms: float
    facts: dict[str, Any] | None


class WholeMoveAnswer(MoveAnswer):
    """Sums and the latest steps, however many units there are; units and all steps have pages of their own."""

    difference: dict[str, Any] | None
    """What the two cells disagreed on, of a move in quarantine."""
    steps: list[MoveStepAnswer]
    """The latest ones, in the order in which they were done."""


class MovedUnitsAnswer(BaseModel):
    units: list[MovedUnitAnswer]
    next_cursor: str | None


class MoveStepsAnswer(BaseModel):
    steps: list[MoveStepAnswer]
    next_cursor: str | None


class MovesAnswer(BaseModel):
    moves: list[MoveAnswer]
    next_cursor: str | None


class IsolationAnswer(BaseModel):
    """Where the wallet is now: in a unit of its own, or back in its slot."""

    wallet_id: str
    unit: int
    cell: str
    epoch: int
    state: str
