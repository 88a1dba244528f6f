"""Bodies that vendors receive. Fields may be added here, never change their meaning."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from contract.ids import NAME_PATTERN

WalletStatus = Literal["active", "suspended", "closed"]
EntryKind = Literal[
    "opened",
    "changed",
    "debit",
    "credit",
    "reversal",
    "hold",
    "capture",
    "release",
    "extend",
    "expire",
    "transfer_out",
    "transfer_in",
    "refund",
    "refused",
]


class Answer(BaseModel):
    pass


class OwnerAnswer(Answer):
    type: Annotated[str, Field(pattern=NAME_PATTERN)]
    ref: str


class WalletAnswer(Answer):
    """`available` = balance - held + overdraft_limit."""

    wallet_id: str
    owner: OwnerAnswer
    kind: str
    currency: str
    status: WalletStatus
    balance: int
    held: int
    available: int
    overdraft_limit: int
    seq: int
    opened_at: str
    updated_at: str
    metadata: dict[str, Any]


class OwnedWalletsAnswer(Answer):
    wallets: list[WalletAnswer]


class BalanceAnswer(Answer):
    wallet_id: str
    currency: str
    balance: int
    held: int
    available: int
    seq: int
    as_of: str
    """The instant that this answer describes for ever: asking again `at` this instant gives the same figures."""


class PostingAnswer(Answer):
    """`amount` is positive, `delta` is what the balance changed by, `held_delta` what the held sum changed by."""

    transaction_id: str
    wallet_id: str
    kind: EntryKind
    amount: int
    currency: str
    delta: int
    held_delta: int
    balance: int
    held: int
    available: int
    seq: int
    posted_at: str
    entry_hash: str
    hold_id: str | None = None
    to_wallet_id: str | None = None
    state: str | None = None
    original_transaction_id: str | None = None


class EntryAnswer(Answer):
    """One immutable line of a wallet's log, with everything that its hash covers (contract/chain.py)."""

    transaction_id: str
    wallet_id: str
    kind: EntryKind
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
    posted_at: str
    vendor_id: str
    counter_account: str
    entry_hash: str
    sealed: str
    """Hex SHA-256 that stands for description, metadata and context in the hash."""
    reason: str | None = None
    requested_kind: str | None = None
    requested_amount: int | None = None
    hold_id: str | None = None
    original_transaction_id: str | None = None
    subject_vendor_id: str | None = None
    expires_at: str | None = None
    to_wallet_id: str | None = None
    description: str | None = None
    reference: str | None = None
    metadata: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


class EntriesAnswer(Answer):
    entries: list[EntryAnswer]
    next_cursor: str | None


class ProblemAnswer(Answer):
    """RFC 9457, `application/problem+json`; `retry` says whether the same id may be sent again."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    retry: Literal["never", "same_id", "new_id"]
    request_id: str
