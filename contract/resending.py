"""Bodies of sending again: transfers that a cell had taken and has lost by its restore are asked of it once more.

`POST /admin/transfers/resend` at each other cell, `ResendOrder` -> `Resent`: one page of the transfers that it sent and
that were settled, to whomever: where the receivers are by now, the router knows. A receiver knows a transfer by its id,
so asking again is harmless; it takes in what it has lost. Nothing changes at the sender.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName
from contract.ids import UUID_PATTERN, VENDOR_PATTERN
from contract.money import AMOUNT_MAX

PAGE_MAX = 500
INSTANT_PATTERN = r"^[12]\d{3}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"

Id = Annotated[str, Field(pattern=UUID_PATTERN)]
TransferName = tuple[Id, Annotated[str, Field(pattern=VENDOR_PATTERN)], Id]
"""The wallet that sent it, the vendor, the transaction."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ResendOrder(_Body):
    since: Annotated[str, Field(pattern=INSTANT_PATTERN)]
    """Sent then or later."""
    after: TransferName | None = None
    page: int = Field(default=PAGE_MAX, ge=1, le=PAGE_MAX)


class RefusedTransfer(_Body):
    """Settled once and refused now: the money has left one wallet and is in none. A person must decide."""

    wallet_id: Id
    vendor_id: str
    transaction_id: Id
    to_wallet_id: Id
    amount: Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
    currency: str
    reason: str


class Resent(_Body):
    cell: CellName
    asked: int
    """Settled transfers of this page."""
    taken: int
    """The receiver has them: from before, or by now."""
    unknown: int = 0
    """Without an answer that counts: ask for this page again."""
    refused: tuple[RefusedTransfer, ...] = ()
    after: TransferName | None = None
    """Where the next page begins; None = this was the last one."""
