"""Many operations in one request: the frame, the operations, and what is answered.

An operation has the fields of its single call plus `op`, `wallet_id` and, about a hold, `hold_id`. The frame is judged
as a whole, each operation for itself: one that is malformed spoils no other.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from contract.answers import Answer
from contract.bodies import (
    Body,
    CaptureBody,
    PlaceHoldBody,
    PostingBody,
    ReverseBody,
    TransactionBody,
    TransferBody,
    Uuid,
)

BULK_PATH: Final = "/v1/bulk"
BULK_MAX_BYTES: Final = 4_194_304
OPERATIONS_MAX: Final = 1_000


class BulkBody(Body):
    operations: Annotated[list[Any], Field(min_length=1, max_length=OPERATIONS_MAX)]


class DebitOperation(PostingBody):
    op: Literal["debit"]
    wallet_id: Uuid


class CreditOperation(PostingBody):
    op: Literal["credit"]
    wallet_id: Uuid


class ReverseOperation(ReverseBody):
    op: Literal["reverse"]
    wallet_id: Uuid


class HoldOperation(PlaceHoldBody):
    op: Literal["hold"]
    wallet_id: Uuid


class CaptureOperation(CaptureBody):
    op: Literal["capture"]
    wallet_id: Uuid
    hold_id: Uuid


class ReleaseOperation(TransactionBody):
    op: Literal["release"]
    wallet_id: Uuid
    hold_id: Uuid


class TransferOperation(TransferBody):
    op: Literal["transfer"]
    wallet_id: Uuid


class BulkResult(Answer):
    """What the single call would have answered; `replayed` stands for its header `Idempotent-Replayed`."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


class BulkAnswer(Answer):
    """In the order of the operations."""

    results: list[BulkResult]
