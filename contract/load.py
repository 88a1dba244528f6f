"""What a cell tells of the weight of its units, and of what still keeps it from being retired.

`GET /admin/units/load` -> `CellLoad`, `GET /admin/units/isolated` -> `IsolatedWallets`, `GET /admin/remains` ->
`Remains`; any process of the cell answers them for the whole cell, from its database.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName
from contract.ids import UUID_PATTERN

WINDOW_S = 60
"""Over which commands are counted: long enough to be calm, short enough to follow a day's curve."""
HOT_WALLETS_MAX = 20


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UnitLoad(_Body):
    """A unit with wallets; units without any are not listed."""

    unit: int = Field(ge=0)
    wallets: int
    entries: int
    """Of all its wallets, since they were opened: what a move has to copy."""
    commands: int
    """Decided within the window."""


class WalletLoad(_Body):
    wallet_id: Annotated[str, Field(pattern=UUID_PATTERN)]
    unit: int = Field(ge=0)
    commands: int


class CellLoad(_Body):
    cell: CellName
    window_s: int = Field(ge=1)
    database_bytes: int
    units: tuple[UnitLoad, ...]
    """Ascending; units that this cell owns."""
    hot_wallets: tuple[WalletLoad, ...] = ()
    """The busiest first."""


class IsolatedWallets(_Body):
    """Wallets of this cell that have a unit of their own."""

    cell: CellName
    wallets: tuple[tuple[Annotated[str, Field(pattern=UUID_PATTERN)], int], ...]
    exiles: tuple[tuple[Annotated[str, Field(pattern=UUID_PATTERN)], int], ...] = ()
    """Wallets that have left a slot which this cell has or had, and the unit that each left for. Of a slot's owner
    they are all there are; others may remember wallets that are back."""


class Remains(_Body):
    """What must be zero before a cell may be retired."""

    cell: CellName
    units: int
    """Owned, or in the middle of a move."""
    open_transfers: int
    open_groups: int
    unpublished_events: int
    """That no sink has been told yet, as far as somebody listens."""
    undelivered_events: int
    """On their way to a webhook."""
    accounts: dict[str, dict[str, int]] = {}
    """Currency to system account to balance: need not be zero, but is kept, for the fleet's books count it for ever."""
