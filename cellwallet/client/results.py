"""What calls return: values of the wallet domain, and `Refused` for a "no" that is part of the business.

Fields are those of the HTTP contract (a test compares them), with instants as aware datetimes, and two facts from the
answer's headers: `replayed` (the same id was decided before; nothing happened now) and the `cell` that answered.
Knows nothing of HTTP, retries or how an answer was read.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from contract.reasons import Retry
from contract.values import value

T = TypeVar("T")

WalletStatus = Literal["active", "suspended", "closed"]
TransferState = Literal["settled", "in_transit", "refunded"]


@value
class Owner:
    type: str
    ref: str


@value
class Wallet:
    """`available` = balance - held + overdraft_limit. All amounts are minor units of the currency."""

    wallet_id: str
    owner: Owner
    kind: str
    currency: str
    status: WalletStatus
    balance: int
    held: int
    available: int
    overdraft_limit: int
    seq: int
    opened_at: datetime
    updated_at: datetime
    metadata: dict[str, Any]
    replayed: bool = False
    """On opening: the wallet existed already with the same fields."""
    cell: str | None = None


@value
class OwnedWallets:
    wallets: tuple[Wallet, ...]


@value
class Balance:
    """`as_of` is what this answer describes for ever: asking again `at` this instant gives the same figures."""

    wallet_id: str
    currency: str
    balance: int
    held: int
    available: int
    seq: int
    as_of: datetime
    cell: str | None = None


@value
class Posting:
    """`amount` is positive, `delta` is what the balance changed by, `balance` and `held` stand after it."""

    transaction_id: str
    wallet_id: str
    kind: str
    amount: int
    currency: str
    delta: int
    held_delta: int
    balance: int
    held: int
    available: int
    seq: int
    posted_at: datetime
    entry_hash: str
    hold_id: str | None = None
    to_wallet_id: str | None = None
    state: TransferState | None = None
    """Of a transfer only."""
    original_transaction_id: str | None = None
    replayed: bool = False
    cell: str | None = None


@value
class Entry:
    """One immutable line of a wallet's log, with everything that its hash covers (contract/chain.py)."""

    transaction_id: str
    wallet_id: str
    kind: str
    amount: int
    currency: str
    delta: int
    held_delta: int
    balance_after: int
    held_after: int
    available: int
    overdraft_limit_after: int
    status_after: str
    seq: int
    posted_at: datetime
    vendor_id: str
    counter_account: str
    entry_hash: str
    sealed: str
    reason: str | None = None
    requested_kind: str | None = None
    requested_amount: int | None = None
    hold_id: str | None = None
    original_transaction_id: str | None = None
    subject_id: str | None = None
    subject_vendor_id: str | None = None
    expires_at: datetime | None = None
    to_wallet_id: str | None = None
    description: str | None = None
    reference: str | None = None
    metadata: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


@value
class EntryPage:
    entries: tuple[Entry, ...]
    next_cursor: str | None
    """None at the end."""


@value
class Statement:
    """Every line changed the balance: `opening_balance` + Σ `delta` = `closing_balance`, the same for ever."""

    wallet_id: str
    currency: str
    from_: Annotated[datetime, Field(alias="from")]
    """Inclusive."""
    to: datetime
    """Exclusive; the asked one, or the latest instant before it that could no longer change."""
    opening_balance: int
    lines: tuple[Entry, ...]
    closing_balance: int
    cell: str | None = None


@value
class Problem:
    """A problem document as it came: `retry` says whether the same id may be sent again."""

    status: int
    reason: str
    title: str
    detail: str
    retry: Retry
    request_id: str
    facts: dict[str, Any]
    """The reason's own members, such as `available` or `errors`."""


@value
class RefusedLeg:
    """The wallet of a group that would not take its part, and why."""

    wallet_id: str
    reason: str | None


@value
class Refused:
    """An expected "no": the platform decided that this may not happen, or what is named does not exist.

    With `retry == "new_id"` the refusal is recorded: the same id is refused for ever, whatever the balance is later.
    """

    reason: str
    detail: str
    problem: Problem
    transaction_id: str | None = None
    replayed: bool = False
    cell: str | None = None

    @property
    def available(self) -> int | None:
        """What the wallet had available, where the reason is `available_balance_must_cover_amount`."""
        available = self.problem.facts.get("available")
        return available if isinstance(available, int) else None

    @property
    def leg(self) -> RefusedLeg | None:
        """Of a group that did not happen: whose leg was refused."""
        leg = self.problem.facts.get("leg")
        if not isinstance(leg, dict) or not isinstance(leg.get("wallet_id"), str):
            return None
        return RefusedLeg(wallet_id=leg["wallet_id"], reason=leg.get("reason"))


class RefusedError(Exception):
    """A refusal where the caller had asked for none (`accepted`), or while a history is being read."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused)
        self.refused = refused

    def __str__(self) -> str:
        return f"{self.refused.reason}: {self.refused.detail}"


def accepted(outcome: T | Refused) -> T:
    """The outcome, for code that has no use for a refusal.

    Raises:
        RefusedError: it was one.

    """
    if isinstance(outcome, Refused):
        raise RefusedError(outcome)
    return outcome
