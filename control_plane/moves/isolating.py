"""May this wallet have a unit of its own, or go back into its slot? Refusals are values, in order of precedence."""

from enum import StrEnum
from typing import Literal

from contract.ids import CellId
from contract.slots import ISOLATED_UNITS_MAX
from contract.values import value

IsolationState = Literal["isolating", "isolated", "rejoining", "rejoined"]


class IsolationReason(StrEnum):
    DIRECTORY_MUST_BE_PUBLISHED = "directory_must_be_published"
    WALLET_MUST_EXIST = "wallet_must_exist"
    UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE = "unit_must_not_be_in_another_move"
    ISOLATION_MUST_BE_FINISHED = "isolation_must_be_finished"
    UNIT_MUST_BE_IN_THE_CELL_OF_ITS_SLOT = "unit_must_be_in_the_cell_of_its_slot"
    ISOLATED_UNITS_MUST_NOT_EXCEED_LIMIT = "isolated_units_must_not_exceed_limit"
    CELL_MUST_ACCEPT = "cell_must_accept"


@value
class Place:
    """A unit as the directory has it, and the open move that it is in."""

    unit: int
    cell: CellId
    epoch: int
    move_id: str | None = None


@value
class Isolation:
    wallet_id: str
    unit: int
    cell: CellId
    epoch: int = 1
    state: IsolationState


@value
class IsolationRefused:
    reason: IsolationReason
    detail: str


@value
class IsolationView:
    is_published: bool
    slot: Place
    isolation: Isolation | None
    """The one that has not ended."""
    unit: Place | None
    """Of that isolation."""
    has_room: bool


def isolate_refusal(view: IsolationView) -> IsolationRefused | None:
    if not view.is_published:
        return _unpublished()
    if view.isolation is not None and view.isolation.state == "rejoining":
        detail = "the wallet is on its way back to its slot"
        return IsolationRefused(reason=IsolationReason.ISOLATION_MUST_BE_FINISHED, detail=detail)
    if view.isolation is not None:
        return None
    if view.slot.move_id is not None:
        return _moving(view.slot)
    if not view.has_room:
        detail = f"{ISOLATED_UNITS_MAX} wallets have a unit of their own, and no more may; let one rejoin its slot"
        return IsolationRefused(reason=IsolationReason.ISOLATED_UNITS_MUST_NOT_EXCEED_LIMIT, detail=detail)
    return None


def rejoin_refusal(view: IsolationView) -> IsolationRefused | None:
    if not view.is_published:
        return _unpublished()
    if view.isolation is None or view.unit is None:
        return None
    if view.isolation.state == "isolating":
        detail = "the wallet is on its way out of its slot"
        return IsolationRefused(reason=IsolationReason.ISOLATION_MUST_BE_FINISHED, detail=detail)
    for place in (view.slot, view.unit):
        if place.move_id is not None:
            return _moving(place)
    if view.unit.cell != view.slot.cell:
        detail = (
            f"unit {view.unit.unit} is in {view.unit.cell}, slot {view.slot.unit} in {view.slot.cell}; move it first"
        )
        return IsolationRefused(reason=IsolationReason.UNIT_MUST_BE_IN_THE_CELL_OF_ITS_SLOT, detail=detail)
    return None


def _moving(place: Place) -> IsolationRefused:
    detail = f"unit {place.unit} is in move {place.move_id}"
    return IsolationRefused(reason=IsolationReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, detail=detail)


def _unpublished() -> IsolationRefused:
    detail = "the first cells have not all confirmed their units"
    return IsolationRefused(reason=IsolationReason.DIRECTORY_MUST_BE_PUBLISHED, detail=detail)
