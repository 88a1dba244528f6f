"""What cells ask each other so that the events of a wallet keep their order over a move.

`POST /admin/published` at a cell that gave a unit away, by the cell that has it now, with its own token: body `Asked`,
answer `Published`. `GET /admin/event_waits` tells operators for which cells a cell waits (`EventWaits`), and
`POST /admin/event_waits/release` (`Release` -> `Released`) lets it go on without one that will never answer.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName
from contract.ids import UUID_PATTERN

WALLETS_MAX = 500

SinkName = Literal["broker", "webhooks"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Asked(_Body):
    unit: int = Field(ge=0, le=2**31 - 1)
    epoch: int = Field(ge=1, le=2**53 - 1)
    """Of the asking owner: the departure that it is about."""
    sink: SinkName
    positions: tuple[tuple[Annotated[str, Field(pattern=UUID_PATTERN)], int], ...] = Field(
        min_length=1, max_length=WALLETS_MAX
    )
    """Wallets, and the last seq that came along."""


class Published(_Body):
    wallets: tuple[str, ...]
    """Of those that were asked about: nothing up to their seq is still to be told."""


class EventWait(_Body):
    """What waits for one cell."""

    cell: CellName
    units: int
    wallets: int
    oldest_s: float


class EventWaits(_Body):
    waits: tuple[EventWait, ...]


class Release(_Body):
    cell: CellName


class Released(_Body):
    waits: int
    """One for each wallet and sink."""
